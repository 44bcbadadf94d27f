package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"
)

// ServerTLS returns the config for servers of this node: TLS 1.3, with the
// certificates of other nodes checked where they are shown. What needs one is
// wrapped in Require. A renewed certificate is used for the next handshake.
func (id *Identity) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      id.pool(),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Certificate(), nil },
		// Without tickets each connection shows a certificate that is good now.
		SessionTicketsDisabled: true,
		// Nobody waits for a first byte here, and full records cost less.
		DynamicRecordSizingDisabled: true,
	}
}

// ClientTLS returns the config for connections to other nodes. They are known by
// the cluster's CA and, where roles are given, by one of them; not by address.
func (id *Identity) ClientTLS(roles ...string) *tls.Config {
	return &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		DynamicRecordSizingDisabled: true, // as in ServerTLS
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.Certificate(), nil
		},
		// Replaced by VerifyConnection, which checks more than a host name.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			info, err := VerifyServer(state, id.pool(), time.Now())
			if err != nil {
				return err
			}
			if id.refuses(info.ID) {
				return errors.New("node " + info.ID + " was removed from the cluster")
			}
			if EpochOf(state.PeerCertificates[0]) < id.Membership().Epoch {
				return errors.New("the certificate of node " + info.ID + " is of an epoch that has ended")
			}
			if role := id.roleOf(state.PeerCertificates[0]); len(roles) > 0 && !slices.Contains(roles, role) {
				return errors.New("node " + info.ID + " is a " + role)
			}
			return nil
		},
	}
}

func (id *Identity) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(id.ca)
	return pool
}

// VerifyServer checks that the peer is a node of the cluster of the root.
func VerifyServer(state tls.ConnectionState, root *x509.CertPool, now time.Time) (NodeInfo, error) {
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:       root,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return NodeInfo{}, err
	}
	return InfoFrom(leaf)
}

// Peer returns the node whose certificate came with a request. The error is
// ErrNotAllowed where there is none that is good now, ErrRemoved for one of a node
// that was removed, also on a connection that it had before, and, with the node,
// ErrOutdated for one of an epoch that has ended.
func (id *Identity) Peer(r *http.Request) (NodeInfo, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return NodeInfo{}, ErrNotAllowed
	}
	leaf := r.TLS.VerifiedChains[0][0]
	info, err := InfoFrom(leaf)
	switch {
	// The handshake may be long ago on a connection that lives.
	case err != nil, time.Now().After(leaf.NotAfter):
		return NodeInfo{}, ErrNotAllowed
	case id.refuses(info.ID):
		return NodeInfo{}, ErrRemoved
	case EpochOf(leaf) < id.Membership().Epoch:
		return info, ErrOutdated
	}
	return info, nil
}

// TrustingCA returns how a client speaks to a server of a name whose certificate is the
// CA's, without a certificate of its own.
func (id *Identity) TrustingCA(name string) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(id.ca)
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name}
}
