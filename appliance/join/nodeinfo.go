package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"net/url"
	"strings"
)

// NodeInfo is what a certificate says about the node that holds its key.
type NodeInfo struct {
	ID   string // hash of the node's public key: 26 letters and digits
	Role string // fleet.RoleManager or fleet.RoleWorker
}

// URI is the form in the certificate: crawlbox://node/ID?role=worker.
func (n NodeInfo) uri() *url.URL {
	return &url.URL{Scheme: "crawlbox", Host: "node", Path: "/" + n.ID, RawQuery: "role=" + n.Role}
}

// InfoFrom reads the node's ID and role from its certificate. That the
// certificate is the cluster's must have been checked before.
func InfoFrom(cert *x509.Certificate) (NodeInfo, error) {
	if len(cert.URIs) != 1 {
		return NodeInfo{}, errors.New("certificate is not that of a crawlbox node")
	}
	u := cert.URIs[0]
	n := NodeInfo{ID: strings.TrimPrefix(u.Path, "/"), Role: strings.TrimPrefix(u.RawQuery, "role=")}
	if *n.uri() != *u || checkRole(n.Role) != nil || n.ID != idOf(cert.RawSubjectPublicKeyInfo) {
		return NodeInfo{}, errors.New("certificate is not that of a crawlbox node")
	}
	return n, nil
}

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// idOf derives a node's ID from its public key: 128 bits of its hash.
func idOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return idEncoding.EncodeToString(sum[:16])
}

// checkRequest reads a certificate request. Only its key counts; the names in it
// are not looked at.
func checkRequest(der []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("certificate request cannot be read")
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("key of the certificate request is not ECDSA P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("certificate request is not signed with its own key")
	}
	return csr, nil
}
