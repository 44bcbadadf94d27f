package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

const valkeyConfig = "queue:\n  engine: valkey\n  image: localhost:8003/valkey:8\n  max_memory: 64MiB\n"

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

	w := c.writeTo(managers[0].At(7891), managers[0])
	time.Sleep(2 * time.Second) // of writing
	was := c.hostOf(d)
	lost := time.Now()
	was.PowerOff()
	lab.WaitFor(t, patience, "writes", func() error {
		if last := w.last(); last.Before(lost.Add(2 * time.Second)) {
			return errors.New("none since the primary was lost")
		}
		return nil
	})
	w.stop()
	w.judge(c, managers[0], lost)
	was.PowerOn()
	c.agents[was] = was.Start("crawlbox", "crawlbox", "manager")
	c.valkeyOff(managers[0])
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
	lab.WaitFor(c, 2*patience, "Valkey off the leader", func() error {
		d = valkey.Document{}
		r := leader.Exec(c.Context(), "crawlbox", "state", "show", "valkey")
		if err := r.Err(); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
			return err
		}
		on := slices.ContainsFunc(d.Engines, func(e valkey.Engine) bool { return e.Addr.Addr() == leader.IP() })
		if on || !d.InSync || len(d.Engines) != 2 {
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
	cancel context.CancelFunc
	acks   chan []written
	latest chan time.Time
	seen   time.Time
}

type written struct {
	n  int
	at time.Time
}

// writeTo pushes to a queue at an address, from a host.
func (c *cluster) writeTo(addr string, from *lab.Host) *pusher {
	c.Helper()
	var is api.QueueAddress
	c.read(&is, "queue", "url")
	client := redis.NewClient(&redis.Options{
		Addr:        addr,
		Password:    is.Password,
		Dialer:      from.DialContext,
		MaxRetries:  -1,
		ReadTimeout: 20 * time.Second,
	})
	ctx, cancel := context.WithCancel(c.Context())
	w := &pusher{cancel: cancel, acks: make(chan []written, 1), latest: make(chan time.Time)}
	go func() {
		defer client.Close()
		var acks []written
		var last time.Time
		for n := 1; ctx.Err() == nil; n++ {
			select {
			case w.latest <- last:
			default:
			}
			if client.RPush(ctx, "written", n).Err() == nil {
				last = time.Now()
				acks = append(acks, written{n, last})
			}
		}
		close(w.latest)
		w.acks <- acks
	}()
	return w
}

// last returns when the last push was acknowledged.
func (w *pusher) last() time.Time {
	if at, ok := <-w.latest; ok {
		w.seen = at
	}
	return w.seen
}

func (w *pusher) stop() { w.cancel() }

// judge wants writes to have gone on soon after a loss, and none to be lost that were acknowledged long before.
func (w *pusher) judge(c *cluster, from *lab.Host, lost time.Time) {
	c.Helper()
	acks := <-w.acks
	items := from.MustExec("crawlbox", "queue", "peek", "written", "-n", strconv.Itoa(len(acks)+1000), "--json")
	var is api.Items
	if err := json.Unmarshal([]byte(items), &is); err != nil {
		c.Fatal(err)
	}
	has := map[string]bool{}
	for _, item := range is.Items {
		has[item] = true
	}
	var gap time.Duration
	gone, first := 0, time.Time{}
	for i, a := range acks {
		if i > 0 {
			gap = max(gap, a.at.Sub(acks[i-1].at))
		}
		if !has[strconv.Itoa(a.n)] {
			if gone++; first.IsZero() {
				first = a.at
			}
		}
	}
	c.Logf("%d pushes, %d of them lost; none was acknowledged for %s", len(acks), gone, gap.Round(time.Millisecond))
	if gap > 10*time.Second {
		c.Errorf("no push was acknowledged for %s", gap)
	}
	if gone > 0 && lost.Sub(first) > time.Second {
		c.Errorf("%d pushes are lost, the first of them %s before the machine", gone, lost.Sub(first))
	}
}
