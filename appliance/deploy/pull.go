package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

const (
	// pullEmit is how often a pull says how far it is.
	pullEmit = 200 * time.Millisecond
	// maxLateNames is how many of the nodes that are late are named.
	maxLateNames = 3
)

// Agents asks the crawlboxes on the nodes. Several are asked at the same time.
type Agents interface {
	// Pull brings an image, named with its digest, onto a node. It returns when the
	// node has it.
	Pull(ctx context.Context, node fleet.Node, image string, see func(swarm.Pulled)) error
	// Container says what a node's engine knows of a task's container, by ID, within
	// a few seconds.
	Container(ctx context.Context, node fleet.Node, id string) (swarm.Container, error)
	// Kill ends the containers of tasks on a node with SIGKILL. Tasks that have none
	// there are no error.
	Kill(ctx context.Context, node fleet.Node, tasks []string) error
}

// PullPolicy says when an image is on enough nodes to go on.
type PullPolicy struct {
	Quorum  Share         // of the nodes that may run it
	Timeout time.Duration // after which the quorum will do; before it, all are waited for
}

// DefaultPullPolicy applies unless the user says otherwise.
var DefaultPullPolicy = PullPolicy{Quorum: Share{percent: 100}, Timeout: 5 * time.Minute}

// ErrNoAgent is wrapped by Agents where a node can never be given an image,
// such as one on which no crawlbox runs. Docker fetches it there when a task comes.
var ErrNoAgent = errors.New("the image can't be brought there before the tasks")

const (
	// pullTries is how often a node is tried that fails, and pullRetry the pause in
	// between: together long enough for Swarm to notice that a node is gone.
	pullTries = 4
	pullRetry = 3 * time.Second
	// pullNodesInterval is how often it asks whether nodes have gone.
	pullNodesInterval = 2 * time.Second
)

// pullState holds how far each node is.
type pullState struct {
	mu    sync.Mutex
	nodes []pullingNode
}

type pullingNode struct {
	id, name string
	swarm.Pulled
	done   bool
	err    error
	gone   bool // from the swarm, or never to be given one: it is not waited for
	cancel context.CancelFunc
}

// pull brings an image onto all nodes given, and returns when all have it that
// are still there, or when the time is over and enough have it.
func (r *Runner) pull(ctx context.Context, nodes []fleet.Node, image string, policy PullPolicy, emit Emit) error {
	limited, cancel := context.WithTimeout(ctx, policy.Timeout)
	defer cancel()
	s := &pullState{nodes: make([]pullingNode, len(nodes))}
	var pulls sync.WaitGroup
	for i, n := range nodes {
		own, stop := context.WithCancel(limited)
		s.nodes[i] = pullingNode{id: n.ID, name: n.Display, cancel: stop}
		pulls.Go(func() { defer stop(); r.pullOn(own, s, i, n, image) })
	}
	over := make(chan struct{})
	go func() { defer close(over); pulls.Wait() }()
	tick, look := time.NewTicker(pullEmit), time.NewTicker(pullNodesInterval)
	defer tick.Stop()
	defer look.Stop()
	for {
		select {
		case <-tick.C:
		case <-look.C:
			if now, err := r.cluster.Nodes(limited); err == nil {
				s.dropGoneNodes(now)
			}
		case <-over:
			emit(s.state().progress(history.StagePull))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.verdict(policy)
		}
		emit(s.state().progress(history.StagePull))
	}
}

// pullOn brings the image onto one node, and tries again for a while where that
// fails.
func (r *Runner) pullOn(ctx context.Context, s *pullState, i int, n fleet.Node, image string) {
	for try := 1; ; try++ {
		err := r.agents.Pull(ctx, n, image, func(p swarm.Pulled) { s.set(i, func(n *pullingNode) { n.Pulled = p }) })
		s.set(i, func(n *pullingNode) {
			n.done, n.err = err == nil, err
			n.gone = n.gone || errors.Is(err, ErrNoAgent)
		})
		final := err == nil || errors.Is(err, ErrNoAgent) || errors.Is(err, swarm.ErrNoImage)
		if final || try == pullTries || clock.Sleep(ctx, pullRetry) != nil {
			return
		}
	}
}

// dropGoneNodes stops waiting for nodes that Swarm no longer hears from.
func (s *pullState) dropGoneNodes(now []fleet.Node) {
	ready := map[string]bool{}
	for _, n := range now {
		ready[n.ID] = n.State == fleet.StateReady
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.nodes {
		if n := &s.nodes[i]; !ready[n.id] && !n.done {
			n.gone = true
			n.cancel()
		}
	}
}

func (s *pullState) set(i int, change func(*pullingNode)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.nodes[i])
}

func (s *pullState) state() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p state
	var late []pullingNode
	var size int64 // of the image, where a node knows it; others have not begun
	for _, n := range s.nodes {
		size = max(size, n.Total)
	}
	for _, n := range s.nodes {
		if n.gone {
			continue
		}
		p.Pulled.Nodes++
		p.Pulled.Bytes += n.Bytes
		if n.done {
			p.Pulled.Have++
		} else {
			late = append(late, n)
			n.Total = cmp.Or(n.Total, size)
		}
		p.Pulled.Total += n.Total
		if n.err != nil {
			p.lastErr, p.lastNode = n.err.Error(), n.name
		}
	}
	if p.Pulled.Have > 0 {
		p.Pulled.Late = names(late)
	}
	return p
}

// names lists the nodes that are furthest behind.
func names(late []pullingNode) string {
	slices.SortStableFunc(late, func(a, b pullingNode) int { return cmp.Compare(a.Bytes, b.Bytes) })
	var list []string
	for _, n := range late[:min(maxLateNames, len(late))] {
		list = append(list, n.name)
	}
	if more := len(late) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// verdict reports whether enough nodes have the image.
func (s *pullState) verdict(policy PullPolicy) error {
	p := s.state()
	if p.Pulled.Have >= policy.Quorum.Least(p.Pulled.Nodes) {
		return nil
	}
	why := "the others did not get it within " + policy.Timeout.String()
	if p.lastErr != "" {
		why = p.lastErr + on(p.lastNode)
	}
	return fmt.Errorf("only %d of %d nodes have the image, and nothing was changed: %s; look at them, or go on "+
		"without some with --stage-quorum 80%%", p.Pulled.Have, p.Pulled.Nodes, why)
}
