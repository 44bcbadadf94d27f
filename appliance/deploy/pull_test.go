package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

// nodesOnly is a Cluster of which a pull needs no more than the nodes.
type nodesOnly struct {
	Cluster
	mu    sync.Mutex
	nodes []fleet.Node
}

func (c *nodesOnly) Nodes(context.Context) ([]fleet.Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]fleet.Node(nil), c.nodes...), nil
}

func (c *nodesOnly) set(i int, state string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i].State = state
}

// pullerFunc pulls by what is said for each node.
type pullerFunc func(ctx context.Context, node string) error

func (f pullerFunc) Pull(ctx context.Context, n fleet.Node, _ string, see func(swarm.Pulled)) error {
	see(swarm.Pulled{Bytes: 1, Total: 2})
	return f(ctx, n.ID)
}

func (pullerFunc) Kill(context.Context, fleet.Node, []string) error { return nil }

func (pullerFunc) Container(context.Context, fleet.Node, string) (c swarm.Container, err error) {
	return c, swarm.ErrNotFound
}

// after takes some time for a node, and fails where there is an error.
func after(ctx context.Context, d time.Duration, err error) error {
	if waited := clock.Sleep(ctx, d); waited != nil {
		return waited
	}
	return err
}

func TestPull(t *testing.T) {
	t.Parallel()
	broken := errors.New("no space left on device")
	slow := fmt.Errorf("no word from it for 30s: %w", ErrUnanswered)
	refused := fmt.Errorf("nothing listens: %w", ErrNotRunning)
	pulls := func(took time.Duration) pullerFunc {
		return func(ctx context.Context, n string) error {
			return after(ctx, map[bool]time.Duration{true: took, false: time.Second}[n == "n2"], nil)
		}
	}
	type states map[time.Duration]string // of n2, after a while
	for name, tc := range map[string]struct {
		quorum string
		pull   pullerFunc
		states states
		took   time.Duration
		absent string
		fails  string
	}{
		"all have it":              {"100%", pulls(time.Second), nil, time.Second, "", ""},
		"a slow one is waited for": {"100%", pulls(4 * time.Minute), nil, 4 * time.Minute, "", ""},
		"one that goes down is not": {
			"100%", pulls(time.Hour), states{9 * time.Second: fleet.StateDown}, 10 * time.Second, "", "",
		},
		"one that goes down and comes back is, as long as others are": {
			"100%", func(ctx context.Context, n string) error {
				return after(ctx, map[string]time.Duration{"n2": 30 * time.Second, "n3": time.Minute}[n], nil)
			},
			states{9 * time.Second: fleet.StateDown, 19 * time.Second: fleet.StateReady}, time.Minute, "", "",
		},
		"one of which Swarm does not know is": {
			"100%", pulls(30 * time.Second), states{9 * time.Second: fleet.StateUnknown}, 30 * time.Second, "", "",
		},
		"one where no crawlbox ever ran is not": {"100%", func(_ context.Context, n string) error {
			if n == "n1" {
				return fmt.Errorf("nobody there: %w", ErrNoAgent)
			}
			return nil
		}, nil, 0, "n1", ""},
		"one whose crawlbox is stopped is not": {
			"100%", failsFor("n1", 100, refused), nil, (absentTries - 1) * pullRetry, "n1", "",
		},
		"one whose crawlbox starts again is": {
			"100%", failsFor("n1", absentTries-1, refused), nil, (absentTries - 1) * pullRetry, "", "",
		},
		"one that fails for a moment is tried again": {
			"100%", failsFor("n0", 2, broken), nil, 2 * pullRetry, "", "",
		},
		"one that is starved is tried again": {
			"100%", failsFor("n0", 20, slow), nil, 4*pullRetry + 6*time.Second + 15*pullRetryMost, "", "",
		},
		"but not for ever": {
			"100%", failsFor("n0", 1000, slow), nil, 5 * time.Minute, "",
			"only 3 of 4 nodes have the image, and nothing was changed: no word from it for 30s: it does not " +
				"answer (on h0); look at them, or go on without them with --stage-quorum 75%",
		},
		"one that fails for good ends it": {
			"100%", failsFor("n0", 100, broken), nil, (pullTries - 1) * pullRetry, "",
			"only 3 of 4 nodes have the image, and nothing was changed: no space left on device (on h0)",
		},
		"or not, where a quorum will do": {
			"75%", failsFor("n0", 100, broken), nil, (pullTries - 1) * pullRetry, "", "",
		},
		"the time is over": {
			"100%", pulls(time.Hour), nil, 5 * time.Minute, "",
			"only 3 of 4 nodes have the image, and nothing was changed: the others did not get it within 5m0s",
		},
		"no such image": {"100%", func(context.Context, string) error {
			return fmt.Errorf("%w x", swarm.ErrNoImage)
		}, nil, 0, "", "no image x (on h3); look at them with `crawlbox doctor`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &nodesOnly{}
				for i := range 4 {
					c.nodes = append(c.nodes, fleet.Node{
						ID:      fmt.Sprintf("n%d", i),
						Display: fmt.Sprintf("h%d", i),
						State:   fleet.StateReady,
					})
				}
				for after, state := range tc.states {
					time.AfterFunc(after, func() { c.set(2, state) })
				}
				quorum, err := ParseShare(tc.quorum)
				if err != nil {
					t.Fatal(err)
				}
				var last Progress
				begun := time.Now()
				nodes, _ := c.Nodes(t.Context())
				absent, err := NewRunner(c, tc.pull, nil, slog.New(slog.DiscardHandler)).pull(t.Context(), nodes,
					"x@sha256:1", PullPolicy{quorum, 5 * time.Minute},
					func(p Progress) { last = p })
				if took := time.Since(begun).Round(time.Second); took != tc.took {
					t.Errorf("it took %s, want %s", took, tc.took)
				}
				if tc.fails == "" && err != nil ||
					tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
					t.Errorf("got %v, want %q", err, tc.fails)
				}
				if got := strings.Join(absent, " "); got != tc.absent {
					t.Errorf("no crawlbox runs on %q, want %q", got, tc.absent)
				}
				if err == nil && last.Pulled.Have < quorum.Least(last.Pulled.Nodes) {
					t.Errorf("at the end it said %+v", last)
				}
			})
		})
	}
}

// The advice of a pull that fails is one that helps.
func TestPull_AdviceHelps(t *testing.T) {
	t.Parallel()
	for nodes := 1; nodes <= 250; nodes++ {
		for have := range nodes {
			s := &pullState{nodes: make([]pullingNode, nodes)}
			for i := range have {
				s.nodes[i].phase = pulled
			}
			err := s.verdict(DefaultPullPolicy)
			_, advice, advised := strings.Cut(fmt.Sprint(err), "--stage-quorum ")
			if err == nil || advised != (have > 0) {
				t.Fatalf("%d of %d: got %v", have, nodes, err)
			}
			if share, err := ParseShare(advice); advised && (err != nil || share.Least(nodes) > have) {
				t.Errorf("%d of %d: %s would not do: %v", have, nodes, advice, err)
			}
		}
	}
}

// What could not be brought to a node since no crawlbox runs there is not started there.
func TestPrepare_KeepsOffNodesWithoutCrawlbox(t *testing.T) {
	t.Parallel()
	const own = "localhost:8003/x@sha256:1"
	two, one := 2, uint64(1)
	for name, tc := range map[string]struct {
		image  string
		change servicespec.Deployment
		down   int // nodes whose crawlbox is stopped
		avoid  int
		fails  string
	}{
		"none is stopped":          {own, servicespec.Deployment{}, 0, 0, ""},
		"one is":                   {own, servicespec.Deployment{}, 1, 1, ""},
		"of an image of elsewhere": {"hub/x@sha256:1", servicespec.Deployment{}, 1, 0, ""},
		"any number on a node":     {own, servicespec.Deployment{Replicas: &two}, 1, 1, ""},
		"one on each": {
			own, servicespec.Deployment{Replicas: &two, MaxPerNode: &one}, 1, 0,
			"2 replicas do not fit on 1 node with 1 on each at most, and nothing was changed: no crawlbox runs on h0",
		},
		"all are": {
			own, servicespec.Deployment{}, 2, 0,
			"no node can run it, and nothing was changed: no crawlbox runs on h0, h1; start it there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &built{}
				for i := range 2 {
					c.nodes = append(c.nodes, fleet.Node{
						ID:      fmt.Sprintf("n%d", i),
						Display: fmt.Sprintf("h%d", i),
						State:   fleet.StateReady,
					})
				}
				r := NewRunner(c, pullerFunc(func(_ context.Context, n string) error {
					if n < fmt.Sprintf("n%d", tc.down) {
						return ErrNotRunning
					}
					return nil
				}), nil, slog.New(slog.DiscardHandler))
				tc.change.Image = tc.image
				d := Deploy{Service: "spider", Change: tc.change, Pull: DefaultPullPolicy}
				err := r.prepare(t.Context(), nil, &d, func(Progress) {})
				if got := fmt.Sprint(err); (err != nil) != (tc.fails != "") || !strings.Contains(got, tc.fails) {
					t.Errorf("got %s, want %q", got, tc.fails)
				}
				if err == nil && len(d.Change.Avoid) != tc.avoid {
					t.Errorf("it keeps off %v", d.Change.Avoid)
				}
			})
		})
	}
}

// failsFor lets one node fail so many times.
func failsFor(node string, times int, err error) pullerFunc {
	var mu sync.Mutex
	return func(_ context.Context, n string) error {
		mu.Lock()
		defer mu.Unlock()
		if n != node || times == 0 {
			return nil
		}
		times--
		return err
	}
}

func TestPull_Interrupted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		forever := pullerFunc(func(ctx context.Context, _ string) error { return after(ctx, time.Hour, nil) })
		c := &nodesOnly{nodes: []fleet.Node{{ID: "n0", State: fleet.StateReady}}}
		_, err := NewRunner(c, forever, nil, slog.New(slog.DiscardHandler)).pull(ctx, c.nodes, "x@sha256:1",
			PullPolicy{Share{all: true}, time.Hour}, func(Progress) {})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNames(t *testing.T) {
	t.Parallel()
	var late []pullingNode
	for i := range 5 {
		late = append(late, pullingNode{name: fmt.Sprintf("h%d", i), Pulled: swarm.Pulled{Bytes: int64(10 - i)}})
	}
	if got := names(late); got != "h4, h3, h2 and 2 more" {
		t.Errorf("got %q", got)
	}
	if got := names(late[:1]); got != "h4" { // they are sorted now
		t.Errorf("got %q", got)
	}
}
