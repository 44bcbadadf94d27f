// Package pki proves who is who in a cluster: its CA, the certificates of its nodes, and the
// mutual TLS that they speak.
//
// A worker's certificate is good for its own address and loopback only, never for a
// manager's address or for a host name: Docker trusts this CA for MASTER:8003, so a
// worker must not be able to pass for MASTER. Nodes know each other by ID and role in
// the certificate, not by address.
//
// A node has one directory with its key, which is there first and stays the same when a
// join is tried again, and its identity: the certificate and what it heard last of its
// cluster (Membership). All secrets are in files with mode 0600 in directories with
// mode 0700.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// NodeInfo holds what a certificate says about the node that holds its key.
type NodeInfo struct {
	ID   string // hash of the node's public key: 26 letters and digits
	Role string // fleet.RoleManager or fleet.RoleWorker
}

// uri returns the form in the certificate: crawlbox://node/ID?role=worker.
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
	if *n.uri() != *u || CheckRole(n.Role) != nil || n.ID != IDOf(cert.RawSubjectPublicKeyInfo) {
		return NodeInfo{}, errors.New("certificate is not that of a crawlbox node")
	}
	return n, nil
}

var IDEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// IDOf derives a node's ID from its public key: 128 bits of its hash.
func IDOf(spki []byte) string {
	sum := sha256.Sum256(spki)
	return IDEncoding.EncodeToString(sum[:16])
}

// ParseCSR reads a certificate request. Only its key counts; the names in it
// are not looked at.
func ParseCSR(der []byte) (*x509.CertificateRequest, error) {
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

// KeyHash is the SHA-256 of a public key in its SubjectPublicKeyInfo form.
type KeyHash [sha256.Size]byte

func HashOf(cert *x509.Certificate) KeyHash {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo)
}

// Hex returns the whole hash: 64 hex digits.
func (h KeyHash) Hex() string { return hex.EncodeToString(h[:]) }

// ClusterID returns the short name of the cluster with this CA: 16 hex digits.
func (h KeyHash) ClusterID() string { return hex.EncodeToString(h[:8]) }

func CheckRole(role string) error {
	if role != fleet.RoleManager && role != fleet.RoleWorker {
		return fmt.Errorf("role is %q, want %s or %s", role, fleet.RoleManager, fleet.RoleWorker)
	}
	return nil
}
