package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/logstore"
)

const (
	// collectEvery is how often a manager asks the nodes for what explains how tasks ended.
	collectEvery = 10 * time.Second
	// askedAtOnce bounds the nodes that are asked at a time, and maxAsked how often one is in a row.
	askedAtOnce = 8
	maxAsked    = 20
)

// Nodes are those whose logs a manager reads.
type Nodes struct {
	Peers  *agent.Peers
	Swarm  agent.Swarm
	Copies *logstore.Store // what the nodes keep, as far as this manager has it
	Log    *slog.Logger

	mu    sync.Mutex
	after map[string]int64 // what the copies have of each node, by its ID in Swarm
}

// Collect keeps the copies until ctx ends.
func (n *Nodes) Collect(ctx context.Context) error {
	n.after = map[string]int64{}
	for _, t := range n.Copies.Tasks(func(logstore.Task) bool { return true }) {
		n.after[t.NodeID] = max(n.after[t.NodeID], t.Changed)
	}
	for clock.Sleep(ctx, collectEvery) == nil {
		n.collect(ctx)
	}
	return nil
}

func (n *Nodes) collect(ctx context.Context) {
	nodes, err := n.Swarm.Nodes(ctx)
	if err != nil {
		n.Log.Debug("failed to collect the ends of logs", "error", err)
		return
	}
	var all errgroup.Group
	all.SetLimit(askedAtOnce)
	there := map[string]bool{}
	for _, node := range nodes {
		there[node.ID] = true
		if node.State != fleet.StateReady {
			continue
		}
		all.Go(func() error {
			if err := n.collectFrom(ctx, node); err != nil && ctx.Err() == nil {
				n.Log.Debug("failed to collect the ends of a node's logs", "node", node.Display, "error", err)
			}
			return nil // others are asked for all that
		})
	}
	_ = all.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.after {
		if !there[id] {
			delete(n.after, id)
		}
	}
}

func (n *Nodes) collectFrom(ctx context.Context, node fleet.Node) error {
	for range maxAsked {
		n.mu.Lock()
		after := n.after[node.ID]
		n.mu.Unlock()
		is, err := excerptsCall.Do(ctx, n.Peers, node, excerptsRequest{after})
		if err != nil {
			return err
		}
		for _, e := range is.Excerpts {
			if e.Task.Changed <= after {
				return fmt.Errorf("it says of task %.64q that it changed before", e.Task.ID)
			}
			e.Task.Node, e.Task.NodeID = node.Display, node.ID
			after = e.Task.Changed
			switch err := n.keep(e); {
			case errors.Is(err, errOther): // it can't be kept next time either, and others can
				n.Log.Debug("a copy is not kept", "node", node.Display, "error", err)
			case err != nil:
				return err
			}
		}
		n.mu.Lock()
		n.after[node.ID] = after
		n.mu.Unlock()
		if !is.More {
			break
		}
	}
	return nil
}

// errOther is of a task that another node had.
var errOther = errors.New("it is one of another node")

// keep keeps an excerpt, unless the task is another node's: none takes the place of another's.
func (n *Nodes) keep(e Excerpt) error {
	if was, known := n.Copies.Get(e.Task.ID); known && was.NodeID != e.Task.NodeID {
		return fmt.Errorf("task %.64q: %w", e.Task.ID, errOther)
	}
	return n.Copies.Put(e.Task, e.Lines)
}
