package valkey

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Keys are what the engines, and who reaches them, know each other by over the network. They are of an authority of
// their own, whose key nobody has once they are made, and not of the cluster's: Valkey takes whoever its authority
// names for its primary, which no node but that of an engine may pass for.
type Keys struct {
	CA     string `json:"ca"`     // in PEM, as all of them are
	Engine Pair   `json:"engine"` // of both engines, as servers and as clients of each other
	Client Pair   `json:"client"` // of those that are clients alone
}

// Pair is a certificate and its key.
type Pair struct {
	Certificate string `json:"certificate"`
	Key         string `json:"private_key"`
}

const (
	// ServerName is what the certificate of the engines is for.
	ServerName = "valkey.crawlbox.internal"
	// lifetime is as long as any cluster's: there is nothing to renew without engines that start again.
	lifetime = 50 * 365 * 24 * time.Hour
	// early is by how much the clocks of two machines may differ.
	early = 24 * time.Hour
)

func newKeys() (Keys, error) {
	root := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "crawlbox queue"},
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Keys{}, err
	}
	ca, err := sign(root, root, key, key)
	engine, engineErr := issue(root, key, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
	client, clientErr := issue(root, key, x509.ExtKeyUsageClientAuth)
	if err = cmp.Or(err, engineErr, clientErr); err != nil {
		return Keys{}, fmt.Errorf("make the keys of the queue's engines: %w", err)
	}
	return Keys{CA: ca, Engine: engine, Client: client}, nil
}

// issue makes a key, and has an authority sign a certificate of it for some uses.
func issue(root *x509.Certificate, by *ecdsa.PrivateKey, uses ...x509.ExtKeyUsage) (p Pair, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return p, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, err
	}
	p.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	p.Certificate, err = sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: "crawlbox queue engine"},
		DNSNames:    []string{ServerName},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: uses,
	}, root, key, by)
	return p, err
}

func sign(template, root *x509.Certificate, key, by *ecdsa.PrivateKey) (string, error) {
	var err error
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return "", err
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-early), time.Now().Add(lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, root, &key.PublicKey, by)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), err
}

// File returns what an engine has of them.
func (k Keys) File() []byte { return []byte(k.Engine.Certificate + k.Engine.Key + k.CA) }

// config returns how a client reaches the engines.
func (k Keys) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(k.Client.Certificate), []byte(k.Client.Key))
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(k.CA)) {
		err = errors.Join(err, errors.New("its authority has no certificate"))
	}
	if err != nil {
		return nil, fmt.Errorf("use the keys of the queue's engines: %w", err)
	}
	return &tls.Config{
		ServerName:   ServerName,
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS13,
	}, nil
}
