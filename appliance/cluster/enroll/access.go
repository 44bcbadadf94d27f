package enroll

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/guard"
)

// Caller is who may make a call to the port between nodes.
type Caller int

const (
	// Stranger is anybody.
	Stranger Caller = iota
	// Holder is anybody who shows a join string that is good. The handler checks it,
	// with Server.RequireToken.
	Holder
	// Returning is a node of the cluster, also one that was away while its certificate
	// got too old for the others. The handler checks that it is on the list.
	Returning
	// Node is a node of the cluster.
	Node
	// Manager is a manager of the cluster, which Swarm has as one at the time of the call.
	Manager
)

// maxRoleAge is how old may be what a node has heard of who the managers are, when one
// of them calls. A node that has heard nothing for longer asks first.
const maxRoleAge = time.Minute

// Require lets only those through to next who may make the call.
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
		if outlived(r) || err != nil {
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

// managerNow refuses who is not a manager now, whatever its certificate says. The error
// is ErrUnavailable where that can't be found out.
func managerNow(ctx context.Context, id *pki.Identity, leaf *x509.Certificate) error {
	if !id.IsManager(leaf) {
		return pki.ErrNotAllowed
	}
	own := id.Certificate().Leaf // of who has the CA: it says who the managers are
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

// outlived reports whether the certificate that a connection began with is near its
// end, or past it. Its holder has had another for long, and shows that when it
// connects anew: one that asks all the time would keep the connection else, and
// be refused on it for ever.
func outlived(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	leaf := r.TLS.VerifiedChains[0][0]
	return time.Until(leaf.NotAfter) < leaf.NotAfter.Sub(leaf.NotBefore)/10
}
