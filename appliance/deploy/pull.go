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
	"github.com/crawlbox/crawlbox/appliance/base/words"
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

// Errors of Agents that say more of the node than of the image.
var (
	// ErrNoAgent is wrapped where a node can never be given an image: no crawlbox is known
	// there.
	ErrNoAgent = errors.New("the image can't be brought there before the tasks")
	// ErrNotRunning is wrapped where no crawlbox listens on a node that has one.
	ErrNotRunning = errors.New("no crawlbox runs there")
	// ErrUnanswered is wrapped where a node did not come to answer. It may be starved of its
	// processors, and is worth another try.
	ErrUnanswered = errors.New("it does not answer")
)

const (
	// pullTries is how often a node is tried that says itself why it can't have the image.
	// What may pass is tried until the time of the stage is over.
	pullTries = 4
	// pullRetry is the pause before the next try; it doubles up to pullRetryMost where more is
	// wrong than that crawlbox is started again just now.
	pullRetry     = 3 * time.Second
	pullRetryMost = 12 * time.Second
	// absentTries is how often nothing may listen on a node until no crawlbox runs there.
	absentTries = 3
	// pullNodesInterval is how often it asks whether nodes have gone.
	pullNodesInterval = 2 * time.Second
)

// lasting are the words by which Docker says that another try would end the same way.
var lasting = []string{
	"no space left", "no matching manifest", "unauthorized", "denied", "read-only file system", "not supported",
	"unsupported",
}

// lasts reports whether a node that was asked again would say the same.
func lasts(err error) bool {
	says := func(words string) bool { return strings.Contains(strings.ToLower(err.Error()), words) }
	return !errors.Is(err, ErrUnanswered) && slices.ContainsFunc(lasting, says)
}

// pullPhase is how far one node is.
type pullPhase int

const (
	pulling pullPhase = iota
	pulled
	unable // for a reason that lasts
	absent // no crawlbox runs there
)

// pullState holds how far each node is.
type pullState struct {
	own     bool          // the image is one of the cluster's registry, which each node has by its crawlbox
	changed chan struct{} // has a token when a node has come to an end

	mu    sync.Mutex
	nodes []pullingNode
}

type pullingNode struct {
	id, name string
	swarm.Pulled
	phase pullPhase
	err   error
	down  bool               // Swarm does not hear from it: it is not waited for
	stop  context.CancelFunc // of the try that is under way
}

// counts reports whether a node is waited for.
func (n *pullingNode) counts() bool { return n.phase == pulled || n.phase != absent && !n.down }

// pull brings an image onto all nodes given, and returns when all have it that
// are still there, or when the time is over and enough have it. absent are those, by ID, that
// it could not be brought to since no crawlbox runs there.
func (r *Runner) pull(ctx context.Context, nodes []fleet.Node, image string, policy PullPolicy,
	emit Emit) (absent []string, err error) {
	s := &pullState{
		own:     isClusters(image),
		changed: make(chan struct{}, 1),
		nodes:   make([]pullingNode, len(nodes)),
	}
	var pulls sync.WaitGroup
	defer pulls.Wait()
	limited, cancel := context.WithTimeout(ctx, policy.Timeout)
	defer cancel()
	for i, n := range nodes {
		s.nodes[i] = pullingNode{id: n.ID, name: n.Display, stop: func() {}}
		pulls.Go(func() { r.pullOn(limited, s, i, n, image) })
	}
	tick, look := time.NewTicker(pullEmit), time.NewTicker(pullNodesInterval)
	defer tick.Stop()
	defer look.Stop()
	for !s.settled() && limited.Err() == nil {
		select {
		case <-tick.C:
		case <-look.C:
			if now, err := r.cluster.Nodes(limited); err == nil {
				s.heardOf(now)
			}
		case <-s.changed:
		case <-limited.Done():
		}
		emit(s.state().progress(history.StagePull))
	}
	emit(s.state().progress(history.StagePull))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return s.absent(), s.verdict(policy)
}

// isClusters reports whether an image is one of the cluster's registry, which nodes have by
// their crawlbox alone.
func isClusters(image string) bool { return strings.HasPrefix(image, "localhost:") }

// pullOn brings the image onto one node, and tries again where that fails, or the node was
// down for a while.
func (r *Runner) pullOn(ctx context.Context, s *pullState, i int, n fleet.Node, image string) {
	pause, refused := pullRetry, 0
	for tries := 1; ctx.Err() == nil; tries++ {
		try, stop := context.WithCancel(ctx)
		if s.begin(i, stop) {
			err := r.agents.Pull(try, n, image, func(p swarm.Pulled) {
				s.set(i, func(n *pullingNode) { n.Pulled = p })
			})
			if refused++; !errors.Is(err, ErrNotRunning) {
				refused = 0
			}
			phase := phaseAfter(err, tries, refused)
			s.end(i, phase, err, ctx.Err() != nil)
			if phase != pulling {
				stop()
				return
			}
		}
		stop()
		if clock.Sleep(ctx, pause) != nil {
			return
		}
		if tries >= pullTries {
			pause = min(2*pause, pullRetryMost)
		}
	}
}

// phaseAfter returns how far a node is after so many tries, the last of which ended with err;
// nothing listened there at as many of them as refused says, in a row.
func phaseAfter(err error, tries, refused int) pullPhase {
	switch {
	case err == nil:
		return pulled
	case errors.Is(err, ErrNoAgent), refused >= absentTries:
		return absent
	case errors.Is(err, swarm.ErrNoImage), tries >= pullTries && lasts(err):
		return unable
	}
	return pulling
}

// begin notes that a node is asked, unless it is down.
func (s *pullState) begin(i int, stop context.CancelFunc) (asked bool) {
	s.set(i, func(n *pullingNode) {
		if asked = !n.down; asked {
			n.stop = stop
		}
	})
	return asked
}

// end notes how a try went. Of one that was broken off, since the time is over or the node
// down, what was seen before says more.
func (s *pullState) end(i int, phase pullPhase, err error, over bool) {
	s.set(i, func(n *pullingNode) {
		if n.phase = phase; err == nil || !over && !n.down {
			n.err = err
		}
	})
	if phase != pulling {
		select {
		case s.changed <- struct{}{}:
		default: // one is enough
		}
	}
}

// settled reports whether no node is waited for any longer.
func (s *pullState) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.nodes, func(n pullingNode) bool { return n.phase == pulling && !n.down })
}

// heardOf stops waiting for nodes that Swarm no longer hears from, until it does again. It says
// that it does not know of one when it was itself started again: that says nothing of the node.
func (s *pullState) heardOf(now []fleet.Node) {
	up := map[string]bool{}
	for _, n := range now {
		up[n.ID] = n.State == fleet.StateReady || n.State == fleet.StateUnknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.down = !up[n.id]; n.down && n.phase == pulling {
			n.stop()
		}
	}
}

func (s *pullState) set(i int, change func(*pullingNode)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.nodes[i])
}

// absent returns the nodes without a crawlbox, by ID.
func (s *pullState) absent() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if n.phase == absent {
			ids = append(ids, n.id)
		}
	}
	return ids
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
	var without []string
	for _, n := range s.nodes {
		if n.phase == absent {
			without = append(without, n.name)
		}
		if !n.counts() {
			continue
		}
		p.Pulled.Nodes++
		p.Pulled.Bytes += n.Bytes
		if n.phase == pulled {
			p.Pulled.Have++
		} else {
			late = append(late, n)
			n.Total = cmp.Or(n.Total, size)
		}
		p.Pulled.Total += n.Total
		if n.phase != pulled && n.err != nil {
			p.lastErr, p.lastNode = n.err.Error(), n.name
		}
	}
	if p.Pulled.Have > 0 {
		p.Pulled.Late = names(late)
	}
	if p.lastErr == "" && len(without) > 0 {
		p.lastErr = fmt.Sprintf("no crawlbox runs on %s: ", strings.Join(without, ", ")) +
			map[bool]string{
				true:  "no replicas go there until one does",
				false: "Docker fetches the image there when replicas come",
			}[s.own]
	}
	return p
}

// names lists the nodes that are furthest behind.
func names(late []pullingNode) string {
	slices.SortStableFunc(late, func(a, b pullingNode) int { return cmp.Compare(a.Bytes, b.Bytes) })
	list := make([]string, len(late))
	for i, n := range late {
		list[i] = n.name
	}
	return words.Some(list, maxLateNames)
}

// verdict reports whether enough nodes have the image.
func (s *pullState) verdict(policy PullPolicy) error {
	p := s.state()
	have, of := p.Pulled.Have, p.Pulled.Nodes
	if of == 0 && len(s.absent()) < len(s.nodes) {
		return errors.New("no node has the image, and nothing was changed: Swarm no longer hears from those that " +
			"may run it; see `crawlbox nodes`")
	}
	if have >= policy.Quorum.Least(of) {
		return nil
	}
	why := "the others did not get it within " + policy.Timeout.String()
	if p.lastErr != "" {
		why = on(p.lastErr, p.lastNode)
	}
	advice := "look at them with `crawlbox doctor`"
	switch percent := 100 * have / max(of, 1); {
	case percent > 0:
		advice = fmt.Sprintf("look at them, or go on without them with --stage-quorum %d%%", percent)
	case have > 0:
		advice = fmt.Sprintf("look at them, or go on without them with --stage-quorum %d", have)
	}
	return fmt.Errorf("only %d of %d nodes have the image, and nothing was changed: %s; %s", have, of, why, advice)
}
