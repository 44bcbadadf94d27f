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

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

const (
	// stageEmit is how often a stage says how far it is.
	stageEmit = 200 * time.Millisecond
	// stageNamed is how many of the nodes that are late are named.
	stageNamed = 3
)

// Agents are the crawlboxes on the nodes. Several of them are asked at the same time.
type Agents interface {
	// Stage brings an image, named with its digest, onto a node. It returns when the
	// node has it.
	Stage(ctx context.Context, node fleet.Node, image string, see func(swarm.Pulled)) error
	// Container says what a node's engine knows of a task's container, by ID, within
	// a few seconds.
	Container(ctx context.Context, node fleet.Node, id string) (swarm.Container, error)
	// Kill ends the containers of tasks on a node with SIGKILL. Tasks that have none
	// there are no error.
	Kill(ctx context.Context, node fleet.Node, tasks []string) error
}

// StagePolicy says when an image is on enough nodes to go on.
type StagePolicy struct {
	Quorum  Share         // of the nodes that may run it
	Timeout time.Duration // after which the quorum will do; before it, all are waited for
}

// ErrNotStageable is wrapped by Agents where a node can never be given an image,
// such as one on which no crawlbox runs. Docker fetches it there when a task comes.
var ErrNotStageable = errors.New("the image can't be brought there before the tasks")

const (
	// stageTries is how often a node is tried that fails, and stageRetry the pause in
	// between: together long enough for Swarm to notice that a node is gone.
	stageTries = 4
	stageRetry = 3 * time.Second
	// stageLook is how often the stage asks whether nodes have gone.
	stageLook = 2 * time.Second
)

// staging is how far each node is.
type staging struct {
	mu    sync.Mutex
	nodes []stagedNode
}

type stagedNode struct {
	id, name string
	swarm.Pulled
	done   bool
	err    error
	gone   bool // from the swarm, or never to be staged: nobody waits for it
	cancel context.CancelFunc
}

// stage brings an image onto all nodes given, and returns when all have it that
// are still there, or when the time is over and enough have it.
func (r *Runner) stage(ctx context.Context, nodes []fleet.Node, image string, policy StagePolicy, emit Emit) error {
	limited, cancel := context.WithTimeout(ctx, policy.Timeout)
	defer cancel()
	s := &staging{nodes: make([]stagedNode, len(nodes))}
	var pulls sync.WaitGroup
	for i, n := range nodes {
		own, stop := context.WithCancel(limited)
		s.nodes[i] = stagedNode{id: n.ID, name: n.Display, cancel: stop}
		pulls.Go(func() { defer stop(); r.stageOn(own, s, i, n, image) })
	}
	over := make(chan struct{})
	go func() { defer close(over); pulls.Wait() }()
	tick, look := time.NewTicker(stageEmit), time.NewTicker(stageLook)
	defer tick.Stop()
	defer look.Stop()
	for {
		select {
		case <-tick.C:
		case <-look.C:
			if now, err := r.cluster.Nodes(limited); err == nil {
				s.forgetGone(now)
			}
		case <-over:
			emit(StageStage, s.progress())
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.verdict(policy)
		}
		emit(StageStage, s.progress())
	}
}

// stageOn brings the image onto one node, and tries again for a while where that
// fails.
func (r *Runner) stageOn(ctx context.Context, s *staging, i int, n fleet.Node, image string) {
	for try := 1; ; try++ {
		err := r.agents.Stage(ctx, n, image, func(p swarm.Pulled) { s.set(i, func(n *stagedNode) { n.Pulled = p }) })
		s.set(i, func(n *stagedNode) {
			n.done, n.err = err == nil, err
			n.gone = n.gone || errors.Is(err, ErrNotStageable)
		})
		final := err == nil || errors.Is(err, ErrNotStageable) || errors.Is(err, swarm.ErrNoImage)
		if final || try == stageTries || pause(ctx, stageRetry) != nil {
			return
		}
	}
}

// forgetGone stops waiting for nodes that Swarm does not hear from any more.
func (s *staging) forgetGone(now []fleet.Node) {
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

func (s *staging) set(i int, change func(*stagedNode)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.nodes[i])
}

func (s *staging) progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p Progress
	var late []stagedNode
	for _, n := range s.nodes {
		if n.gone {
			continue
		}
		p.Nodes++
		p.Bytes += n.Bytes
		p.Total += n.Total
		if n.done {
			p.Have++
		} else {
			late = append(late, n)
		}
		if n.err != nil {
			p.LastErr, p.LastNode = n.err.Error(), n.name
		}
	}
	if p.Have > 0 {
		p.Late = names(late)
	}
	return p
}

// names are those of the nodes that are furthest behind.
func names(late []stagedNode) string {
	slices.SortStableFunc(late, func(a, b stagedNode) int { return cmp.Compare(a.Bytes, b.Bytes) })
	var list []string
	for _, n := range late[:min(stageNamed, len(late))] {
		list = append(list, n.name)
	}
	if more := len(late) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// verdict says whether enough nodes have the image.
func (s *staging) verdict(policy StagePolicy) error {
	p := s.progress()
	if p.Have >= policy.Quorum.Least(p.Nodes) {
		return nil
	}
	why := "the others did not get it within " + policy.Timeout.String()
	if p.LastErr != "" {
		why = p.LastErr + on(p.LastNode)
	}
	return fmt.Errorf("only %d of %d nodes have the image, and nothing was changed: %s; look at them, or go on without some with --stage-quorum 80%%", p.Have, p.Nodes, why)
}
