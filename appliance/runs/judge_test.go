package runs

import (
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

var begun = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// tasks reads tasks, one a line: SLOT STATE DESIRED [NODE [EXIT [lost]]]. Later ones are newer.
func tasks(text string) (list []fleet.Task) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		t := fleet.Task{Slot: int(f[0][0] - '0'), State: f[1], Desired: f[2]}
		t.Created = begun.Add(time.Duration(len(list)) * time.Second)
		t.Since = t.Created.Add(time.Minute)
		if len(f) > 3 {
			t.NodeID, t.Node, t.Container = f[3], f[3], "c"
		}
		if len(f) > 4 && f[4] != "0" {
			t.ExitCode, t.Error = int(f[4][0]-'0'), "exit code "+f[4]
		}
		if len(f) > 5 {
			t.Lost = f[3] + " is down"
		}
		list = append(list, t)
	}
	return list
}

func TestJudge(t *testing.T) {
	t.Parallel()
	one, two := Spec{Replicas: 1, Retries: 2}, Spec{Replicas: 2, Retries: 2, Timeout: time.Hour}
	byHand, late, spent := &Stop{By: "ann"}, &Stop{TimedOut: true}, &Stop{Spent: true}
	const spentTasks = "1 failed shutdown h1 3\n1 failed shutdown h1 4\n1 failed shutdown h1 5\n"
	for _, c := range []struct {
		name  string
		spec  Spec
		stop  *Stop
		tasks string
		state string
		code  int
		why   string
	}{
		{"nothing yet", one, nil, "", Waiting, 0, ""},
		{"no node", one, nil, "1 pending running", Waiting, 0, ""},
		{"runs", one, nil, "1 running running h1", Running, 0, ""},
		{"one of two is done", two, nil, "1 complete shutdown h1\n2 running running h1", Running, 0, ""},
		{"all done", two, nil, "1 complete shutdown h1\n2 complete shutdown h1", Done, 0, ""},
		{"done the second time", one, nil, "1 failed shutdown h1 3\n1 complete shutdown h2", Done, 0, ""},
		{"failed, Swarm has yet to hear", one, nil, "1 failed running h1 3", Running, 0, ""},
		{"failed, begins again", one, nil, "1 failed shutdown h1 3\n1 ready ready h1", Running, 0, ""},
		{"failed for good", one, nil, "1 failed shutdown h1 3\n1 failed shutdown h1 4", Failed, 4,
			"exit code 4 on h1, after 2 attempts"},
		{"a new leader of Swarm counts anew", one, nil,
			"1 failed shutdown h1 3\n1 failed shutdown h1 3\n1 failed running h1 3", Failed, 3, "3 attempts"},
		{"one of two failed", two, nil, "1 complete shutdown h1\n2 failed shutdown h2 3", Failed, 3,
			"1 of 2 tasks failed, the first by: exit code 3 on h2"},
		{"image missing", one, nil, "1 rejected shutdown h1", Failed, 1, "rejected"},
		{"its node is lost, goes on elsewhere", one, nil, "1 running shutdown h1 0 lost\n1 running running h2", Running,
			0, ""},
		{"its node is lost, Swarm has yet to act", one, nil, "1 running running h1 0 lost", Running, 0, ""},
		{"its node is lost, attempts used up", one, nil, "1 running shutdown h1 0 lost", Failed, 1, "lost: h1 is down"},
		{"drained without retries", one, nil, "1 shutdown shutdown h1", Failed, 1, "Swarm ended it"},
		{"being stopped", one, byHand, "1 running shutdown h1\n1 pending running", Stopping, 0, "stopped by ann"},
		{"stopped", one, byHand, "1 failed shutdown h1 7\n1 pending running", Stopped, 143, "stopped by ann"},
		{"stopped before it began", one, byHand, "1 pending running", Stopped, 143, "stopped by ann"},
		{"stopped as it was done", one, byHand, "1 complete shutdown h1\n1 pending running", Done, 0, ""},
		{"timed out", two, late, "1 complete shutdown h1\n2 shutdown shutdown h1", TimedOut, 124,
			"not ended after 1h0m0s"},
		{"timed out before it started", two, &Stop{TimedOut: true, Waited: "no suitable node"}, "1 pending running",
			TimedOut, 124, "not started after 1h0m0s: no suitable node"},
		{"spent, being stopped", one, spent, spentTasks + "1 running shutdown h1\n1 pending running", Stopping, 0,
			"failed as often as it may"},
		{"spent", one, spent, spentTasks + "1 shutdown shutdown h1\n1 pending running", Failed, 5,
			"exit code 5 on h1, after 4 attempts"},
		{"spent, failed once more", one, spent, spentTasks + "1 failed shutdown h1 6\n1 pending running", Failed, 6,
			"exit code 6"},
		{"spent, done at last", one, spent, spentTasks + "1 complete shutdown h1", Done, 0, ""},
		{"stopped on a lost node", one, byHand, "1 running shutdown h1 0 lost\n1 pending running", Stopped, 143, "ann"},
	} {
		v := Judge(c.spec, c.stop, tasks(c.tasks))
		if v.State != c.state || v.ExitCode != c.code || !strings.Contains(v.Why, c.why) || c.why == "" && v.Why != "" {
			t.Errorf("%s: got %+v, want %s %d %q", c.name, v, c.state, c.code, c.why)
		}
	}
}

func TestSpent(t *testing.T) {
	t.Parallel()
	const thrice = "1 failed shutdown h1 3\n1 failed shutdown h1 3\n1 rejected shutdown h1\n"
	one, two := Spec{Replicas: 1, Retries: 2}, Spec{Replicas: 2, Retries: 2}
	for name, c := range map[string]struct {
		spec  Spec
		tasks string
		want  bool
	}{
		"nothing":                   {one, "", false},
		"the first":                 {one, "1 running running h1", false},
		"the last that it may":      {Spec{Replicas: 1, Retries: 3}, thrice + "1 running running h1", false},
		"one more":                  {one, thrice + "1 running running h1", true},
		"one more that is to come":  {one, thrice + "1 ready ready h1", true},
		"one more, and it is over":  {one, thrice + "1 failed shutdown h1", false},
		"one more that is done":     {one, thrice + "1 complete shutdown h1", false},
		"beside one that runs":      {two, thrice + "1 running running h1\n2 running running h1", false},
		"beside one that is done":   {two, thrice + "1 running running h1\n2 complete shutdown h1", true},
		"of nodes that are drained": {Spec{Replicas: 1}, "1 shutdown shutdown h1\n1 running running h1", false},
	} {
		if got := Spent(c.spec, tasks(c.tasks)); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestNewRecord(t *testing.T) {
	t.Parallel()
	s := Spec{Replicas: 1, Retries: 2}
	list := tasks("1 failed shutdown h1 3\n1 complete shutdown h2")
	r := NewRecord(s, nil, list, begun.Add(time.Hour))
	if r.State != Done || r.Attempts != 2 || !r.Began.Equal(begun) || !r.Ended.Equal(begun.Add(61*time.Second)) {
		t.Errorf("got %+v", r)
	}
	if r.Tasks[0].Cause != "exit code 3" || r.Tasks[1].Cause != "" || r.Tasks[1].Node != "h2" {
		t.Errorf("its tasks are %+v", r.Tasks)
	}
	if r := NewRecord(s, nil, tasks("1 running running h1"), begun); !r.Ended.IsZero() || r.Began.IsZero() {
		t.Errorf("one that runs is %+v", r)
	}
	many := strings.Repeat("1 complete shutdown h1\n", 100) + "2 failed shutdown h1 3"
	r = NewRecord(Spec{Replicas: 2}, nil, tasks(many), begun)
	if r.Attempts != 101 || len(r.Tasks) != maxTasks || r.Tasks[0].State != fleet.TaskFailed {
		t.Errorf("of many: %d, %+v", r.Attempts, r.Tasks)
	}
}

// TestRecord_Tells: the log that is kept is of the last task that ended as the run did.
func TestRecord_Tells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, state, tasks string
		want               int
	}{
		{"none", Failed, "", -1},
		{"none has begun", TimedOut, "1 pending running", -1},
		{"done", Done, "1 complete shutdown h1", 0},
		{"done at last", Done, "1 failed shutdown h1 3\n1 complete shutdown h1", 1},
		{"done, the last", Done, "1 complete shutdown h1\n2 failed shutdown h1 3\n2 complete shutdown h1", 2},
		{"failed", Failed, "1 failed shutdown h1 3\n1 failed shutdown h2 4\n2 complete shutdown h1", 1},
		{"failed, and one more was ended", Failed, "1 failed shutdown h1 3\n1 shutdown shutdown h1", 0},
		{"failed as its node was drained", Failed, "1 complete shutdown h1\n2 shutdown shutdown h1", 1},
		{"its node is lost", Failed, "1 failed shutdown h1 3\n1 running shutdown h2 0 lost", 0},
		{"stopped, what was complete", Stopped, "1 complete shutdown h1", 0},
		{"timed out", TimedOut, "1 complete shutdown h1\n2 shutdown shutdown h1\n3 complete shutdown h1", 1},
	} {
		if got := (Record{State: c.state}).Tells(tasks(c.tasks)); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
