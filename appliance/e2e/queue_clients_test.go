package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

// clientsEnv says for how long TestQueueClients does harm to each group of all clients, which have 2,000 items each;
// `make soak` sets five minutes. Without it there are two clients, and harm until their few items are done.
const clientsEnv = "CRAWLBOX_CLIENTS"

// clientsGroup is clients that run at once on one queue, which has one window.
type clientsGroup struct {
	name    string
	valkey  bool // on three managers; else on a manager, which is not lost, and two workers
	window  int
	clients []string
}

var clientsGroups = []clientsGroup{
	{"embedded", false, 1, []string{"spider", "redis8"}},
	{"embedded many", false, 64, []string{"scrapy-fifo", "scrapy-lifo", "scrapy-priority", "celery"}},
	{"valkey", true, 1, []string{"spider", "redis8", "rq", "bullmq", "asynq"}},
	{"valkey many", true, 64, []string{"scrapy-fifo", "scrapy-lifo", "scrapy-priority", "celery", "sidekiq"}},
}

// TestQueueClients has unchanged programs work through items on three hosts while their containers, crawlbox, the
// queue's process, its engine, Docker and whole nodes are killed at random: no item is lost, and no more are done
// again than were in the hands of those.
func TestQueueClients(t *testing.T) {
	t.Parallel()
	groups, items := clientsGroups[:1], 100
	lasts, err := time.ParseDuration(os.Getenv(clientsEnv))
	if err == nil {
		groups, items = clientsGroups, 2000
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			c := &killedClients{
				names: g.clients, window: g.window, items: items, lasts: lasts,
				rng:   rand.New(rand.NewPCG(testenv.Seed(t), 0)),
				dir:   t.TempDir(),
				harms: map[string]int{},
			}
			if g.valkey {
				c.startValkey(t)
			} else {
				c.queue = queueConfig
				c.cluster = newCluster(t, c.queue, 2)
			}
			c.start()
			c.harmAll()
			c.judge()
		})
	}
}

// killedClients is a group of TestQueueClients.
type killedClients struct {
	*cluster
	managers []*lab.Host // with Valkey
	queue    string      // the config of the queue, but for what is safe
	names    []string
	window   int
	items    int           // of each client
	lasts    time.Duration // 0: until the items are done
	rng      *rand.Rand
	dir      string // in which services have their programs, and their records
	harms    map[string]int
	failed   int // of the harms, those after which programs may have heard of an error
}

// startValkey has three managers, with Valkey on two.
func (c *killedClients) startValkey(t *testing.T) {
	t.Helper()
	c.queue = strings.Replace(valkeyConfig, "hush", password, 1)
	c.cluster = newCluster(t, c.queue, 0)
	c.manager.Load(artifact.ValkeyImage(t, "localhost:8003/valkey:8"))
	c.manager.Docker("push", "--quiet", "localhost:8003/valkey:8")
	c.managers = c.addManagers(2)
	c.valkeyOff(c.leaderOf(c.managers))
}

// start starts the services, which have all items before them.
func (c *killedClients) start() {
	c.Helper()
	c.prepare()
	client := queueClient(c.manager, c.manager)
	defer client.Close()
	lab.WaitFor(c, patience, "the queue", func() error { return client.Ping(c.Context()).Err() })
	c.produce(client)
	c.stop(c.manager)
	safe, services := "", ""
	for _, name := range c.names {
		for _, key := range killedPrograms[name].safe {
			safe += "\n  - '" + key + "'"
		}
		services += killedPrograms[name].service(c, name)
	}
	c.configure(fmt.Sprintf("%s  window: %d\n  max_deliveries: 1000\n  safe:%s\nservices:%s\n", c.queue, c.window, safe,
		services))
	c.startManager()
	for _, name := range c.names {
		lab.WaitFor(c, patience, name, func() error {
			for _, s := range c.services() {
				if s.Name == name {
					return nil
				}
			}
			return fmt.Errorf("there is none")
		})
		c.awaitRunning(name, killedPrograms[name].replicas)
	}
}

// harmAll does harm until the time is over and all items are done.
func (c *killedClients) harmAll() {
	c.Helper()
	most := c.lasts
	if most == 0 {
		most = patience
	}
	begun := time.Now()
	for time.Since(begun) < most && (c.left() > 0 || c.lasts > 0) {
		before := c.left()
		c.harm()
		pause := time.Duration(0)
		if c.lasts > 0 {
			pause = time.Duration(1000+c.rng.IntN(5000)) * time.Millisecond
		}
		rest(c.Context(), pause)
		for until := time.Now().Add(20 * time.Second); time.Now().Before(until) && c.left() > before-8; {
			rest(c.Context(), 100*time.Millisecond)
		}
	}
	// What clients hold by leases of their own comes back with the end of these.
	for until := time.Now().Add(most + patience); time.Now().Before(until) && c.left() > 0; {
		rest(c.Context(), 100*time.Millisecond)
	}
}

// judge looks at what each client has done.
func (c *killedClients) judge() {
	c.Helper()
	for _, name := range c.names {
		begun, done, lives := c.seen(name)
		for i := range c.items {
			if item := fmt.Sprintf("item-%d", i); done[item] == 0 {
				c.Errorf("%s: %s was begun %d times and never done", name, item, begun[item])
			}
		}
		twice := 0
		for _, times := range begun {
			twice += times - 1
		}
		k, window := killedPrograms[name], c.window
		if k.safe == nil {
			window = k.atOnce
		}
		most := window * (lives + c.failed*k.replicas)
		if twice > most {
			c.Errorf("%s: %d items were handed out once more, at the most %d may be", name, twice, most)
		}
		c.Logf("%s: %d items done by %d containers: %d handed out once more, of at the most %d", name, len(done), lives,
			twice, most)
	}
	c.Logf("harms: %v", c.harms)
	if c.Failed() {
		c.Logf("queue len says\n%s", c.run("queue", "len"))
	}
}

// seen returns how often each item of a client was begun, and done, and how many containers began one.
func (c *killedClients) seen(client string) (begun, done map[string]int, lives int) {
	c.Helper()
	begun, done = map[string]int{}, map[string]int{}
	paths, err := filepath.Glob(filepath.Join(c.dir, "records", client+"-*"))
	if err != nil {
		c.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			c.Fatal(err)
		}
		if len(text) > 0 {
			lives++
		}
		for line := range strings.Lines(string(text)) {
			switch what, item, _ := strings.Cut(strings.TrimSpace(line), " "); what {
			case "begun":
				begun[item]++
			case "done":
				done[item]++
			}
		}
	}
	return begun, done, lives
}

// left returns how many items are not done.
func (c *killedClients) left() (n int) {
	c.Helper()
	for _, name := range c.names {
		_, done, _ := c.seen(name)
		n += c.items - len(done)
	}
	return n
}

// harm does something to somebody.
func (c *killedClients) harm() {
	c.Helper()
	ctx := c.Context()
	h := c.hosts[c.rng.IntN(len(c.hosts))]
	what := ""
	switch n := c.rng.IntN(12); {
	case n < 4:
		what = "container killed"
		const but = "docker ps | grep -v crawlbox-queue | grep -o '^[0-9a-f]*'"
		ids := strings.Fields(h.Exec(ctx, "sh", "-c", but).Stdout)
		if len(ids) == 0 {
			return
		}
		h.Exec(ctx, "docker", "kill", ids[c.rng.IntN(len(ids))])
	case n < 6:
		what = "crawlbox killed"
		c.agents[h].Kill()
		c.startAgent(h)
	case n < 8:
		what = "queue's process killed"
		h.Exec(ctx, "sh", "-c", "kill -KILL "+c.queueOn(ctx, h))
		c.failed++
	case n == 8 && c.managers != nil:
		what = "Valkey killed"
		h = c.primary()
		h.Exec(ctx, "sh", "-c", "docker kill $(docker ps --quiet --filter name=crawlbox-queue)")
		c.failed++
	case n < 10:
		what = "docker killed"
		if c.managers == nil {
			h = c.worker()
		}
		h.KillDocker()
		h.StartDocker()
	default:
		what = "power cut"
		switch {
		case c.managers == nil:
			h = c.worker()
		case n == 10:
			what, h = "power cut of the leader", c.leaderOf(c.managers)
		default:
			what, h = "power cut of Valkey", c.primary()
		}
		h.PowerOff()
		if c.lasts > 0 {
			rest(ctx, time.Duration(c.rng.IntN(20))*time.Second)
		}
		h.PowerOn()
		c.startAgent(h)
		c.failed++
	}
	c.harms[what]++
	c.Logf("%s: %s; %d items are left", h.Name(), what, c.left())
}

func (c *killedClients) startAgent(h *lab.Host) {
	c.Helper()
	switch {
	case h == c.manager:
		c.startManager()
	case slices.Contains(c.managers, h):
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager")
		c.awaitAgent(h)
	default:
		c.startWorker(h)
	}
}

// worker returns a host that is not the embedded queue's.
func (c *killedClients) worker() *lab.Host { return c.hosts[1+c.rng.IntN(len(c.hosts)-1)] }

// primary returns the host that Valkey's is on.
func (c *killedClients) primary() (h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, "where Valkey is", func() error {
		r := c.hosts[c.rng.IntN(len(c.hosts))].Exec(c.Context(), "crawlbox", "state", "show", "valkey")
		var d valkey.Document
		if err := r.Err(); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
			return err
		}
		h = c.hostOf(d)
		return nil
	})
	return h
}

func (c *killedClients) queueOn(ctx context.Context, h *lab.Host) string {
	return strings.TrimSpace(h.Exec(ctx, "pgrep", "--full", "^[^ ]*crawlbox "+queueproc.Command).Stdout)
}
