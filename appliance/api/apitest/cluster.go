// Package apitest holds a cluster in memory that answers the local API as a
// manager does, for tests of what speaks to that API. It has the four nodes,
// the services, images, queues and tokens that New gives it, changes them as it is
// told, and always does so in the same way: the same calls give the same
// answers and the same events.
package apitest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Cluster is a Backend. It is safe for concurrent use.
type Cluster struct {
	now  time.Time
	held chan string // receives what waits: "logs", or the service of a held change

	mu       sync.Mutex
	nodes    []fleet.Node
	services []fleet.Service
	tasks    []fleet.Task
	images   []fleet.Image
	runs     []runs.Record
	planned  []schedule.Entry
	silences []alerts.Silence
	queue    map[string][]string
	dead     []string // items of safeKey
	queueURL string
	flows    int // how often it was asked what comes and goes
	tokens   []token.Info
	accounts []api.RegistryAccount
	hold     map[string]bool
	worker   bool
	left     bool
	away     bool          // robot, which the config file has, was removed
	upgraded upgrade.Offer // what the node that answers runs; zero: what it did at first
}

// New returns a cluster that lives at the moment given, for ever.
func New(now time.Time) *Cluster {
	c := &Cluster{now: now, held: make(chan string, 100), hold: map[string]bool{}}
	c.nodes, c.images = someNodes(now), someImages(now)
	c.services, c.tasks = someServices(now)
	c.runs, c.planned = someRuns(now), someSchedules(now)
	c.tokens, c.accounts = someTokens(now), someAccounts(now)
	c.queueURL = "redis://default:s%2Fecret@10.77.0.11:7891"
	c.queue = map[string][]string{
		"example:swarm:spider": {"https://a.example/", "https://b.example/", "https://c.example/"},
		"quotes:requests":      {"https://q.example/1", "https://q.example/2"},
		"robots":               {"r1"},
	}
	c.dead = []string{"https://kills.example/1", "https://kills.example/2"}
	return c
}

// Hold makes changes of a service begin and never come true.
func (c *Cluster) Hold(service string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hold[service] = true
}

// QueueAt makes a server of Redis the queue that programs connect to.
func (c *Cluster) QueueAt(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queueURL = url
}

// BeWorker makes the cluster answer as the crawlbox of a worker does.
func (c *Cluster) BeWorker() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.worker = true
}

// AwaitHeld waits until a held change, or a follower of logs, has sent all
// that it has and waits for its context to end. It returns the service of the
// change, or "logs".
func (c *Cluster) AwaitHeld(ctx context.Context) (string, error) {
	select {
	case what := <-c.held:
		return what, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (c *Cluster) wait(ctx context.Context, what string) error {
	select {
	case c.held <- what:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// manager locks the cluster for a call that only managers answer. The caller
// unlocks it where there is no error.
func (c *Cluster) manager() error {
	c.mu.Lock()
	if !c.worker {
		return nil
	}
	c.mu.Unlock()
	return &api.Error{Code: api.CodeNotManager, Message: "this node is a worker; run this on a manager (10.77.0.11)"}
}

func fail(code, format string, args ...any) *api.Error {
	return &api.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (c *Cluster) node(name string) (*fleet.Node, error) {
	for i, n := range c.nodes {
		if n.Display == name || n.ID == name {
			return &c.nodes[i], nil
		}
	}
	return nil, fail(api.CodeNotFound, "unknown node %q; `crawlbox nodes` lists them", name)
}

func (c *Cluster) service(name string) (*fleet.Service, error) {
	for i, s := range c.services {
		if s.Name == name || s.ID == name {
			return &c.services[i], nil
		}
	}
	for _, s := range c.services {
		if len(name) >= 3 && strings.HasPrefix(s.Name, name[:3]) {
			return nil, fail(api.CodeNotFound, "unknown service %q; did you mean %q?", name, s.Name)
		}
	}
	return nil, fail(api.CodeNotFound, "unknown service %q; `crawlbox ls` lists them", name)
}

func (c *Cluster) Status(context.Context) (api.Status, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := api.Status{
		Version:  "0.1.0",
		Mode:     fleet.RoleManager,
		Node:     "h1",
		Addr:     "10.77.0.11",
		Started:  c.now.Add(-3 * time.Hour),
		Docker:   api.Docker{State: "running", Version: "20.10.24+dfsg1", Host: "unix:///var/run/docker.sock"},
		Registry: api.Registry{Local: "localhost:8003", Dir: "/var/lib/crawlbox/registry", Free: 41_300_000_000},
	}
	if c.worker {
		st.Mode, st.Node, st.Addr = fleet.RoleWorker, "h2", "10.77.0.12"
		st.Registry.Used, st.Registry.ReadOnly = 83_000_000, true
		st.Registry.Traffic = api.Traffic{
			FromManager: 12_600_000,
			FromNodes:   70_400_000,
			FromCache:   251_000_000,
			Sent:        31_000_000,
			BadPieces:   1,
			Retries:     4,
		}
		return st, nil
	}
	st.Manager, st.Cluster = true, "q6sk1k9w2n7m4x0c8v5b3z1l0"
	st.Nodes, st.Active, st.Managers = api.Count{Have: 3, Want: 4}, 2, api.Count{Have: 1, Want: 1}
	for _, s := range c.services {
		st.Services.Want++
		st.Tasks.Have += s.Running
		st.Tasks.Want += s.Desired - s.Complete
		if s.Running+s.Complete >= s.Desired {
			st.Services.Have++
		}
	}
	st.Registry.Traffic.Sent = 374_000_000
	st.Registry.Public, st.Registry.Images = "10.77.0.11:8003", len(c.images)
	st.Queue = &api.Queue{
		Addr:      "10.77.0.11:7891",
		Home:      "h1",
		Serving:   true,
		Keys:      int64(len(c.queue)),
		Memory:    3_000_000,
		MaxMemory: 1_000_000_000,
	}
	st.Problems = []api.Problem{
		{
			Level:   api.Bad,
			Kind:    api.NodeDown,
			Subject: "slave-frankfurt-4",
			Text: "node slave-frankfurt-4 is down since 2 hours; start the machine; if it never comes back, take it " +
				"off the list with `crawlbox node rm slave-frankfurt-4`",
		},
		{
			Level:   api.Warning,
			Kind:    api.ServiceShort,
			Subject: "broken",
			Text: "service broken: No such image: localhost:8003/broken:9 on h2; push it, or change the image with " +
				"`crawlbox update`",
		},
		{
			Level: api.Note,
			Kind:  api.NodeIdle,
			Text:  "1 of 4 nodes gets no tasks: h3 (drained); give them some again with `crawlbox node activate h3`",
		},
	}
	return st, nil
}

func (c *Cluster) Config(context.Context) (string, error) {
	return "registry:\n  port: 8003\nqueue:\n  password: (hidden)\n", nil
}

func (c *Cluster) Leave(_ context.Context, force bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !force && !c.worker {
		return fail(api.CodeConflict, "this node is the last manager, the cluster ends with it; `crawlbox leave "+
			"--force` ends it")
	}
	c.left = true
	return nil
}

// Left reports whether Leave has been done.
func (c *Cluster) Left() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}
