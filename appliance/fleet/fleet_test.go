package fleet

import (
	"testing"
	"time"
)

func TestNameNodes_TellsEqualNamesApart(t *testing.T) {
	t.Parallel()
	nodes := []Node{{ID: "abcdefg", Name: "h1"}, {ID: "hijklmn", Name: "h1"}, {ID: "opqrstu", Name: "h2"}}
	NameNodes(nodes)
	if nodes[0].Display != "h1-abcde" || nodes[1].Display != "h1-hijkl" || nodes[2].Display != "h2" {
		t.Errorf("got %s, %s, %s", nodes[0].Display, nodes[1].Display, nodes[2].Display)
	}
}

func TestTaskName(t *testing.T) {
	t.Parallel()
	if n := (Task{Service: "spider", Slot: 3}).Name(); n != "spider.3" {
		t.Errorf("got %s", n)
	}
	if n := (Task{Service: "agent", Node: "h2"}).Name(); n != "agent.h2" {
		t.Errorf("got %s", n)
	}
}

// TestTally_Starts wants to know when Swarm starts a task in the place of one that failed,
// and not of one that an update replaces.
func TestTally_Starts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, tc := range map[string]struct {
		state string // of the task before
		want  time.Time
	}{
		"failed":   {TaskFailed, now.Add(30 * time.Second)},
		"rejected": {TaskRejected, now.Add(30 * time.Second)},
		"replaced": {TaskRunning, time.Time{}},
		"stopped":  {TaskShutdown, time.Time{}},
	} {
		s := Snapshot{
			Services: []Service{{ID: "a", Mode: ModeReplicated, Desired: 1, RestartDelay: 30 * time.Second}},
			Tasks: []Task{
				{ID: "new", ServiceID: "a", Slot: 1, State: "ready", Desired: TaskReady, Created: now},
				{
					ID:        "old",
					ServiceID: "a",
					Slot:      1,
					State:     tc.state,
					Desired:   TaskShutdown,
					Created:   now.Add(-time.Hour),
				},
			},
		}
		s.Tally()
		if got := s.Tasks[0].Starts; !got.Equal(tc.want) || !s.Tasks[1].Starts.IsZero() {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := Snapshot{
		Nodes:    []Node{{ID: "n1"}, {ID: "n2"}},
		Services: []Service{{ID: "a", Mode: ModeReplicated, Desired: 4}, {ID: "g", Mode: ModeGlobal}},
		Tasks: []Task{
			{ServiceID: "a", Slot: 1, NodeID: "n1", State: TaskRunning, Desired: TaskRunning, Created: now},
			{ServiceID: "a", Slot: 2, NodeID: "n2", State: TaskComplete, Desired: TaskShutdown, Created: now},
			{ServiceID: "a", Slot: 3, NodeID: "n2", State: "starting", Desired: TaskRunning, Created: now},
			{
				ServiceID: "a",
				Slot:      3,
				NodeID:    "n1",
				State:     TaskFailed,
				Desired:   TaskShutdown,
				Error:     "exit 1",
				Created:   now.Add(-time.Minute),
			},
			{ServiceID: "a", Slot: 4, NodeID: "n2", State: TaskRunning, Desired: TaskShutdown, Created: now},
			{ServiceID: "g", NodeID: "n1", State: TaskRunning, Desired: TaskRunning, Created: now},
			{ServiceID: "g", NodeID: "n2", State: "preparing", Desired: TaskRunning, Created: now},
		},
	}
	s.Tally()
	a, g := s.Services[0], s.Services[1]
	if a.Running != 1 || a.Complete != 1 || a.Failed != 1 || a.Converged() {
		t.Errorf("replicated: %+v", a)
	}
	if g.Running != 1 || g.Desired != 2 || g.Converged() {
		t.Errorf("global: %+v", g)
	}
	for _, task := range s.Tasks {
		if !task.Starts.IsZero() {
			t.Errorf("a task that is not held back starts at %s", task.Starts)
		}
	}
	if s.Nodes[0].Running != 2 || s.Nodes[1].Running != 1 {
		t.Errorf("nodes: %+v", s.Nodes)
	}
}
