package cluster

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/api/apitest"
	"github.com/crawlbox/crawlbox/appliance/cli/clitest"
	"github.com/crawlbox/crawlbox/appliance/cli/tui"
)

func TestViews(t *testing.T) {
	t.Parallel()
	c, worker := apitest.New(clitest.Now), apitest.New(clitest.Now)
	worker.BeWorker()
	status, workerStatus := clitest.Must(c.Status(t.Context()))(t), clitest.Must(worker.Status(t.Context()))(t)
	well := status
	well.Problems = status.Problems[2:] // a note
	moved := clitest.Must(c.Nodes(t.Context()))(t)
	moved[0].Problem = "this machine no longer has the address 10.77.0.11 (it has 10.77.0.99), at which it made the " +
		"cluster; give it that address again"
	nodes, tokens := clitest.Must(c.Nodes(t.Context()))(t), clitest.Must(c.Tokens(t.Context()))(t)
	clitest.CheckViews(t, tui.NewFixed, map[string]func(tui.Screen){
		"tokens":        func(s tui.Screen) { renderTokens(s, tokens) },
		"status":        func(s tui.Screen) { renderStatus(s, status) },
		"status-well":   func(s tui.Screen) { renderStatus(s, well) },
		"status-worker": func(s tui.Screen) { renderStatus(s, workerStatus) },
		"nodes":         func(s tui.Screen) { renderNodes(s, nodes) },
		"nodes-moved":   func(s tui.Screen) { renderNodes(s, moved) },
	}, func(view, line string, _ int) bool {
		return view == "status" && (strings.Contains(line, "localhost:8003/broken") ||
			strings.Contains(line, "slave-frankfurt"))
	})
}

// TestQueueState says what would keep the queue only where it is on one of several managers.
func TestQueueState(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		engine   string
		managers int
		want     bool
	}{
		"one manager": {"", 1, false}, "three": {"", 3, true}, "three, elsewhere": {"redis://h:1/0", 3, false},
	} {
		got := queueState(api.Queue{Addr: "10.0.0.1:7891", Engine: tc.engine, Serving: true}, tc.managers)
		if strings.Contains(got, "engine: valkey") != tc.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestQueueState_Where says which manager has the queue, and what keeps it where.
func TestQueueState_Where(t *testing.T) {
	t.Parallel()
	for want, q := range map[string]api.Queue{
		"10.0.0.1:7891 on h1, not served":                             {Home: "h1"},
		"10.0.0.1:7891, not served":                                   {},
		"10.0.0.1:7891 on h1, kept by redis://r:6379/0, not served":   {Home: "h1", Engine: "redis://r:6379/0"},
		"10.0.0.1:7891 on h1, kept by valkey, not served":             {Home: "h1", Engine: "valkey"},
		"10.0.0.1:7891 on h1, kept by valkey on h2 alone, not served": {Home: "h1", Engine: "valkey", Primary: "h2"},
		"10.0.0.1:7891, kept by valkey on h2 with a replica on h3, not served": {
			Engine: "valkey", Primary: "h2", Replica: "h3",
		},
	} {
		q.Addr = "10.0.0.1:7891"
		if got := queueState(q, 1); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
