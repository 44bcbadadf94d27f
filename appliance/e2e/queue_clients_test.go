package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
)

// clientsEnv says how long TestQueueClients does harm, with more items and on an engine elsewhere; `make soak` sets
// five minutes. Without it it is until its few items are done.
const clientsEnv = "CRAWLBOX_CLIENTS"

// killedDir has what the programs of TestKilled are made of.
const killedDir = "../../embedded/queue/clients/testdata/killed"

// clientsConfig has two services pop numbered items: the walkthrough's spider as it is, at the manager's address, and
// one by redis-py 8, at the URL that services have. What they do they write into files of this machine.
const clientsConfig = `
  safe: ['example:*', 'jobs:*']
  window: 1
  max_deliveries: 1000
services:
  spider: &service
    image: localhost:8003/python:1
    command: [python3, /clients/spider.py]
    volumes: ['%[1]s:/clients']
    environment:
      PYTHONPATH: /clients/spider:/clients
      RECORD: /clients/spiders
      SLOWER: &slower '%[2]d'
    stop_grace_period: 1s
    deploy: &deploy
      replicas: 4
      restart_policy: {condition: any, delay: 1s}
  redis8:
    image: localhost:8003/python:1
    command: [python3, /clients/redis8.py]
    volumes: ['%[1]s:/clients']
    environment:
      PYTHONPATH: /clients/redis-py-8.1.0.zip:/clients
      RECORD: /clients/redis8s
      QUEUE_URL: ${CRAWLBOX_QUEUE_URL}
      SLOWER: *slower
    stop_grace_period: 1s
    deploy: *deploy
`

// TestQueueClients has spiders pop by LPOP and the like while their containers, crawlbox, the queue's process, its
// engine, Docker and a whole node are killed at random: no item is lost, and no more are done again than were in the
// hands of those.
func TestQueueClients(t *testing.T) {
	t.Parallel()
	items, slower, most, long := 100, 15, 90*time.Second, false
	if d, err := time.ParseDuration(os.Getenv(clientsEnv)); err == nil {
		items, slower, most = 2000, max(1, int(4*d.Milliseconds()/19/2000)), d
		long = true
	}
	c := &killedClients{
		cluster: newCluster(t, queueConfig, 2),
		rng:     rand.New(rand.NewPCG(testenv.Seed(t), 0)),
		dir:     t.TempDir(),
		harms:   map[string]int{},
	}
	config := "queue:\n  password: " + password
	if long {
		c.elsewhere = c.lab.AddHost(lab.WithoutDocker())
		c.startEngine()
		config += fmt.Sprintf("\n  engine: url\n  url: redis://:hush@%s/0", c.elsewhere.At(6379))
	}
	c.prepare()
	c.stop(c.manager)
	c.configure(config + fmt.Sprintf(clientsConfig, c.dir, slower))
	c.startManager()
	client := queueClient(c.manager, c.manager)
	defer client.Close()
	lab.WaitFor(t, patience, "the queue", func() error { return client.Ping(t.Context()).Err() })
	c.fill(client, items)
	for _, service := range []string{"spider", "redis8"} {
		lab.WaitFor(t, patience, service, func() error { return want(len(c.services()), 2) })
		c.awaitRunning(service, 4)
	}
	for begun := time.Now(); c.left(items) > 0 && time.Since(begun) < most; {
		before := c.left(items)
		c.harm()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline) && c.left(items) > before-8; {
			rest(t.Context(), 100*time.Millisecond)
		}
	}
	for begun := time.Now(); c.left(items) > 0 && time.Since(begun) < most+patience; {
		rest(t.Context(), 100*time.Millisecond)
	}
	for _, record := range []string{"spiders", "redis8s"} {
		begun, done := c.read1(record)
		for i := range items {
			if name := fmt.Sprintf("item-%d", i); done[name] == 0 {
				t.Errorf("%s: %s was begun %d times and never done", record, name, begun[name])
			}
		}
		twice := 0
		for _, times := range begun {
			twice += times - 1
		}
		if twice > c.most {
			t.Errorf("%s: %d items were handed out once more, at the most %d may be", record, twice, c.most)
		}
		t.Logf("%s: %d items, %v: %d handed out once more", record, len(done), c.harms, twice)
	}
}

// killedClients is what TestQueueClients does.
type killedClients struct {
	*cluster
	rng       *rand.Rand
	dir       string // in which services have their programs, and their records
	elsewhere *lab.Host
	engine    *lab.Proc
	harms     map[string]int
	most      int // items that may come twice
}

// prepare has an image and the programs of the services.
func (c *killedClients) prepare() {
	c.Helper()
	c.importPython()
	c.manager.Docker("tag", "python:3.6", "localhost:8003/python:1")
	c.manager.Docker("push", "--quiet", "localhost:8003/python:1")
	if err := os.CopyFS(c.dir, os.DirFS(killedDir)); err != nil {
		c.Fatal(err)
	}
	text, err := os.ReadFile("../../testdata/spiders/walkthrough/spider.py")
	if err != nil {
		c.Fatal(err)
	}
	filled := strings.NewReplacer("MASTER", c.manager.IP().String(), "PASSWORD", password).Replace(string(text))
	if err := os.WriteFile(filepath.Join(c.dir, "spider.py"), []byte(filled), 0o644); err != nil {
		c.Fatal(err)
	}
}

func (c *killedClients) fill(client *redis.Client, items int) {
	c.Helper()
	_, err := client.Pipelined(c.Context(), func(p redis.Pipeliner) error {
		for i := range items {
			name := fmt.Sprintf("item-%d", i)
			p.RPush(c.Context(), "example:swarm:spider", name)
			switch i % 3 {
			case 0:
				p.RPush(c.Context(), "jobs:list", name)
			case 1:
				p.SAdd(c.Context(), "jobs:set", name)
			case 2:
				p.ZAdd(c.Context(), "jobs:sorted", redis.Z{Score: float64(i), Member: name})
			}
		}
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
}

func (c *killedClients) startEngine() {
	c.engine = c.elsewhere.Start("redis", "redis-server", "--bind", c.elsewhere.IP().String(), "--save", "",
		"--appendonly", "yes", "--dir", c.dir, "--requirepass", "hush", "--notify-keyspace-events", "Kglsz")
}

// read1 returns how often each item was begun, and done.
func (c *killedClients) read1(record string) (begun, done map[string]int) {
	c.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, record))
	if err != nil && !os.IsNotExist(err) {
		c.Fatal(err)
	}
	begun, done = map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(text)) {
		switch what, item, _ := strings.Cut(strings.TrimSpace(line), " "); what {
		case "begun":
			begun[item]++
		case "done":
			done[item]++
		}
	}
	return begun, done
}

// left returns how many items are not done.
func (c *killedClients) left(items int) int {
	_, spiders := c.read1("spiders")
	_, redis8s := c.read1("redis8s")
	return 2*items - len(spiders) - len(redis8s)
}

// harm does something to somebody. All replicas of a service may be at one item each.
func (c *killedClients) harm() {
	c.Helper()
	ctx := c.Context()
	h := c.hosts[c.rng.IntN(len(c.hosts))]
	worker := c.hosts[1+c.rng.IntN(len(c.hosts)-1)]
	what, most := "", 4
	switch n := c.rng.IntN(12); {
	case n < 5:
		what, most = "container killed", 1
		ids := strings.Fields(h.Docker("ps", "--quiet"))
		if len(ids) == 0 {
			return
		}
		h.Exec(ctx, "docker", "kill", ids[c.rng.IntN(len(ids))])
	case n < 7:
		what = "crawlbox killed"
		c.agents[h].Kill()
		if h == c.manager {
			c.startManager()
		} else {
			c.startWorker(h)
		}
	case n < 9:
		what = "queue's process killed"
		h.Exec(ctx, "sh", "-c", "kill -KILL "+c.queueOn(ctx, h))
	case n == 9 && c.engine != nil:
		what = "engine killed"
		c.engine.Kill()
		c.startEngine()
	case n <= 10:
		what = "docker killed"
		worker.KillDocker()
		worker.StartDocker()
	default:
		what = "power cut"
		worker.PowerOff()
		worker.PowerOn()
		c.startWorker(worker)
	}
	c.harms[what]++
	c.most += most
	c.Logf("%s: %s", h.Name(), what)
}

func (c *killedClients) queueOn(ctx context.Context, h *lab.Host) string {
	return strings.TrimSpace(h.Exec(ctx, "pgrep", "--full", "^[^ ]*crawlbox "+queueproc.Command).Stdout)
}
