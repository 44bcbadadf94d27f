package control

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

func TestFindNode(t *testing.T) {
	t.Parallel()
	nodes := []fleet.Node{
		{ID: "aaaaaaaa", Name: "h1", Addr: "10.0.0.1"},
		{ID: "bbbbbbbb", Name: "twin", Addr: "10.0.0.2"},
		{ID: "cccccccc", Name: "twin", Addr: "10.0.0.3"},
	}
	fleet.NameNodes(nodes)
	for ref, id := range map[string]string{
		"h1": "aaaaaaaa", "10.0.0.2": "bbbbbbbb", "cccc": "cccccccc", "twin-ccccc": "cccccccc",
	} {
		if n, err := findNode(nodes, ref); err != nil || n.ID != id {
			t.Errorf("%s: got %s, %v; want %s", ref, n.ID, err, id)
		}
	}
	for ref, want := range map[string]string{
		"twin": "twin-bbbbb, twin-ccccc",
		"h11":  `did you mean "h1"?`,
		"zzzz": "`crawlbox nodes` lists them",
	} {
		if _, err := findNode(nodes, ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", ref, err, want)
		}
	}
}

// TestNeverRuns refuses replicas that find no room, and none that a service has already.
func TestNeverRuns(t *testing.T) {
	t.Parallel()
	nodes := []fleet.Node{{State: fleet.StateReady}, {State: fleet.StateDown}}
	svc := fleet.Service{Mode: fleet.ModeReplicated, Desired: 3, MaxPerNode: 1}
	for replicas, want := range map[int]string{2: "", 3: "", 4: "4 replicas do not fit on 2 nodes"} {
		if got := neverRuns(svc, replicas, nodes); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%d: got %q, want %q", replicas, got, want)
		}
	}
}

// TestAgentOn_State: a node is told by one word everywhere, and none that was stopped has left the
// cluster.
func TestAgentOn_State(t *testing.T) {
	t.Parallel()
	for heard, want := range map[gossip.State]string{
		gossip.Alive: "alive", gossip.Left: "stopped", gossip.Failed: "failed",
	} {
		got := AgentOn("n", []gossip.Member{{Node: gossip.Node{Swarm: "n"}, State: heard}})
		if got == nil || got.State != want {
			t.Errorf("%s: got %+v, want %s", heard, got, want)
		}
	}
}

func TestChooseLogs_Target(t *testing.T) {
	t.Parallel()
	s := fleet.Snapshot{
		Services: []fleet.Service{{ID: "s1", Name: "spider"}},
		Tasks: []fleet.Task{
			{ID: "t2", ServiceID: "s1", Service: "spider", Slot: 1},
			{ID: "t1", ServiceID: "s1", Service: "spider", Slot: 1},
		},
	}
	for ref, want := range map[string]string{"spider": "t2", "spider.1": "t2", "t1": "t1"} {
		c, err := chooseLogs(s, api.LogQuery{Target: ref})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, t := range c.tasks(s) {
			got = append(got, t.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", ref, got, want)
		}
	}
	_, err := chooseLogs(s, api.LogQuery{Target: "spidr"})
	if err == nil || !strings.Contains(err.Error(), `did you mean "spider"?`) {
		t.Errorf("got %v", err)
	}
}

// TestIsOfStopped wants what is left of a service that was stopped out of the way.
func TestIsOfStopped(t *testing.T) {
	t.Parallel()
	snap := fleet.Snapshot{Services: []fleet.Service{
		{ID: "stopped", Mode: fleet.ModeReplicated},
		{ID: "runs", Mode: fleet.ModeReplicated, Desired: 1},
		{ID: "stops first", Mode: fleet.ModeReplicated, Pending: "3 image"},
	}}
	for service, want := range map[string]bool{"stopped": true, "runs": false, "stops first": false, "gone": false} {
		if got := isOfStopped(snap, fleet.Task{ServiceID: service, State: fleet.TaskFailed}); got != want {
			t.Errorf("%s: got %v", service, got)
		}
		if isOfStopped(snap, fleet.Task{ServiceID: service, State: fleet.TaskRunning}) {
			t.Errorf("%s: what still runs is left out", service)
		}
	}
}

func TestChooseTasks_NewestOfEachSlot(t *testing.T) {
	t.Parallel()
	tasks := []fleet.Task{ // sorted as a snapshot is
		{ID: "a2", ServiceID: "a", Slot: 1, NodeID: "n1", State: fleet.TaskRunning},
		{ID: "a1", ServiceID: "a", Slot: 1, NodeID: "n2", State: fleet.TaskFailed},
		{ID: "c3", ServiceID: "c", Slot: 1, NodeID: "n1", State: "ready"},
		{ID: "c2", ServiceID: "c", Slot: 1, NodeID: "n1", State: fleet.TaskFailed, Error: "exit 1"},
		{ID: "c1", ServiceID: "c", Slot: 1, NodeID: "n1", State: fleet.TaskFailed, Error: "exit 1"},
		{ID: "b1", ServiceID: "b", Slot: 1, NodeID: "n2", State: fleet.TaskComplete},
		{ID: "g1", ServiceID: "g", NodeID: "n1", State: fleet.TaskRunning},
		{ID: "g2", ServiceID: "g", NodeID: "n2", State: fleet.TaskRunning},
	}
	for want, got := range map[string][]fleet.Task{
		"a2 c3 c2 b1 g1 g2":       chooseTasks(tasks, "", "", false),
		"a2 a1 c3 c2 c1 b1 g1 g2": chooseTasks(tasks, "", "", true),
		"a2":                      chooseTasks(tasks, "a", "", false),
		"b1 g2":                   chooseTasks(tasks, "", "n2", false),
	} {
		ids := make([]string, len(got))
		for i, task := range got {
			ids[i] = task.ID
		}
		if s := strings.Join(ids, " "); s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
}
