package alerts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/configs"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// plot is a cluster in which all is well, until something is planted.
type plot struct {
	*testing.T
	runs     *runs.Store
	planned  []schedule.Entry
	problems []api.Problem
	seen     problems.Seen
	backups  backups.State
	queue    []api.Items
	queueErr error
	state    alerts.State
	now      time.Time
}

func healthy(t *testing.T) *plot {
	return &plot{
		T:       t,
		runs:    runs.NewStore(state.NewGroup(statetest.Open(t, t.TempDir()), state.Runs)),
		now:     noon,
		backups: backups.State{Good: noon.Add(-time.Minute), Nodes: 2},
		seen: problems.Seen{Cluster: &fleet.Snapshot{Nodes: []fleet.Node{{
			Display: "h1", State: fleet.StateReady,
			Agent: &fleet.Agent{State: fleet.AgentAlive, FreeDisk: 50e9, DiskSize: 100e9},
		}}}},
	}
}

func (p *plot) see() alerts.Seen {
	p.Helper()
	seen, _, err := NewFacts(Sources{
		Look: func(context.Context) (api.Status, problems.Seen, error) {
			return api.Status{Node: "h1", Problems: p.problems}, p.seen, nil
		},
		Runs:      p.runs,
		Schedules: func() ([]schedule.Entry, error) { return p.planned, nil },
		Backups:   func() backups.State { return p.backups },
		Queue:     func(context.Context) ([]api.Items, error) { return p.queue, p.queueErr },
		Since:     noon.Add(-48 * time.Hour),
		Now:       func() time.Time { return p.now },
	}).See(p.Context(), configs.Default().Alerts, p.state)
	if err != nil {
		p.Fatal(err)
	}
	return seen
}

// ran records a run of nightly that ended some time ago, and may be changed.
func (p *plot) ran(ago time.Duration, change func(*runs.Record)) {
	p.Helper()
	at := noon.Add(-ago - 10*time.Minute)
	r := runs.Record{
		Spec: runs.Spec{
			ID: runs.PlannedID("nightly", at), Service: "spider", Schedule: "nightly", Planned: at, At: at, Replicas: 1,
		},
		State: runs.Done, Began: at, Ended: noon.Add(-ago), Counts: runs.Counts{Items: new(int64(1000))},
	}
	change(&r)
	if err := p.runs.Add(r); err != nil {
		p.Fatal(err)
	}
}

func asUsual(*runs.Record) {}

// usually records some runs that did what is usual, some days ago.
func (p *plot) usually() {
	for day := range 7 {
		p.ran(time.Duration(day+2)*24*time.Hour, asUsual)
	}
}

func failed(r *runs.Record)  { r.State, r.Why = runs.Failed, "exit code 3 on h2" }
func stopped(r *runs.Record) { r.State, r.Why = runs.Stopped, "stopped by root@h1" }

func brought(n int64) func(*runs.Record) {
	return func(r *runs.Record) { r.Items = new(n) }
}

// live adds a run that goes on since some time; began says whether it has a container.
func (p *plot) live(since time.Duration, began bool) {
	p.Helper()
	spec := runs.Spec{ID: "nightly-now", Service: "spider", Schedule: "nightly", At: noon.Add(-since), Replicas: 1}
	label, err := spec.Label()
	if err != nil {
		p.Fatal(err)
	}
	task := fleet.Task{ServiceID: "s", Created: spec.At, Error: "no suitable node"}
	if began {
		task.Container, task.Error = "c", ""
	}
	p.seen.Cluster.Services = append(p.seen.Cluster.Services, fleet.Service{ID: "s", Name: spec.ID, Run: label})
	p.seen.Cluster.Tasks = append(p.seen.Cluster.Tasks, task)
}

func (p *plot) event(kind string, ago time.Duration) {
	at := noon.Add(-ago)
	p.planned = append(p.planned, schedule.Entry{
		Schedule: schedule.Schedule{Name: "nightly", Service: "spider", Cron: "@daily", Replicas: 1},
		Position: schedule.Position{Events: []schedule.Event{{
			At: at, Kind: kind, First: at, Last: at, Count: 5, Why: "nobody was there",
		}}},
	})
}

func problem(level api.Level, kind, subject string) func(*plot) {
	return func(p *plot) {
		p.problems = append(p.problems, api.Problem{Level: level, Kind: kind, Subject: subject, Text: "so it is; mend"})
	}
}

// grows has a queue that was sampled for 6 hours.
func grows(p *plot) {
	for hour := range 7 {
		q := []alerts.Queue{{Key: "urls", Len: int64(100 + hour), Dead: int64(hour)}}
		p.state = p.state.Sampled(q, 6*time.Hour, noon.Add(time.Duration(hour-6)*time.Hour))
	}
	p.queue = []api.Items{{Key: "urls", Type: "list", Len: 106, Dead: new(int64(6))}}
}

// planted has what is to be told by each rule.
var planted = map[string]struct {
	plant func(*plot)
	want  string // RULE SUBJECT SEVERITY: a part of the text
}{
	"failed": {func(p *plot) { p.ran(time.Hour, failed) }, "run-failed nightly bad: failed: exit code 3 on h2"},
	"failed often": {func(p *plot) {
		p.ran(time.Hour, failed)
		p.ran(2*time.Hour, failed)
		p.ran(3*time.Hour, failed)
	}, "run-failed nightly bad: (and 2 more before it)"},
	"failed just now, and the next has ended well": {func(p *plot) {
		p.ran(2*time.Minute, failed)
		p.ran(time.Minute, asUsual)
	}, "run-failed nightly bad: exit code 3"},
	"timed out": {func(p *plot) {
		p.ran(time.Hour, func(r *runs.Record) { r.State, r.Why = runs.TimedOut, "it had not ended after 1h0m0s" })
	}, "run-timed-out nightly bad: it had not ended"},
	"nothing":        {func(p *plot) { p.usually(); p.ran(time.Hour, brought(0)) }, "run-empty nightly bad: 0 items"},
	"nothing, first": {func(p *plot) { p.ran(time.Hour, brought(0)) }, "run-empty nightly bad: 0 items"},
	"little": {
		func(p *plot) { p.usually(); p.ran(time.Hour, brought(499)) },
		"run-few-items nightly warning: 499 items, where 1000 are usual",
	},
	"slow": {func(p *plot) {
		p.usually()
		p.ran(time.Hour, func(r *runs.Record) { r.Began = r.Ended.Add(-21 * time.Minute) })
	}, "run-slow nightly warning: took 21m0s, where 10m0s is usual"},
	"goes on": {
		func(p *plot) { p.usually(); p.live(25*time.Minute, true) }, "run-slow nightly warning: goes on for 25m0s",
	},
	"not begun":   {func(p *plot) { p.live(11*time.Minute, false) }, "run-not-started nightly bad: no suitable node"},
	"missed":      {func(p *plot) { p.event(schedule.Missed, time.Hour) }, "run-missed nightly bad: missed 5 plan"},
	"not started": {func(p *plot) { p.event(schedule.Failed, time.Hour) }, "run-not-started nightly bad: nobody was"},
	"can't start": {func(p *plot) {
		p.event(schedule.Skipped, time.Hour)
		p.planned[0].Position.Why = "unknown service"
	}, "run-not-started nightly bad: can't begin a run: unknown service"},
	"crash loop":    {problem(api.Bad, api.ServiceFailing, "spider"), "crash-loop spider bad: so it is"},
	"rollback":      {problem(api.Note, api.RolledBack, "spider"), "rollback spider warning: so it is"},
	"failed deploy": {problem(api.Bad, api.DeployFailed, "spider"), "rollback spider bad: so it is"},
	"node":          {problem(api.Bad, api.NodeDown, "h2"), "node-down h2 bad: so it is"},
	"docker":        {problem(api.Bad, api.DockerStopped, "h2"), "node-down h2 bad: so it is"},
	"full":          {problem(api.Bad, api.DiskFull, "h2"), "disk-low h2 bad: so it is"},
	"disk": {
		func(p *plot) { p.seen.Cluster.Nodes[0].Agent.FreeDisk = 9e9 }, "disk-low h1 warning: only 9GB of 100GB",
	},
	"clock": {func(p *plot) {
		p.seen.Findings = []doctor.Finding{{Check: "clock", Level: doctor.Warn, Text: "it lags", Skew: time.Minute}}
	}, "clock-off cluster warning: on h1: it lags"},
	"queue":  {problem(api.Bad, api.QueueDown, ""), "queue-down cluster bad: so it is"},
	"stuck":  {grows, "queue-stuck urls warning: has not got shorter"},
	"dead":   {grows, "queue-dead urls warning: 6 items of urls are dead"},
	"quorum": {problem(api.Warning, api.FewManagers, ""), "quorum cluster warning: so it is"},
	"backup": {func(p *plot) {
		p.backups.Good, p.backups.Why = noon.Add(-25*time.Hour), "no route"
	}, "backup-old cluster bad: no good backup since 2026-05-31T11:00:00Z: no route"},
	"never a backup": {
		func(p *plot) { p.backups.Good, p.backups.Why = time.Time{}, "no route" }, "backup-old cluster bad: ",
	},
}

func (p *plot) facts() (list []string) {
	for _, f := range p.see().Facts {
		list = append(list, fmt.Sprintf("%s %s %s: %s", f.Rule, f.Subject, f.Severity, f.Text))
	}
	return list
}

// TestPlanted plants something for each rule, and finds it and nothing else.
func TestPlanted(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for name, tc := range planted {
		p := healthy(t)
		tc.plant(p)
		list := p.facts()
		head, part, _ := strings.Cut(tc.want, ": ")
		others := 0
		for _, is := range list {
			if strings.HasPrefix(is, head+": ") && strings.Contains(is, part) {
				rule, _, _ := strings.Cut(head, " ")
				found[rule] = true
			} else {
				others++
			}
		}
		if others != len(list)-1 || others > 0 && name != "stuck" && name != "dead" {
			t.Errorf("%s: got %q, want %q", name, list, tc.want)
		}
	}
	for _, rule := range configs.AlertRules {
		if !found[rule] {
			t.Errorf("nothing was planted for %s", rule)
		}
	}
}

// TestWell: nothing is told of what is as it should be, is over, or is what somebody wanted.
func TestWell(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(*plot){
		"all is well": func(p *plot) {
			p.usually()
			p.ran(time.Hour, asUsual)
			p.live(15*time.Minute, true)
		},
		"the next has ended well": func(p *plot) { p.ran(2*time.Hour, failed); p.ran(time.Hour, asUsual) },
		"it is a day ago":         func(p *plot) { p.ran(25*time.Hour, failed) },
		"a person stopped it":     func(p *plot) { p.ran(time.Hour, stopped) },
		"nothing is usual":        func(p *plot) { p.ran(30*time.Hour, brought(0)); p.ran(time.Hour, brought(0)) },
		"two are not usual":       func(p *plot) { p.ran(30*time.Hour, asUsual); p.ran(time.Hour, brought(10)) },
		"items are not known":     func(p *plot) { p.ran(time.Hour, func(r *runs.Record) { r.Items = nil }) },
		"half":                    func(p *plot) { p.usually(); p.ran(time.Hour, brought(500)) },
		"it has just been asked":  func(p *plot) { p.live(time.Minute, false) },
		"times were skipped":      func(p *plot) { p.event(schedule.Skipped, time.Hour) },
		"what was missed was begun": func(p *plot) {
			p.event(schedule.Missed, time.Hour)
			p.ran(30*time.Minute, planned(time.Hour))
		},
		"a paused schedule": func(p *plot) {
			p.event(schedule.Failed, time.Hour)
			p.planned[0].Paused = &schedule.Pause{}
		},
		"no place for backups": func(p *plot) { p.backups = backups.State{Why: "no other node"} },
		"an old rollback": func(p *plot) {
			problem(api.Note, api.RolledBack, "spider")(p)
			p.seen.Last = func(string) (history.Entry, bool) {
				return history.Entry{At: noon.Add(-25 * time.Hour)}, true
			}
		},
		"another problem": problem(api.Bad, api.FileBroken, ""),
		"a clock":         func(p *plot) { p.seen.Findings = []doctor.Finding{{Skew: 5 * time.Second}} },
		"an old version":  func(p *plot) { p.seen.Cluster.Nodes[0].Agent.DiskSize = 0 },
	} {
		p := healthy(t)
		plant(p)
		if list := p.facts(); len(list) > 0 {
			t.Errorf("%s: got %q", name, list)
		}
	}
}

func planned(ago time.Duration) func(*runs.Record) {
	return func(r *runs.Record) { r.Planned = noon.Add(-ago) }
}

// TestBlind: what can't be asked is not well.
func TestBlind(t *testing.T) {
	t.Parallel()
	p := healthy(t)
	p.queueErr, p.seen.Cluster = errors.New("the queue is away"), nil
	seen := p.see()
	for _, rule := range []string{configs.QueueStuck, configs.QueueDead, configs.NodeDown, configs.RunNotStarted} {
		if !strings.Contains(strings.Join(seen.Blind, " "), rule) {
			t.Errorf("%s is seen, by %q", rule, seen.Blind)
		}
	}
}
