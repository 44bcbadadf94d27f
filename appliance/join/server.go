package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"
)

// IssueServer makes a key and a certificate, followed by the CA's, for a server on
// this manager's addresses that is not the node: clients which trust the CA trust it,
// and no node takes it for another's. It names no node and no role, and is of no use
// to a client.
func (ca *CA) IssueServer(id *Identity) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	now := time.Now()
	g := id.managerGrant()
	g.from, g.until = now.Add(-min(skewMargin, nodeLife()/10)), now.Add(nodeLife())
	tmpl := g.template()
	tmpl.Subject = pkix.Name{CommonName: "crawlbox server"}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, private.Public(), ca.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	key, err = keyPEM(private)
	return append(certPEM(der), ca.PEM()...), key, err
}
