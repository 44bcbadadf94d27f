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

func (c *nodesOnly) down(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[i].State = "down"
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
	for name, tc := range map[string]struct {
		quorum string
		pull   pullerFunc
		down   int // this node goes down after nine seconds; -1: none
		took   time.Duration
		fails  string
	}{
		"all have it": {"100%", func(ctx context.Context, n string) error {
			return after(ctx, time.Second, nil)
		}, -1, time.Second, ""},
		"a slow one is waited for": {"100%", func(ctx context.Context, n string) error {
			return after(ctx, map[bool]time.Duration{true: 4 * time.Minute, false: time.Second}[n == "n2"], nil)
		}, -1, 4 * time.Minute, ""},
		"one that goes down is not": {"100%", func(ctx context.Context, n string) error {
			return after(ctx, map[bool]time.Duration{true: time.Hour, false: time.Second}[n == "n2"], nil)
		}, 2, 10 * time.Second, ""},
		"one without crawlbox is not": {"100%", func(_ context.Context, n string) error {
			if n == "n1" {
				return fmt.Errorf("nobody there: %w", ErrNoAgent)
			}
			return nil
		}, -1, 0, ""},
		"one that fails for a moment is tried again": {"100%", failsFor("n0", 2, broken), -1, 2 * pullRetry, ""},
		"one that fails for good ends it": {"100%", failsFor("n0", 100,
			broken), -1, (pullTries - 1) * pullRetry,
			"only 3 of 4 nodes have the image, and nothing was changed: no space left on device (on h0)"},
		"or not, where a quorum will do": {"75%", failsFor("n0", 100, broken), -1, (pullTries - 1) * pullRetry, ""},
		"the time is over": {"100%", func(ctx context.Context, n string) error {
			return after(ctx, map[bool]time.Duration{true: time.Hour, false: time.Second}[n == "n3"], nil)
		}, -1, 5 * time.Minute, "only 3 of 4 nodes have the image"},
		"no such image": {"100%", func(context.Context, string) error {
			return fmt.Errorf("%w x", swarm.ErrNoImage)
		}, -1, 0, "no image x"},
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
				if tc.down >= 0 {
					time.AfterFunc(9*time.Second, func() { c.down(tc.down) })
				}
				quorum, err := ParseShare(tc.quorum)
				if err != nil {
					t.Fatal(err)
				}
				var last Progress
				begun := time.Now()
				nodes, _ := c.Nodes(t.Context())
				err = NewRunner(c, tc.pull, nil, slog.New(slog.DiscardHandler)).pull(t.Context(), nodes, "x@sha256:1",
					PullPolicy{quorum, 5 * time.Minute},
					func(p Progress) { last = p })
				if took := time.Since(begun).Round(time.Second); took != tc.took {
					t.Errorf("it took %s, want %s", took, tc.took)
				}
				if tc.fails == "" && err != nil ||
					tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)) {
					t.Errorf("got %v, want %q", err, tc.fails)
				}
				if err == nil && last.Pulled.Have < quorum.Least(last.Pulled.Nodes) {
					t.Errorf("at the end it said %+v", last)
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
		err := NewRunner(c, forever, nil, slog.New(slog.DiscardHandler)).pull(ctx, c.nodes, "x@sha256:1",
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
	if got := names(late); got != "h4, h3, h2, 2 more" {
		t.Errorf("got %q", got)
	}
	if got := names(late[:1]); got != "h4" { // they are sorted now
		t.Errorf("got %q", got)
	}
}
