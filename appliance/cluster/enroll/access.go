package enroll

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/guard"
)

// Caller says who may make a call to the port between nodes.
type Caller int

const (
	// Anyone needs no certificate.
	Anyone Caller = iota
	// Holder shows a join token that is good. The handler checks it,
	// with Server.RequireToken.
	Holder
	// Returning is a node of the cluster, also one that was away while its certificate
	// got too old for the others. The handler checks that it is on the list.
	Returning
	Node
	// Manager is a manager of the cluster, which Swarm has as one at the time of the call.
	Manager
)

// maxRoleAge bounds the age of what a node has heard about who the managers are, when one
// of them calls. A node that has heard nothing for longer asks first.
const maxRoleAge = time.Minute

// Require passes only requests to next whose caller may make them.
func Require(id *pki.Identity, c Caller, next http.Handler) http.Handler {
	if c <= Holder {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := id.Peer(r)
		if c == Returning && errors.Is(err, pki.ErrOutdated) {
			err = nil
		}
		if err == nil && c == Manager {
			err = managerNow(r.Context(), id, r.TLS.VerifiedChains[0][0])
		}
		if nearExpiry(r) || err != nil {
			w.Header().Set("Connection", "close")
		}
		if err != nil {
			refuse(w, err)
			return
		}
		guard.AdmitRequest(r.Context(), info.ID)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, info)))
	})
}

// managerNow refuses a node that is not a manager now, whatever its certificate says. The error
// is ErrUnavailable where that can't be found out.
func managerNow(ctx context.Context, id *pki.Identity, leaf *x509.Certificate) error {
	if !id.IsManager(leaf) {
		return pki.ErrNotAllowed
	}
	own := id.Certificate().Leaf // the manager that has the CA says who the managers are
	if pki.HoldsCA(leaf) || pki.HoldsCA(own) || id.HeardWithin(maxRoleAge) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := Check(ctx, id); err != nil {
		return fmt.Errorf("%w: find out who the managers are: %w", ErrUnavailable, err)
	}
	if !id.IsManager(leaf) {
		return pki.ErrNotAllowed
	}
	return nil
}

type peerKey struct{}

// PeerFrom returns the node that sent a request which came through Require.
func PeerFrom(ctx context.Context) (pki.NodeInfo, bool) {
	info, ok := ctx.Value(peerKey{}).(pki.NodeInfo)
	return info, ok
}

// nearExpiry reports whether the certificate that a connection began with is near its
// end, or past it. Its holder has had another for long, and shows that when it
// connects again: one that asks all the time would keep the connection otherwise, and
// be refused on it for ever.
func nearExpiry(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	return time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/10
}

// RequireToken passes only requests to next that show a join token which would let
// a node in now, as `Authorization: Bearer CBX1-…`; next is told for which role. It
// uses nothing up, and counts failed tries as it does those to join. Others are answered by
// refused, with one of the refusals.
func (s *Server) RequireToken(next func(w http.ResponseWriter, r *http.Request, role string),
	refused func(http.ResponseWriter, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" { // not even a try
			refused(w, ErrBadRequest)
			return
		}
		held, err := s.holds(r)
		line := []slog.Attr{slog.String("remote",
			r.RemoteAddr), slog.String("path", r.URL.Path), slog.String("token", held.Token),
			slog.String("role", held.Role)}
		if err != nil {
			s.Audit("bootstrap refused", append(line, slog.String("reason", reason(err)))...)
			refused(w, err)
			return
		}
		s.Audit("bootstrap", line...)
		guard.AdmitRequest(r.Context(), "token "+held.Token)
		next(w, r, held.Role)
	})
}

// holds returns the join token that came with a request. Of one that is no good it
// returns what may be told.
func (s *Server) holds(r *http.Request) (held token.JoinToken, err error) {
	remote := remoteAddr(r)
	if !s.tries.allow(remote) {
		return token.JoinToken{}, ErrTooMany
	}
	defer func() {
		if err != nil {
			s.tries.failed(remote)
		}
	}()
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if held, err = token.Parse(text); err != nil {
		return token.JoinToken{}, ErrBadRequest
	}
	if held.CA != s.CA.Hash() {
		return held, token.ErrUnknownToken
	}
	return held, s.Tokens.Usable(held.Token, held.Secret, held.Role)
}
