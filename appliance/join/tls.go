package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"
)

// ServerTLS returns the config for servers of this node: TLS 1.3, with the
// certificates of other nodes checked where they are shown. What needs one is
// wrapped in RequireNode. A renewed certificate is used for the next handshake.
func (id *Identity) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      id.pool(),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.Certificate(), nil },
		// Without tickets each connection shows a certificate that is good now.
		SessionTicketsDisabled: true,
	}
}

// ClientTLS returns the config for connections to other nodes. They are known by
// the cluster's CA and, where roles are given, by one of them; not by address.
func (id *Identity) ClientTLS(roles ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.Certificate(), nil
		},
		// Replaced by VerifyConnection, which checks more than a host name.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			info, err := verifyServer(state, id.pool(), time.Now())
			if err != nil {
				return err
			}
			if len(roles) > 0 && !slices.Contains(roles, info.Role) {
				return errors.New("node " + info.ID + " is a " + info.Role)
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

// verifyServer checks that the peer is a node of the cluster of the root.
func verifyServer(state tls.ConnectionState, root *x509.CertPool, now time.Time) (NodeInfo, error) {
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

type peerKey struct{}

// PeerFrom returns the node that sent a request which came through RequireNode.
func PeerFrom(ctx context.Context) (NodeInfo, bool) {
	info, ok := ctx.Value(peerKey{}).(NodeInfo)
	return info, ok
}

// RequireNode lets only nodes of the cluster through to next and, where roles
// are given, only those with one of them.
func RequireNode(next http.Handler, roles ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			refuse(w, ErrNotAllowed)
			return
		}
		leaf := r.TLS.VerifiedChains[0][0]
		info, err := InfoFrom(leaf)
		// The handshake may be long ago on a connection that lives.
		expired := time.Now().After(leaf.NotAfter)
		if err != nil || expired || len(roles) > 0 && !slices.Contains(roles, info.Role) {
			refuse(w, ErrNotAllowed)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, info)))
	})
}
