package join

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A manager refuses a join with one of these. Each says what to do.
var (
	ErrUnknownToken = errors.New("the manager does not know this join string: print a new one there with `crawlbox token`")
	ErrBadSecret    = errors.New("the secret in the join string is wrong: print it again on the manager with `crawlbox token`")
	ErrExpiredToken = errors.New("the join string has expired: print a new one on the manager with `crawlbox token`")
	ErrRevoked      = errors.New("the join string was revoked: print a new one on the manager with `crawlbox token`")
	ErrUsedUp       = errors.New("the join string has let in as many nodes as it may: print a new one on the manager with `crawlbox token`")
	ErrTooMany      = errors.New("the manager was asked with wrong join strings too often from this address: wait a minute, then run the command again with the right one")
	ErrWrongRole    = errors.New("the join string is for another role: print the right one on the manager with `crawlbox token worker` or `crawlbox token manager`")
	ErrVersion      = errors.New("the manager speaks another version of the join exchange: run the same version of crawlbox on both")
	ErrBadRequest   = errors.New("the manager does not understand the request: run the same version of crawlbox on both")
	ErrUnavailable  = errors.New("the manager cannot let nodes in right now: look at its log, then run the same command again")
	ErrRemoved      = errors.New("this node was removed from the cluster: run `crawlbox leave` on it, and join again with `crawlbox worker --join STRING` if it shall come back")
	ErrNotAllowed   = errors.New("this node's certificate does not allow that")
	ErrTooOften     = errors.New("this node asks its manager too often: it goes on in a minute by itself; if it does not, look at its log")
	ErrFull         = errors.New("the cluster has as many nodes as it may have: remove some on a manager with `crawlbox node rm`, and replace the join string with `crawlbox token rotate` if others have it")
	ErrOutdated     = errors.New("this node's certificate is older than the cluster accepts: it gets another one from the manager by itself, if it is a node of the cluster still")
	ErrBound        = errors.New("another certificate of the cluster has the Docker of this machine as its node: run `crawlbox node rm --force` for this machine on the manager, then `crawlbox leave --force` here, and join again with `crawlbox worker --join STRING`")
	ErrUnbound      = errors.New("Docker Swarm has no node that this certificate is of, or has it at another address: join again with `crawlbox worker --join STRING`")
)

// A node stops before or without a manager's answer with one of these.
var (
	// ErrImpostor: what answers does not have the CA that the join string names.
	ErrImpostor = errors.New("it has another CA than the join string says, so nothing was sent: the string is of another cluster, or someone is in between; print it again on the manager with `crawlbox token`")
	// ErrClock: certificates are not valid by this machine's clock.
	ErrClock = errors.New("clocks differ")
	// ErrOtherCluster: this node belongs to another cluster.
	ErrOtherCluster = errors.New("this machine is a node of another cluster: run `crawlbox leave` first, then the same command again")
	// ErrOtherRole: this node is in the cluster already, as something else.
	ErrOtherRole = errors.New("this machine is in this cluster already, with another role: use `crawlbox node promote` or `demote` on a manager")
	// ErrNotJoined: there is no identity on disk.
	ErrNotJoined = errors.New("this machine is not a node of a cluster: run `crawlbox worker --join STRING`")
)

// finals are the errors that time does not mend.
var finals = []error{ErrUnknownToken, ErrBadSecret, ErrExpiredToken, ErrRevoked, ErrUsedUp, ErrWrongRole, ErrImpostor, ErrOtherCluster, ErrOtherRole, ErrNotJoined}

// Final says whether a join fails again however often it is tried, until a person
// does something. To try on would only use up the tries that a manager allows to the
// whole network of this machine.
func Final(err error) bool {
	return slices.ContainsFunc(finals, func(final error) bool { return errors.Is(err, final) })
}

// refusalOf is how an error looks on the wire.
type refusalOf struct {
	err    error
	code   string
	status int
}

// refusals gives each refusal its code on the wire and its HTTP status.
var refusals = []refusalOf{
	{ErrUnknownToken, "unknown-token", http.StatusForbidden},
	{ErrBadSecret, "bad-secret", http.StatusForbidden},
	{ErrExpiredToken, "expired", http.StatusForbidden},
	{ErrRevoked, "revoked", http.StatusForbidden},
	{ErrUsedUp, "used-up", http.StatusForbidden},
	{ErrWrongRole, "wrong-role", http.StatusForbidden},
	{ErrTooMany, "too-many", http.StatusTooManyRequests},
	{ErrRemoved, "removed", http.StatusForbidden},
	{ErrNotAllowed, "not-allowed", http.StatusForbidden},
	{ErrTooOften, "too-often", http.StatusTooManyRequests},
	{ErrFull, "full", http.StatusForbidden},
	{ErrOutdated, "outdated", http.StatusForbidden},
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

// Unwrap gives the errors of all tries.
func (e *ManagersError) Unwrap() []error {
	errs := make([]error, len(e.Tries))
	for i, t := range e.Tries {
		errs[i] = t.Err
	}
	return errs
}
