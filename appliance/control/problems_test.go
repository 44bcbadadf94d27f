package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/embedded/gossip"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

// TestQueueChanged wants services that run with another URL of the queue to be named.
func TestQueueChanged(t *testing.T) {
	t.Parallel()
	snap := fleet.Snapshot{Services: []fleet.Service{
		{Name: "told", Queue: "now", Desired: 1},
		{Name: "stale", Queue: "before", Desired: 1},
		{Name: "stopped", Queue: "before"},
		{Name: "without", Desired: 1},
	}}
	got := QueueChanged(snap, "now")
	if len(got) != 1 || !strings.Contains(got[0], "`crawlbox restart stale`") {
		t.Errorf("got %q", got)
	}
	if off := QueueChanged(snap, ""); len(off) != 2 {
		t.Errorf("with the queue off: %q", off)
	}
}

func TestNodeProblems(t *testing.T) {
	t.Parallel()
	manager := func(name string) fleet.Node {
		return fleet.Node{
			Display: name,
			Name:    name,
			Addr:    "10.0.0." + name[1:],
			Role:    fleet.RoleManager,
			State:   fleet.StateReady,
		}
	}
	worker := func(name, host, state string) fleet.Node {
		return fleet.Node{Display: name, Name: host, Addr: "10.0.0." + name[1:], Role: fleet.RoleWorker, State: state}
	}
	lost := manager("m2")
	lost.State = "down"
	for name, tt := range map[string]struct {
		nodes []fleet.Node
		want  []string
	}{
		"all is well": {nodes: []fleet.Node{manager("m1"), worker("w4", "w4", fleet.StateReady)}},
		"a worker that is down": {
			nodes: []fleet.Node{manager("m1"), worker("w4", "w4", "down")},
			want:  []string{"node w4 (10.0.0.4) is down; look at it, or remove it with `crawlbox node rm w4`"},
		},
		"one of two managers is down": {
			nodes: []fleet.Node{manager("m1"), lost},
			want: []string{
				"node m2 (10.0.0.2) is down; look at it, or remove it with `crawlbox node demote m2` and `crawlbox " +
					"node rm m2`",
				"2 managers: if either fails, no change is possible; promote a third, or demote one",
			},
		},
		"three managers": {nodes: []fleet.Node{manager("m1"), manager("m2"), manager("m3")}},
		"two nodes of one name": {
			nodes: []fleet.Node{manager("m1"), worker("w4", "twin",
				fleet.StateReady), worker("w5", "twin", fleet.StateReady)},
			want: []string{"2 nodes have the host name twin (10.0.0.4, 10.0.0.5); give each a name of its own with " +
				"`hostnamectl set-hostname NAME` and restart its Docker and crawlbox"},
		},
		"what a node was before it joined again": {
			nodes: []fleet.Node{manager("m1"), worker("w4", "twin", fleet.StateReady), worker("w5", "twin", "down")},
			want:  []string{"node w5 (10.0.0.5) is down; look at it, or remove it with `crawlbox node rm w5`"},
		},
	} {
		if got := nodeProblems(tt.nodes); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestServiceProblems(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	failed := func(id string, ago time.Duration) fleet.Task {
		return fleet.Task{
			ID:        id,
			ServiceID: "s",
			Service:   "spider",
			Slot:      1,
			NodeID:    "n",
			State:     fleet.TaskFailed,
			Error:     "exit 1",
			Since:     now.Add(-ago),
		}
	}
	for name, tt := range map[string]struct {
		service fleet.Service
		tasks   []fleet.Task
		said    map[string]string
		want    string
	}{
		"all is well": {service: fleet.Service{Desired: 2, Running: 1, Complete: 1}},
		"too few": {
			service: fleet.Service{Desired: 2, Running: 1},
			want:    "1 of 2 running; look with `crawlbox ps spider`",
		},
		"too few, with the newest error": {
			service: fleet.Service{Desired: 2, Running: 1},
			tasks: []fleet.Task{
				{ServiceID: "s", Error: "old", Since: now.Add(-time.Hour)},
				{ServiceID: "s", Error: "new", Since: now},
			},
			want: "1 of 2 running (last error: new); look with `crawlbox ps spider`",
		},
		"stopped halfway": {
			service: fleet.Service{Desired: 2, Running: 2, Update: "paused"},
			want:    "its update stopped halfway; look with `crawlbox ps spider`",
		},
		"went back": {
			service: fleet.Service{Desired: 2, Running: 2, Update: "rollback_completed", Message: "task failed"},
			want: "its last update failed and the version before it runs again (task failed); look with `crawlbox " +
				"ps --all spider`",
		},
		"a crash loop is what counts": {
			service: fleet.Service{Desired: 2, Running: 1, Update: "paused", RestartDelay: 5 * time.Second},
			tasks: []fleet.Task{failed("t3",
				time.Second), failed("t2", 10*time.Second), failed("t1", 30*time.Second)},
			want: "spider.1 fails again and again, 3 times in 30s, on h1 last: exit 1; " +
				"Swarm starts it again 5s after each; look with `crawlbox logs spider`",
		},
		"a crash loop, with what the task wrote": {
			service: fleet.Service{Desired: 1, RestartDelay: 5 * time.Second},
			tasks: []fleet.Task{failed("t3",
				time.Second), failed("t2", 10*time.Second), failed("t1", 30*time.Second)},
			said: map[string]string{"t3": `exit 1 (it wrote "no module named x")`, "t2": "another"},
			want: `spider.1 fails again and again, 3 times in 30s, on h1 last: exit 1 (it wrote "no module named x"); ` +
				"Swarm starts it again 5s after each; look with `crawlbox logs spider`",
		},
	} {
		tt.service.ID, tt.service.Name = "s", "spider"
		snap := fleet.Snapshot{
			Taken:    now,
			Nodes:    []fleet.Node{{ID: "n", Display: "h1"}},
			Services: []fleet.Service{tt.service},
			Tasks:    tt.tasks,
		}
		var want []string
		if tt.want != "" {
			want = []string{"service spider: " + tt.want}
		}
		if got := serviceProblems(snap, tt.said); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
		loops := strings.Contains(tt.want, "again and again")
		if got := crashed(snap); loops != (len(got) == 1 && got[0].ID == "t3") {
			t.Errorf("%s: the tasks to ask about are %+v", name, got)
		}
	}
}

func TestQueueProblems(t *testing.T) {
	t.Parallel()
	for want, st := range map[string]queueproc.State{
		"":                       {Serving: true, Progress: queue.Progress{Memory: 9, Bound: 10}},
		"the queue is full":      {Serving: true, Progress: queue.Progress{Memory: 10, Bound: 10}},
		"the queue cannot write": {Serving: true, Progress: queue.Progress{NoDisk: true}},
		"the queue does not run": {Problem: "its journal is damaged"},
	} {
		got := strings.Join(queueProblems(st), "\n")
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMixed(t *testing.T) {
	t.Parallel()
	var members []gossip.Member
	add := func(name, version string, state gossip.State) {
		members = append(members, gossip.Member{Node: gossip.Node{Name: name, Version: version}, State: state})
	}
	add("h1", "1.0", gossip.Alive)
	add("gone", "0.9", gossip.Left)
	if got := mixedVersions(members); got != nil {
		t.Errorf("one version is told as %q", got)
	}
	for i := range 5 {
		add(fmt.Sprint("w", 5-i), "1.1", gossip.Alive)
	}
	got := mixedVersions(members)
	if len(got) != 1 || !strings.Contains(got[0], "1.0 on h1, 1.1 on w1, w2, w3 and 2 more; ") {
		t.Errorf("got %q", got)
	}
}
