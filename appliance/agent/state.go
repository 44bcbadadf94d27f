package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// maxCommitFile bounds the file of a commit on the wire, in bytes.
const maxCommitFile = 64<<20*4/3 + 4<<10

type commitRequest struct {
	Commit state.Version `json:"commit"`
	File   []byte        `json:"file,omitempty"` // where it is to be kept
}

type commitAnswer struct {
	File []byte `json:"file"`
}

// Between managers: to keep a commit of the cluster's state, to give one away, and to look for a newer one.
var (
	putCommitCall = Call[commitRequest, None]{
		Route:      routeStatePut,
		MaxRequest: maxCommitFile,
		Valid:      func(r commitRequest) bool { return len(r.File) > 0 },
		Invalid:    "not a commit",
		Succeeded:  http.StatusNoContent,
	}
	commitCall = Call[commitRequest, commitAnswer]{
		Route:      routeStateGet,
		MaxRequest: 4 << 10,
		MaxAnswer:  maxCommitFile,
		Valid:      func(r commitRequest) bool { return len(r.File) == 0 },
		Invalid:    "not the ID of a commit",
		Failures:   []Failure{{state.ErrNotFound, http.StatusNotFound, "no such commit"}},
	}
	tellCommitCall = Call[None, None]{Route: routeStateTell, Succeeded: http.StatusNoContent}
)

// Commits is the state that a manager keeps.
type Commits interface {
	// Keep keeps the file of a commit.
	Keep(v state.Version, file []byte) error
	// File returns that of a commit. The error is state.ErrNotFound where it is not here.
	File(v state.Version) ([]byte, error)
	// Told has it be looked for a newer commit.
	Told()
}

// AnswerState returns what a manager answers to others about the state that it keeps.
func AnswerState(c Commits, log *slog.Logger) []Handler {
	return []Handler{
		putCommitCall.Handler(log, func(_ context.Context, _ Peer, r commitRequest) (None, error) {
			return None{}, c.Keep(r.Commit, r.File)
		}),
		commitCall.Handler(log, func(_ context.Context, _ Peer, r commitRequest) (a commitAnswer, err error) {
			a.File, err = c.File(r.Commit)
			return a, err
		}),
		tellCommitCall.Handler(log, func(context.Context, Peer, None) (None, error) {
			c.Told()
			return None{}, nil
		}),
	}
}

// Managers asks other managers for the cluster's state, over a client that speaks to nothing else.
// Whichever manager answers may: what it gives away is named by its checksum.
type Managers struct {
	client func() *http.Client
	port   uint16
}

// NewManagers returns the managers that a client reaches at a port. It is nil until this node knows who
// it is.
func NewManagers(client func() *http.Client, port uint16) Managers { return Managers{client, port} }

func (m Managers) target(n fleet.Node) (Target, error) {
	addr, err := netip.ParseAddr(n.Addr)
	client := m.client()
	if err != nil || client == nil {
		return Target{}, fmt.Errorf("the way to %s is not known yet", n.Display)
	}
	return Target{Client: client, Addr: netip.AddrPortFrom(addr.Unmap(), m.port)}, nil
}

// PutCommit has a manager keep the file of a commit.
func (m Managers) PutCommit(ctx context.Context, n fleet.Node, v state.Version, file []byte) error {
	to, err := m.target(n)
	if err == nil {
		_, err = putCommitCall.Ask(ctx, to, commitRequest{v, file})
	}
	return err
}

// Commit returns the file of a commit. The error is state.ErrNotFound where the manager has not got it.
func (m Managers) Commit(ctx context.Context, n fleet.Node, v state.Version) ([]byte, error) {
	to, err := m.target(n)
	if err != nil {
		return nil, err
	}
	a, err := commitCall.Ask(ctx, to, commitRequest{Commit: v})
	return a.File, err
}

// TellCommit tells a manager that there is a newer commit.
func (m Managers) TellCommit(ctx context.Context, n fleet.Node) error {
	to, err := m.target(n)
	if err == nil {
		_, err = tellCommitCall.Ask(ctx, to, None{})
	}
	return err
}
