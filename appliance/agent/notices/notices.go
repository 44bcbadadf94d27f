// Package notices brings nodes the notice that their cluster was restored. A node takes it from anyone:
// it is signed by the cluster's CA.
package notices

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/notice"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

const (
	maxNotice = 4 << 10
	timeout   = 5 * time.Second
	// burst is how often at once an address may bring one, and every how often then; most bounds the
	// addresses that are remembered.
	burst = 10
	every = time.Second
	most  = 1024
)

var tellCall = agent.Call[notice.Notice, agent.None]{
	Route:      agent.RouteNotice,
	MaxRequest: maxNotice,
	Timeout:    timeout,
	Invalid:    "not a notice",
	Succeeded:  http.StatusNoContent,
	Failures: []agent.Failure{
		{Err: notice.ErrUnsigned, Status: http.StatusForbidden, Text: notice.ErrUnsigned.Error()},
		{Err: notice.ErrOutdated, Status: http.StatusConflict, Text: notice.ErrOutdated.Error()},
	},
}

var askCall = agent.Call[agent.None, notice.Notice]{Route: agent.RouteNewest, MaxAnswer: maxNotice, Timeout: timeout}

// Node is a node that hears of a restore.
type Node struct {
	Identity *pki.Identity
	Epoch    func() int                // that it knows of
	Follow   func(notice.Notice) error // has it follow a notice, which is good
	Newest   func() (notice.Notice, error)
	Audit    func(event string, attrs ...slog.Attr)
	Log      *slog.Logger
}

// Answer takes notices, and gives on the newest that the node knows.
func Answer(n Node) []agent.Handler {
	asked := bound.NewRate[netip.Prefix](every, burst, most)
	take := func(_ context.Context, from agent.Peer, said notice.Notice) (agent.None, error) {
		if !asked.Allow(bound.Prefix(from.Addr.Addr())) {
			return agent.None{}, &agent.StatusError{Code: http.StatusTooManyRequests, Text: "it was told too often"}
		}
		return agent.None{}, n.Take(said)
	}
	give := func(context.Context, agent.Peer, agent.None) (notice.Notice, error) { return n.Newest() }
	return []agent.Handler{tellCall.Handler(n.Log, take), askCall.Handler(n.Log, give)}
}

// Take has the node follow a notice that is good and new. The error is one of those of Notice.Check.
func (n Node) Take(said notice.Notice) error {
	if err := said.Check(n.Identity, n.Epoch()); err != nil {
		if errors.Is(err, notice.ErrUnsigned) {
			n.Audit("notice refused", slog.String("reason", err.Error()))
		}
		return err
	}
	n.Audit("notice", slog.Int("epoch", said.Epoch), slog.Any("managers", said.Managers))
	return n.Follow(said)
}

// Part asks nodes for newer notices, and follows one: for a manager, which may have been away while its
// cluster was restored elsewhere. Nobody else might find it.
func (n Node) Part(nodes func() []agent.Target) lifecycle.Part {
	return lifecycle.Background("notices", func(ctx context.Context) error { return n.watch(ctx, nodes) })
}

func (n Node) watch(ctx context.Context, nodes func() []agent.Target) error {
	for clock.Sleep(ctx, watchEvery) == nil {
		all := nodes()
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, to := range all[:min(len(all), watched)] {
			said, err := askCall.Ask(ctx, to, agent.None{})
			if err == nil && len(said.Managers) > 0 && n.Take(said) == nil {
				break
			}
		}
	}
	return nil
}

const (
	// watchEvery is how often nodes are asked, and watched how many of them.
	watchEvery = 15 * time.Second
	watched    = 5
)

// Newest asks nodes, all at once, for the newest notice that they know, and returns the best that its cluster's
// CA has signed and that is newer than an epoch. It is the zero Notice where nobody knows one.
func Newest(ctx context.Context, id *pki.Identity, epoch int, nodes []agent.Target) (best notice.Notice) {
	answers := make(chan notice.Notice, len(nodes))
	for _, to := range nodes {
		go func() {
			said, _ := askCall.Ask(ctx, to, agent.None{})
			answers <- said
		}()
	}
	for range nodes {
		if said := <-answers; said.Check(id, max(epoch, best.Epoch)) == nil {
			best = said
		}
	}
	return best
}

// Tell brings a node a notice, unless it knows as much. It returns what the node knows then.
func Tell(ctx context.Context, to agent.Target, said notice.Notice) (known notice.Notice, err error) {
	if _, err = tellCall.Ask(ctx, to, said); errors.Is(err, notice.ErrOutdated) {
		return askCall.Ask(ctx, to, agent.None{})
	}
	return said, err
}
