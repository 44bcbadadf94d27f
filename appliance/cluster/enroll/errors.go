package enroll

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
)

// A manager refuses a join with one of these. Each says what to do.
var (
	ErrTooMany = errors.New("the manager was asked with wrong join tokens too often from this address: wait a " +
		"minute, then run the command again with the right one")
	ErrVersion = errors.New("the manager speaks another version of the join exchange: run the same version of " +
		"crawlbox on both")
	ErrBadRequest  = errors.New("the manager does not understand the request: run the same version of crawlbox on both")
	ErrUnavailable = errors.New("the manager cannot let nodes in right now: look at its log, then run the same " +
		"command again")
	ErrTooOften = errors.New("this node asks its manager too often: it goes on in a minute by itself; if it does " +
		"not, look at its log")
	ErrFull = errors.New("the cluster has as many nodes as it may have: remove some on a manager with `crawlbox " +
		"node rm`, and replace the join token with `crawlbox token rotate` if others have it")
	ErrBound = errors.New("another certificate of the cluster has the Docker of this machine as its node: run " +
		"`crawlbox leave --force` here, join again with " + naming.JoinAgain + ", and remove the node of before with " +
		"`crawlbox node rm` on the manager if it is listed there")
	ErrUnbound = errors.New("Docker Swarm has no node that this certificate is of, or has it at another address: " +
		"join again with " + naming.JoinAgain)
)

// A node stops before or without a manager's answer with one of these.
var (
	// ErrImpostor means that what answers does not have the CA that the join token names.
	ErrImpostor = errors.New("CA fingerprint mismatch, nothing was sent: the token belongs to another cluster, or " +
		"the connection is being intercepted; print it again on the manager with `crawlbox token`")
	// ErrClock means that certificates are not valid by this machine's clock.
	ErrClock = errors.New("clocks differ")
)

// finals lists the errors that time does not mend.
var finals = []error{
	token.ErrUnknownToken, token.ErrBadSecret, token.ErrExpiredToken, token.ErrRevoked, token.ErrUsedUp,
	token.ErrWrongRole, ErrImpostor, pki.ErrOtherCluster, pki.ErrOtherRole, pki.ErrNotJoined, notice.ErrReplaced,
}

// Final reports whether a join fails again however often it is tried, until a person
// does something. To try on would only use up the tries that a manager allows to the
// whole network of this machine.
func Final(err error) bool {
	return slices.ContainsFunc(finals, func(final error) bool { return errors.Is(err, final) })
}

// wireRefusal says how an error looks on the wire.
type wireRefusal struct {
	err    error
	code   string
	status int
}

// refusals gives each refusal its code on the wire and its HTTP status.
var refusals = []wireRefusal{
	{token.ErrUnknownToken, "unknown-token", http.StatusForbidden},
	{token.ErrBadSecret, "bad-secret", http.StatusForbidden},
	{token.ErrExpiredToken, "expired", http.StatusForbidden},
	{token.ErrRevoked, "revoked", http.StatusForbidden},
	{token.ErrUsedUp, "used-up", http.StatusForbidden},
	{token.ErrWrongRole, "wrong-role", http.StatusForbidden},
	{ErrTooMany, "too-many", http.StatusTooManyRequests},
	{pki.ErrRemoved, "removed", http.StatusForbidden},
	{pki.ErrNotAllowed, "not-allowed", http.StatusForbidden},
	{ErrTooOften, "too-often", http.StatusTooManyRequests},
	{ErrFull, "full", http.StatusForbidden},
	{pki.ErrOutdated, "outdated", http.StatusForbidden},
	{ErrBound, "bound", http.StatusForbidden},
	{ErrUnbound, "unbound", http.StatusForbidden},
	{ErrVersion, "version", http.StatusBadRequest},
	{ErrBadRequest, "bad-request", http.StatusBadRequest},
	{ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
}

// ManagersError says of each manager that was tried why the node could not join
// through it.
type ManagersError struct {
	Tries []Try
	// Unheard is set where one of them got the request, and may have granted it.
	Unheard bool
}

// Try is one manager's address and what went wrong there.
type Try struct {
	Addr netip.AddrPort
	Err  error
}

func (e *ManagersError) Error() string {
	whys := make([]string, len(e.Tries))
	for i, t := range e.Tries {
		whys[i] = fmt.Sprintf("%s: %v", t.Addr, t.Err)
	}
	return "no manager could be used: " + strings.Join(whys, "; ")
}

func (e *ManagersError) Unwrap() []error {
	errs := make([]error, len(e.Tries))
	for i, t := range e.Tries {
		errs[i] = t.Err
	}
	return errs
}
