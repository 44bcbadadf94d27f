package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/alerts/channels"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// hook is what a webhook and a dead man's switch call.
type hook struct {
	mu    sync.Mutex
	down  bool
	got   []channels.Body
	wrong []string
	calls int
}

const hookSecret = "s3cr3t-of-the-hook"

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.URL.Path == "/alive" {
		h.calls++
		return
	}
	data, err := io.ReadAll(r.Body)
	if h.down || err != nil {
		http.Error(w, "down", http.StatusBadGateway)
		return
	}
	var v channels.Body
	err = json.Unmarshal(data, &v)
	signed := "sha256=" + channels.Sign(hookSecret, r.Header.Get("X-Crawlbox-Timestamp"), data)
	if err != nil || r.Header.Get("X-Crawlbox-Signature") != signed || r.Header.Get("Idempotency-Key") != v.ID {
		h.wrong = append(h.wrong, string(data))
	}
	h.got = append(h.got, v)
}

// told returns how often something was told, as STATUS RULE SUBJECT, and how often each message came.
func (h *hook) told() (items, ids map[string]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	items, ids = map[string]int{}, map[string]int{}
	for _, m := range h.got {
		ids[m.ID]++
		for _, item := range m.Alerts {
			items[fmt.Sprint(item.Status, " ", item.Rule, " ", item.Subject)]++
		}
	}
	return items, ids
}

func (h *hook) await(c *cluster, what string) {
	c.Helper()
	lab.WaitFor(c, 3*patience, "to hear "+what, func() error {
		items, _ := h.told()
		if items[what] == 0 {
			return fmt.Errorf("heard %v", items)
		}
		return nil
	})
}

// TestAlerts has a webhook hear once of runs that failed, of a node that lost its power and came back, while it is down
// itself for a while, and crawlbox of the manager that leads is killed.
func TestAlerts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker := c.hosts[1]
	managers := c.addManagers(2)
	receiver, h := c.lab.AddHost(), &hook{}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = receiver.Listen(receiver.At(8080))
	srv.Start()
	t.Cleanup(srv.Close)
	for _, m := range managers {
		m.WriteFile("/etc/crawlbox/hook.secret", hookSecret+"\n")
	}
	c.configure(fmt.Sprintf(`
alerts:
  wait: 5s
  settle: 10s
  channels:
    hook: {type: webhook, url: "http://%[1]s/hook", secret_file: /etc/crawlbox/hook.secret}
  deadman: {url: "http://%[1]s/alive", every: 10s}
`, receiver.At(8080)))
	lab.WaitFor(t, patience, "the channel", func() error {
		var v api.AlertsSeen
		c.read(&v, "alerts", "ls")
		return want(len(v.Channels), 1)
	})
	contains(t, c.run("alerts", "test"), "hook: the test was taken")
	c.push("localhost:8003/tiny:1")

	h.mu.Lock()
	h.down = true
	h.mu.Unlock()
	for n := range 5 {
		c.run("run", "localhost:8003/tiny:1", "--name", fmt.Sprint("bad-", n), "--retries", "0", "-e", "TINY_EXIT=3")
	}
	lab.WaitFor(t, 2*patience, "the channel to fail", func() error {
		var v api.AlertsSeen
		if c.read(&v, "alerts", "ls"); v.Channels[0].Why == "" {
			return fmt.Errorf("there is %+v", v)
		}
		return nil
	})
	h.mu.Lock()
	h.down = false
	h.mu.Unlock()
	h.await(c, "firing run-failed tiny")

	worker.PowerOff()
	h.await(c, "firing node-down "+worker.Name())
	leader := c.swarmLeader(c.manager, managers...)
	c.agents[leader].Kill()
	c.agents[leader] = leader.Start("crawlbox", "crawlbox", "manager")
	c.awaitAgent(leader)
	worker.PowerOn()
	c.startWorker(worker)
	h.await(c, "resolved node-down "+worker.Name())

	items, ids := h.told()
	for what, n := range items {
		if n != 1 {
			t.Errorf("%s was told %d times", what, n)
		}
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("message %s came %d times", id, n)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.wrong) > 0 || h.calls == 0 || !slices.ContainsFunc(h.got, func(m channels.Body) bool { return m.Test }) {
		t.Errorf("badly signed are %q, the dead man's switch was called %d times", h.wrong, h.calls)
	}
	var log strings.Builder
	for _, m := range managers {
		log.WriteString(c.agents[m].Logs() + m.MustExec("crawlbox", "state", "show", "alerts") +
			m.MustExec("crawlbox", "config", "show"))
	}
	if strings.Contains(log.String(), hookSecret) {
		t.Error("the secret is in a log, the state or the config")
	}
	t.Logf("told %v", items)
}
