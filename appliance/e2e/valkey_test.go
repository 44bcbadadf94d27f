package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

const valkeyConfig = `
queue:
  engine: valkey
  image: localhost:8003/valkey:8
  password: hush
  max_memory: 64MiB
`

// TestValkey has Valkey keep the queue's items: without its image, on one manager, on three, and over the loss of the
// machine that it is on.
func TestValkey(t *testing.T) {
	t.Parallel()
	c := newCluster(t, valkeyConfig, 0)
	lab.WaitFor(t, patience, "a status without the image", func() error {
		return c.queueSays(api.QueueDown, "the image localhost:8003/valkey:8", "docker save")
	})
	c.manager.Load(artifact.ValkeyImage(t, "localhost:8003/valkey:8"))
	c.manager.Docker("push", "--quiet", "localhost:8003/valkey:8")
	lab.WaitFor(t, patience, "Valkey", func() error {
		return c.queueSays(api.QueueAlone, "stands still while that is away", "crawlbox node promote")
	})
	lab.WaitFor(t, patience, "the queue", func() error {
		return c.manager.Exec(t.Context(), "crawlbox", "queue", "push", "urls", "a", "b").Err()
	})
	contains(t, c.run("queue", "len"), "urls", "2")
	c.ownServices()

	managers := c.addManagers(2)
	d := c.valkeyOff(managers[0])
	if a, _ := d.At(1); d.Epoch < 2 {
		t.Errorf("it was not handed over: %+v, %+v", d, a)
	}
	contains(t, c.run("queue", "len"), "urls", "2")

	if c.queueSays(api.QueueAlone, "") == nil {
		t.Errorf("with a replica the status says\n%s", c.run("status"))
	}
	c.losing(c.hostOf(d), managers[0], managers[0].At(7891))
	for i := range failovers(t) {
		leader := c.leaderOf(managers)
		d = c.valkeyOff(leader)
		primary, lost := c.hostOf(d), leader
		if i%2 == 1 {
			lost = primary
		}
		third := slices.IndexFunc(managers, func(h *lab.Host) bool { return h != leader && h != primary })
		c.losing(lost, managers[third], "127.0.0.1:7891")
	}
}

// failoversEnv says how often TestValkey loses the leader, and the primary in turn; `make soak` sets 20. Without it
// the leader is lost once.
const failoversEnv = "CRAWLBOX_FAILOVERS"

func failovers(t *testing.T) int {
	text := os.Getenv(failoversEnv)
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", failoversEnv, err)
	}
	return n
}

// leaderOf waits until one of the managers leads the swarm.
func (c *cluster) leaderOf(managers []*lab.Host) (leader *lab.Host) {
	c.Helper()
	lab.WaitFor(c, election, "Swarm to have a leader", func() error {
		for _, h := range managers {
			r := h.Exec(c.Context(), "docker", "node", "inspect", "self", "--format", "{{.ManagerStatus.Leader}}")
			if strings.TrimSpace(r.Stdout) == "true" {
				leader = h
				return nil
			}
		}
		return errors.New("none does")
	})
	return leader
}

// losing loses a manager while one on another host pushes to the queue at an address, and has it come back.
func (c *cluster) losing(lost, from *lab.Host, addr string) {
	c.Helper()
	w := c.pushTo(addr, from)
	w.await(c, time.Now())      // it may have to get there first
	time.Sleep(2 * time.Second) // of pushing
	lost.PowerOff()
	off := time.Now()
	w.await(c, off.Add(10*time.Second))
	w.judge(c, off, 10*time.Second, time.Second)
	lost.PowerOn()
	c.agents[lost] = lost.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(lost)
}

// ownServices are not to be changed by users.
func (c *cluster) ownServices() {
	c.Helper()
	for _, args := range [][]string{{"rm", "crawlbox-queue-1"}, {"scale", "crawlbox-queue-1=2"},
		{"restart", "crawlbox-queue-1"}} {
		contains(c.T, c.fails(c.manager, 1, args...), "is the cluster's own")
	}
}

// queueSays looks for a problem of the queue in the status.
func (c *cluster) queueSays(kind string, words ...string) error {
	var st api.Status
	c.read(&st, "status")
	for _, p := range st.Problems {
		if p.Kind == kind && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p.Text, w) }) {
			return nil
		}
	}
	return fmt.Errorf("the status has no %s: %+v", kind, st.Problems)
}

// valkeyOff waits until Valkey and its replica are on managers but one.
func (c *cluster) valkeyOff(leader *lab.Host) (d valkey.Document) {
	c.Helper()
	return c.valkeyIs(leader, "off "+leader.Name(), isOff(leader))
}

func isOff(h *lab.Host) func(valkey.Document) bool {
	return func(d valkey.Document) bool {
		return !slices.ContainsFunc(d.Engines, func(e valkey.Engine) bool { return e.Addr.Addr() == h.IP() })
	}
}

// valkeyIs waits until Valkey and its replica, which is in sync, are as one manager knows and is wanted.
func (c *cluster) valkeyIs(at *lab.Host, what string, is func(valkey.Document) bool) (d valkey.Document) {
	c.Helper()
	lab.WaitFor(c, 2*patience, "Valkey "+what, func() error {
		d = valkey.Document{}
		r := at.Exec(c.Context(), "crawlbox", "state", "show", "valkey")
		if err := r.Err(); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
			return err
		}
		if !d.InSync || len(d.Engines) != 2 || !is(d) {
			return fmt.Errorf("it is %+v", d)
		}
		return nil
	})
	return d
}

func (c *cluster) hostOf(d valkey.Document) *lab.Host {
	c.Helper()
	e, _ := d.At(d.Primary)
	i := slices.IndexFunc(c.hosts, func(h *lab.Host) bool { return h.IP() == e.Addr.Addr() })
	if i < 0 {
		c.Fatalf("no host has %+v", e)
	}
	return c.hosts[i]
}

// pusher pushes numbers at full speed.
type pusher struct {
	client *redis.Client
	key    string
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex
	acks []pushed
}

type pushed struct {
	n  int
	at time.Time
}

// pushTo pushes to the queue at an address, from a host.
func (c *cluster) pushTo(addr string, from *lab.Host) *pusher {
	c.Helper()
	client := redis.NewClient(&redis.Options{
		Addr:        addr,
		Password:    "hush",
		Dialer:      c.toQueue(from),
		MaxRetries:  -1,
		ReadTimeout: 20 * time.Second,
	})
	ctx, cancel := context.WithCancel(c.Context())
	w := &pusher{client: client, key: "pushed-" + from.Name(), cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		_ = client.Del(ctx, w.key).Err()
		for n := 1; ctx.Err() == nil; n++ {
			if client.RPush(ctx, w.key, n).Err() != nil {
				continue
			}
			w.mu.Lock()
			w.acks = append(w.acks, pushed{n, time.Now()})
			w.mu.Unlock()
		}
	}()
	return w
}

// toQueue makes connections to the queue from a host, over TLS where that speaks it.
func (c *cluster) toQueue(from *lab.Host) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := from.DialContext(ctx, network, addr)
		if err != nil || c.secured == nil {
			return conn, err
		}
		return tls.Client(conn, c.secured), nil
	}
}

// await waits until a push after a time was acknowledged.
func (w *pusher) await(c *cluster, after time.Time) {
	c.Helper()
	lab.WaitFor(c, patience, "a push", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := len(w.acks); n == 0 || w.acks[n-1].at.Before(after) {
			return fmt.Errorf("%d were acknowledged, none after %s", n, after)
		}
		return nil
	})
}

// acked returns when the first push after a time was acknowledged, or the last one where none was.
func (w *pusher) acked(after time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.acks, func(a pushed) bool { return a.at.After(after) })
	if i < 0 {
		i = len(w.acks) - 1
	}
	return w.acks[i].at
}

// judge wants pushes to have gone on within a time after a loss, and none to be lost that was acknowledged longer
// before it than another.
func (w *pusher) judge(c *cluster, off time.Time, within, before time.Duration) {
	c.Helper()
	w.cancel()
	<-w.ended
	defer w.client.Close()
	var items []string
	lab.WaitFor(c, patience, "what was pushed", func() (err error) {
		items, err = w.client.LRange(c.Context(), w.key, 0, -1).Result()
		return err
	})
	has := map[string]bool{}
	for _, item := range items {
		has[item] = true
	}
	var gap time.Duration
	gone, first := 0, time.Time{}
	for i, a := range w.acks {
		if i > 0 {
			gap = max(gap, a.at.Sub(w.acks[i-1].at))
		}
		if !has[strconv.Itoa(a.n)] {
			if gone++; first.IsZero() {
				first = a.at
			}
		}
	}
	c.Logf("%s: %d pushes, %d of them lost; none was acknowledged for %s", w.key, len(w.acks), gone,
		gap.Round(time.Millisecond))
	if gap > within {
		c.Errorf("no push was acknowledged for %s", gap)
	}
	if gone > 0 && off.Sub(first) > before {
		c.Errorf("%d pushes are lost, the first of them %s before the machine", gone, off.Sub(first))
	}
}
