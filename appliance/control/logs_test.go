package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// spiders is a service in the middle of an update, with what was before.
func spiders(now time.Time) fleet.Snapshot {
	task := func(id string, slot int, state, tag string) fleet.Task {
		t := fleet.Task{
			ID:        id,
			ServiceID: "s1",
			Service:   "spider",
			Slot:      slot,
			NodeID:    fmt.Sprint("n", slot),
			Node:      fmt.Sprint("h", slot),
			Image:     "localhost:8003/spider:" + tag,
			Digest:    "sha256:" + strings.Repeat(tag[len(tag)-1:], 64),
			State:     state,
			Container: "c" + id,
			Created:   now.Add(-time.Hour),
		}
		if state == fleet.TaskFailed {
			t.Error = "exit code 1"
		}
		return t
	}
	starting := task("2c", 2, "preparing", "0.02")
	starting.Container = ""
	return fleet.Snapshot{
		Taken: now,
		Nodes: []fleet.Node{
			{ID: "n1", Display: "h1", State: fleet.StateReady}, {ID: "n2", Display: "h2", State: "down"},
			{ID: "n3", Display: "h3", State: fleet.StateReady},
		},
		Services: []fleet.Service{{
			ID:     "s1",
			Name:   "spider",
			Image:  "localhost:8003/spider:0.02",
			Digest: "sha256:" + strings.Repeat("2", 64),
		}},
		Tasks: []fleet.Task{
			task("1b", 1, fleet.TaskRunning, "0.02"), task("1a", 1, fleet.TaskShutdown, "0.01"),
			starting, task("2b", 2, fleet.TaskFailed, "0.02"), task("2a", 2, fleet.TaskFailed, "0.01"),
			task("3b", 3, fleet.TaskRunning, "0.01"), task("3a", 3, fleet.TaskFailed, "0.01"),
		},
	}
}

func TestChooseLogs(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		q    api.LogQuery
		want string
	}{
		"what runs, and why it does not": {api.LogQuery{Target: "spider"}, "1b 2c 2b(down) 3b"},
		"all": {
			api.LogQuery{Target: "spider", All: true},
			"1b 1a 2c 2b(down) 2a(down) 3b 3a",
		},
		"a node":           {api.LogQuery{Target: "spider", Node: "h3"}, "3b"},
		"a node, all":      {api.LogQuery{Target: "spider", Node: "n3", All: true}, "3b 3a"},
		"a slot":           {api.LogQuery{Target: "spider.2"}, "2c 2b(down)"},
		"a task":           {api.LogQuery{Target: "1a"}, "1a"},
		"what comes later": {api.LogQuery{Target: "spider.1", Follow: true}, "1b 1c"},
	} {
		s := spiders(now)
		c, err := chooseLogs(s, tt.q)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		later := s.Tasks[0] // another came and ended since
		later.ID, later.State, later.Created = "1c", fleet.TaskFailed, now.Add(time.Second)
		if tt.q.Follow {
			s.Tasks = append(s.Tasks, later)
		}
		var got []string
		for _, task := range c.tasks(s) {
			id := task.ID
			if task.Away != "" && task.Container != "" {
				id += "(" + task.Away + ")"
			}
			got = append(got, id)
		}
		if text := strings.ReplaceAll(strings.Join(got, " "), "2c(down)", "2c"); text != tt.want {
			t.Errorf("%s: got %s, want %s", name, text, tt.want)
		}
	}
	for target, node := range map[string]string{"spidr": "", "spider": "h9"} {
		if _, err := chooseLogs(spiders(now), api.LogQuery{Target: target, Node: node}); err == nil {
			t.Errorf("%s on %q: no error", target, node)
		}
	}
}

// TestChooseLogs_LastWords: a task that was followed stays on the list after another has taken
// its place, as long as Swarm knows it.
func TestChooseLogs_LastWords(t *testing.T) {
	t.Parallel()
	s := spiders(time.Now())
	c, err := chooseLogs(s, api.LogQuery{Target: "spider.3", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	ids := func() (list string) {
		for _, task := range c.tasks(s) {
			list += " " + task.ID
		}
		return list
	}
	if got := ids(); got != " 3b" {
		t.Errorf("at first: %s", got)
	}
	next := s.Tasks[5]
	next.ID, next.Created = "3c", s.Taken.Add(time.Second)
	s.Tasks[5].State = fleet.TaskShutdown
	s.Tasks = slices.Insert(s.Tasks, 5, next)
	if got := ids(); got != " 3c 3b" {
		t.Errorf("replaced: %s", got)
	}
	s.Tasks = slices.Delete(s.Tasks, 6, 7)
	if got := ids(); got != " 3c" || len(c.listed) != 1 {
		t.Errorf("forgotten: %s, and %v", got, c.listed)
	}
}

// TestLogs_Versions: lines say of which version they are where there are several.
func TestLogs_Versions(t *testing.T) {
	t.Parallel()
	now := time.Date(2024, 11, 22, 8, 0, 0, 0, time.UTC)
	for want, change := range map[string]func(*fleet.Snapshot){
		"0.02 false": func(s *fleet.Snapshot) { s.Tasks = s.Tasks[:1] },
		"0.02 true":  func(*fleet.Snapshot) {},
		"latest@33333333 true": func(s *fleet.Snapshot) {
			s.Tasks = []fleet.Task{s.Tasks[1], s.Tasks[0]}
			for i := range s.Tasks {
				s.Tasks[i].Image = "localhost:8003/spider:latest"
				s.Tasks[i].Digest = "sha256:" + strings.Repeat(fmt.Sprint(i+2), 64)
			}
		},
		"44444444 false": func(s *fleet.Snapshot) {
			s.Tasks = s.Tasks[:1]
			s.Tasks[0].Image, s.Tasks[0].Digest = "registry:5000/spider", "sha256:"+strings.Repeat("4", 64)
		},
	} {
		s := spiders(now)
		change(&s)
		c, err := chooseLogs(s, api.LogQuery{Target: "spider", All: true})
		if err != nil {
			t.Fatal(err)
		}
		tasks := c.tasks(s)
		c.nameVersions(tasks)
		c.fn = func(l api.LogLine) error {
			if got := fmt.Sprint(l.Version, " ", l.Mixed); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			return nil
		}
		last := tasks[0]
		for _, task := range tasks {
			if task.ID == "1b" {
				last = task
			}
		}
		if err := c.show(last, tasklog.Line{Text: "x"}); err != nil {
			t.Error(err)
		}
	}
}

// TestLogs_NothingYet: who sees nothing learns where there is something.
func TestLogs_NothingYet(t *testing.T) {
	t.Parallel()
	s := spiders(time.Now())
	for i := range s.Tasks {
		s.Tasks[i].State, s.Tasks[i].Image = fleet.TaskFailed, "localhost:8003/spider:0.01"
	}
	c, err := chooseLogs(s, api.LogQuery{Target: "spider"})
	if err != nil {
		t.Fatal(err)
	}
	if text := c.nothingYet(s); !strings.Contains(text, "--all") {
		t.Errorf("it says %q", text)
	}
	if s.Tasks = nil; c.nothingYet(s) != "" {
		t.Error("it names what is not there")
	}
}

// TestUnknownTask wants the tasks of a service to be named where one is asked for that is not there.
func TestUnknownTask(t *testing.T) {
	t.Parallel()
	s := spiders(time.Now())
	s.Services = append(s.Services, fleet.Service{ID: "s2", Name: "idle"})
	for ref, want := range map[string]string{
		"spider.9": `unknown task "spider.9"; spider has spider.1, spider.2, spider.3`,
		"idle.1":   `unknown task "idle.1"; idle has no tasks`,
		"robot.1":  `unknown service "robot.1"`,
		"spidr":    `unknown service "spidr"; did you mean "spider"?`,
	} {
		if _, err := chooseLogs(s, api.LogQuery{Target: ref}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("logs: got %v, want %s", err, want)
		}
		if _, err := runningTask(s, ref); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("exec: got %v, want %s", err, want)
		}
	}
}
