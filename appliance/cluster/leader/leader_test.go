package leader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
)

func at(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }

// cluster is three managers of a swarm, of which some have the state.
type cluster struct {
	mu    sync.Mutex
	nodes []fleet.Node
	list  []replica.Replica
	gone  map[netip.Addr]bool
	err   error // of who asks Swarm
	hangs bool
}

// clusterOf makes one with as many nodes, all managers, and a list of those with the state.
func clusterOf(all int, list ...int) *cluster {
	c := &cluster{gone: map[netip.Addr]bool{}}
	for n := 1; n <= all; n++ {
		c.nodes = append(c.nodes, fleet.Node{
			ID:     fmt.Sprint(n),
			Role:   fleet.RoleManager,
			Raft:   true,
			State:  fleet.StateReady,
			Leader: n == 1,
		})
	}
	for _, n := range list {
		c.list = append(c.list, replica.Replica{Node: fmt.Sprint(n), Addr: at(n)})
	}
	return c
}

// set changes it while somebody looks.
func (c *cluster) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *cluster) leads(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.nodes {
		c.nodes[i].Leader = i+1 == n
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	state := func(s string) func(*cluster) { return func(c *cluster) { c.nodes[1].State = s } }
	for name, tc := range map[string]struct {
		list   []int
		change func(*cluster)
		want   int // 0: nobody
	}{
		"Swarm's leader":             {[]int{2, 1, 3}, func(*cluster) {}, 1},
		"has not the state":          {[]int{3, 2}, func(*cluster) {}, 3},
		"its crawlbox does not run":  {[]int{1, 3, 2}, func(c *cluster) { c.gone[at(1)] = true }, 3},
		"the first can't be reached": {[]int{2, 3}, state(fleet.StateUnreachable), 3},
		"the first is down":          {[]int{2, 3}, state(fleet.StateDown), 3},
		"unknown, for a moment":      {[]int{2, 3}, state(fleet.StateUnknown), 2},
		"the first was demoted":      {[]int{2, 3}, func(c *cluster) { c.nodes[1].Raft = false }, 3},
		"the first has left":         {[]int{9, 3}, func(*cluster) {}, 3},
		"no crawlbox runs":           {[]int{1}, func(c *cluster) { c.gone[at(1)] = true }, 0},
		"nobody has the state":       {nil, func(*cluster) {}, 0},
	} {
		c := clusterOf(3, tc.list...)
		tc.change(c)
		want := netip.Addr{}
		if tc.want > 0 {
			want = at(tc.want)
		}
		got, ok := Choose(c.nodes, c.list, func(a netip.Addr) bool { return c.gone[a] })
		if got.Addr != want || ok != want.IsValid() {
			t.Errorf("%s: %v leads, want %v", name, got.Addr, want)
		}
	}
}

// watchOf is the watch of a manager, which runs until the test ends.
func watchOf(t *testing.T, c *cluster, self int) *Watch {
	t.Helper()
	w := New(Options{
		Self: at(self),
		Nodes: func(ctx context.Context) ([]fleet.Node, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.hangs {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return slices.Clone(c.nodes), c.err
		},
		Replicas: func() []replica.Replica {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.list
		},
		Gone: func(a netip.Addr) bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.gone[a]
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return w
}

func (w *Watch) want(t *testing.T, n int) {
	t.Helper()
	synctest.Wait()
	want := netip.Addr{}
	if n > 0 {
		want = at(n)
	}
	if got, _ := w.Leader(); got != want {
		t.Errorf("%v leads, want %v", got, want)
	}
}

// TestWatch follows Swarm's leader within a look, and nobody where Swarm can't be asked for a while.
func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clusterOf(3, 1, 2, 3)
		w := watchOf(t, c, 2)
		w.want(t, 1)
		c.leads(2)
		time.Sleep(lookEvery)
		w.want(t, 2)
		c.set(func() { c.gone[at(2)] = true }) // by hearsay: it knows better itself
		time.Sleep(lookEvery)
		w.want(t, 2)
		c.set(func() { c.err = errors.New("the swarm has no leader") })
		time.Sleep(blind - lookEvery)
		w.want(t, 2)
		time.Sleep(lookEvery)
		w.want(t, 0)
		c.set(func() { c.err = nil })
		c.leads(3)
		time.Sleep(lookEvery)
		w.want(t, 3)
	})
}

// TestWatch_Alone: the only manager with the state leads, also while its Docker is away.
func TestWatch_Alone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clusterOf(1, 1)
		c.err = errors.New("the Docker Engine does not answer")
		w := watchOf(t, c, 1)
		w.want(t, 1)
		time.Sleep(10 * blind)
		w.want(t, 1)
		c.set(func() { c.list = append(c.list, replica.Replica{Node: "2", Addr: at(2)}) })
		time.Sleep(blind + lookEvery)
		w.want(t, 0)
	})
}

// TestWatch_Hangs: an engine that does not answer does not hold up the looks.
func TestWatch_Hangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clusterOf(2, 1, 2)
		w := watchOf(t, c, 1)
		w.want(t, 1)
		c.set(func() { c.hangs = true })
		time.Sleep(blind + 2*(lookEvery+lookTimeout))
		w.want(t, 0)
	})
}

// TestPart runs parts afresh each time this manager leads, and has them stopped when it does not, before others begin.
func TestPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said []string
		say := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
		want := func(words string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(said, ", "); got != words {
				t.Errorf("%s\nwant %s", got, words)
			}
			said = nil
		}
		w := New(Options{Self: at(1)})
		times := 0
		part := w.Part(slog.New(slog.DiscardHandler), func() ([]lifecycle.Part, func()) {
			times++
			n := times
			return []lifecycle.Part{lifecycle.Background("loop", func(ctx context.Context) error {
				say("%d runs", n)
				<-ctx.Done()
				say("%d stops", n)
				return nil
			})}, func() { say("%d has ended", n) }
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- part.Run(ctx) }()
		want("")
		w.set(at(2))
		want("")
		w.set(at(1))
		want("1 runs")
		w.set(at(2))
		want("1 stops, 1 has ended")
		w.set(at(1))
		want("2 runs")
		w.set(netip.Addr{})
		w.set(at(1)) // before anybody has seen that
		want("")
		w.set(at(3))
		want("2 stops, 2 has ended")
		w.set(at(1))
		want("3 runs")
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want("3 stops, 3 has ended")
	})
}

// TestPart_Fails: a part that can't go on, or does not stop, ends the node.
func TestPart_Fails(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	synctest.Test(t, func(t *testing.T) {
		for name, run := range map[string]func(context.Context) error{
			"bad":                     func(context.Context) error { return bad },
			"did not stop within 10s": func(context.Context) error { time.Sleep(time.Minute); return nil },
		} {
			w := New(Options{Self: at(1)})
			part := w.Part(slog.New(slog.DiscardHandler), func() ([]lifecycle.Part, func()) {
				return []lifecycle.Part{lifecycle.Background("loop", run)}, func() {}
			})
			ended := make(chan error, 1)
			go func() { ended <- part.Run(t.Context()) }()
			w.set(at(1))
			synctest.Wait()
			w.set(at(2))
			if err := <-ended; err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want %s", err, name)
			}
		}
		time.Sleep(time.Minute)
	})
}
