package join

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
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
func (id *Identity) Require(c Caller, next http.Handler) http.Handler {
	if c <= Holder {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, err := id.Peer(r)
		if c == Returning && errors.Is(err, ErrOutdated) {
			err = nil
		}
		if err == nil && c == Manager {
			err = id.managerNow(r.Context(), r.TLS.VerifiedChains[0][0])
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
func (id *Identity) managerNow(ctx context.Context, leaf *x509.Certificate) error {
	if !id.isManager(leaf) {
		return ErrNotAllowed
	}
	own := id.Certificate().Leaf // of who has the CA: it says who the managers are
	if holdsCA(leaf) || holdsCA(own) || id.heardWithin(maxRoleAge) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := id.Check(ctx); err != nil {
		return fmt.Errorf("%w: find out who the managers are: %w", ErrUnavailable, err)
	}
	if !id.isManager(leaf) {
		return ErrNotAllowed
	}
	return nil
}

// isManager says whether the certificate is that of a manager by what this node heard
// last: one that says so and is on the list of managers, which follows Swarm's. The
// manager that has the CA is known by its certificate.
func (id *Identity) isManager(leaf *x509.Certificate) bool {
	info, err := InfoFrom(leaf)
	if err != nil || info.Role != fleet.RoleManager {
		return false
	}
	// A manager of a version before this one has no list.
	list := id.Membership().ManagerIDs
	return holdsCA(leaf) || len(list) == 0 || slices.Contains(list, info.ID)
}

// roleOf is the role of a node by what this node heard last.
func (id *Identity) roleOf(leaf *x509.Certificate) string {
	if id.isManager(leaf) {
		return fleet.RoleManager
	}
	return fleet.RoleWorker
}

// holderMark is in the certificate that the manager with the CA signs for itself, and in no
// other: so nodes know it whatever they have heard of managers.
const holderMark = "ca"

func holdsCA(leaf *x509.Certificate) bool {
	return slices.Contains(leaf.Subject.OrganizationalUnit, holderMark)
}

// epochMark begins the epoch of a certificate; see members.
const epochMark = "epoch-"

// epochOf is 0 for certificates of versions that knew none.
func epochOf(leaf *x509.Certificate) int {
	for _, unit := range leaf.Subject.OrganizationalUnit {
		if text, ok := strings.CutPrefix(unit, epochMark); ok {
			n, _ := strconv.Atoi(text)
			return n
		}
	}
	return 0
}
