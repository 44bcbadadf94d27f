package fleet

import (
	"strings"
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
		Nodes:    []Node{{ID: "n1", State: StateReady}, {ID: "n2", State: StateReady}},
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

// What runs on a node that is not heard from is not known to run, by whomever it is said first.
func TestHear(t *testing.T) {
	t.Parallel()
	alive := Agent{State: AgentAlive, Docker: "running"}
	stopped := Agent{State: AgentAlive, Docker: EngineStopped}
	for name, tc := range map[string]struct {
		state string
		agent *Agent
		lost  string
	}{
		"all is well":                 {StateReady, &alive, ""},
		"crawlbox was never there":    {StateReady, nil, ""},
		"crawlbox is stopped":         {StateReady, &Agent{State: AgentStopped, Docker: EngineStopped}, ""},
		"crawlbox has died":           {StateReady, &Agent{State: AgentFailed}, ""},
		"Docker is stopped":           {StateReady, &stopped, "Docker does not answer on h1"},
		"Docker is stopped, and down": {StateDown, &stopped, "Docker does not answer on h1"},
		"down":                        {StateDown, &Agent{State: AgentFailed}, "h1 is down"},
		"down for Swarm alone":        {StateDown, &alive, "h1 is down"},
		"Swarm was started again":     {StateUnknown, &alive, ""},
		"and it does not answer":      {StateUnknown, nil, "h1 is unknown"},
	} {
		s := Snapshot{
			Nodes:    []Node{{ID: "n1", Display: "h1", State: tc.state}},
			Services: []Service{{ID: "a", Mode: ModeReplicated, Desired: 2}},
			Tasks: []Task{
				{ServiceID: "a", Slot: 1, NodeID: "n1", State: TaskRunning, Desired: TaskRunning},
				{ServiceID: "a", Slot: 2, NodeID: "n1", State: TaskComplete, Desired: TaskShutdown},
			},
		}
		s.Hear(func(string) *Agent { return tc.agent })
		svc, running := s.Services[0], 1
		if tc.lost != "" {
			running = 0
		}
		if s.Tasks[0].Lost != tc.lost || s.Tasks[1].Lost != "" || svc.Running != running || svc.Lost != 1-running ||
			svc.Converged() != (tc.lost == "") || s.Nodes[0].Running != running {
			t.Errorf("%s: lost are %q and %q, of %+v", name, s.Tasks[0].Lost, s.Tasks[1].Lost, svc)
		}
	}
}

// Swarm leaves tasks waiting for a node for ever, with the reason of when all nodes were drained.
func TestForgotten(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const closed = "no suitable node (3 nodes not available for new tasks)"
	for name, tc := range map[string]struct {
		change func(*Snapshot)
		want   string
	}{
		"it waits, and a node is open": {
			func(*Snapshot) {},
			"waits for a node, though 2 nodes could take it: Swarm has forgotten it; `crawlbox restart a`",
		},
		"all nodes are drained": {func(s *Snapshot) {
			for i := range s.Nodes {
				s.Nodes[i].Availability = AvailabilityDrain
			}
		}, closed},
		"the nodes were activated just now": {func(s *Snapshot) {
			for i := range s.Nodes {
				s.Nodes[i].Updated = now
			}
		}, closed},
		"one was":                 {func(s *Snapshot) { s.Nodes[0].Updated = now }, "though 1 node could"},
		"it waits since just now": {func(s *Snapshot) { s.Tasks[0].Since = now }, closed},
		"it has a node":           {func(s *Snapshot) { s.Tasks[0].NodeID = "n1" }, closed},
		"it is not wanted":        {func(s *Snapshot) { s.Tasks[0].Desired = TaskShutdown }, closed},
		"it does not wait":        {func(s *Snapshot) { s.Tasks[0].State = "preparing" }, closed},
		"its service may not go": {
			func(s *Snapshot) { s.Services[0].Constraints = []string{"node.id==x"} }, closed,
		},
		"its service keeps off them": {func(s *Snapshot) { s.Services[0].Avoids = []string{"n1", "n2"} }, closed},
		"they have no room": {
			func(s *Snapshot) { s.Tasks[0].Error = closed + "; insufficient resources on 1 node" }, "insufficient",
		},
	} {
		s := Snapshot{
			Taken:    now,
			Services: []Service{{ID: "a", Name: "a", Mode: ModeReplicated, Desired: 1}},
			Tasks: []Task{{
				ServiceID: "a",
				Service:   "a",
				Slot:      1,
				State:     TaskPending,
				Desired:   TaskRunning,
				Error:     closed,
				Since:     now.Add(-time.Minute),
			}},
		}
		for _, id := range []string{"n1", "n2"} {
			s.Nodes = append(s.Nodes, Node{
				ID:           id,
				State:        StateReady,
				Availability: AvailabilityActive,
				Updated:      now.Add(-time.Minute),
			})
		}
		tc.change(&s)
		s.Tally()
		s.Tally() // again is the same
		if got := s.Tasks[0].Error; !strings.Contains(got, tc.want) ||
			s.Tasks[0].Forgotten != strings.Contains(tc.want, "though") {
			t.Errorf("%s: %q, forgotten: %v", name, got, s.Tasks[0].Forgotten)
		}
	}
}

// TestTally_NoNode wants a service whose tasks no node takes to be told from one that starts.
func TestTally_NoNode(t *testing.T) {
	t.Parallel()
	drained, active := Node{ID: "n1", State: StateReady, Availability: AvailabilityDrain}, Node{
		ID:           "n2",
		State:        StateReady,
		Availability: AvailabilityActive,
	}
	for name, tc := range map[string]struct {
		nodes []Node
		svc   Service
		want  bool
	}{
		"all are drained": {[]Node{drained}, Service{Mode: ModeReplicated, Desired: 2}, true},
		"a global one":    {[]Node{drained}, Service{Mode: ModeGlobal}, true},
		"one takes tasks": {[]Node{drained, active}, Service{Mode: ModeReplicated, Desired: 2}, false},
		"it was stopped":  {[]Node{drained}, Service{Mode: ModeReplicated}, false},
		"the other may not run it": {[]Node{drained, active}, Service{Mode: ModeReplicated, Desired: 1,
			Constraints: []string{"node.id==n1"}}, true},
	} {
		s := Snapshot{Nodes: tc.nodes, Services: []Service{tc.svc}}
		if s.Tally(); s.Services[0].NoNode != tc.want {
			t.Errorf("%s: got %v", name, s.Services[0].NoNode)
		}
	}
}
