package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
)

const (
	caLife = 20 * 365 * 24 * time.Hour
	// skewMargin is how far a node's clock may be behind the manager's.
	skewMargin = time.Hour
)

const (
	// trialLife is how long the certificate is good of a node that Swarm does not have yet.
	TrialLife = 24 * time.Hour
	// trialRenewal is after what time it is renewed at the latest: Docker is in the swarm
	// by then.
	TrialRenewal = 10 * time.Minute
)

// NodeLife is how long the certificate of a node is good.
func NodeLife() time.Duration { return failpoint.CertLife(90 * 24 * time.Hour) }

// CA signs the certificates of the cluster's nodes. Its methods may be called at
// the same time.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// LoadOrCreateCA returns the CA kept in the cluster's state, which it makes
// at first. One that is there is never replaced: if it cannot be read as a
// CA, the error says so.
func LoadOrCreateCA(store state.Store) (*CA, error) {
	// Key and certificate are one document, so that there is never one without the other.
	doc := state.NewDocument(store, state.CA)
	data, err := doc.LoadOrCreate(newCA)
	if err != nil {
		return nil, fmt.Errorf("open cluster CA: %w", err)
	}
	ca, err := parseCA(data)
	if err != nil {
		return nil, fmt.Errorf("open cluster CA: %w", doc.Damaged(err))
	}
	return ca, nil
}

// CheckCA returns why a document is none of a CA.
func CheckCA(data []byte) error {
	_, err := parseCA(data)
	return err
}

// CAHash returns the hash of the CA in a document, whose key and certificate belong together.
func CAHash(data []byte) (KeyHash, error) {
	ca, err := parseCA(data)
	if err != nil {
		return KeyHash{}, err
	}
	return ca.Hash(), nil
}

// Sign signs a text that is no certificate, and begins as none does.
func (ca *CA) Sign(text []byte) ([]byte, error) {
	sum := sha256.Sum256(text)
	return ecdsa.SignASN1(rand.Reader, ca.key, sum[:])
}

// SignedByCA reports whether the cluster's CA signed a text.
func (id *Identity) SignedByCA(text, signature []byte) bool {
	key, ok := id.ca.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(text)
	return ok && ecdsa.VerifyASN1(key, sum[:], signature)
}

func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

func (ca *CA) PEM() []byte { return certPEM(ca.cert.Raw) }

// Hash returns the hash of the CA's public key, by which nodes know the cluster.
func (ca *CA) Hash() KeyHash { return HashOf(ca.cert) }

func newCA() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject: pkix.Name{CommonName: "crawlbox cluster " + HashOf(
			&x509.Certificate{RawSubjectPublicKeyInfo: spki}).ClusterID()},
		NotBefore:             now.Add(-skewMargin),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyData, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return append(keyData, certPEM(der)...), nil
}

func parseCA(data []byte) (*CA, error) {
	key, rest, err := parseKey(data)
	if err != nil {
		return nil, err
	}
	cert, err := parseCert(rest)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

func newSerial() *big.Int {
	serial := make([]byte, 16)
	_, _ = rand.Read(serial) // never fails
	serial[0] = serial[0]&0x7f | 0x40
	return new(big.Int).SetBytes(serial)
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (key *ecdsa.PrivateKey, rest []byte, err error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, nil, errors.New("no private key in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, nil, errors.New("private key is not ECDSA P-256")
	}
	return key, rest, nil
}

func parseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}
