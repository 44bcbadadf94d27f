package alerts

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/configs"
)

const (
	// lasting is how long what a run did is told: a day after it, or until a later one of the same kind has ended well.
	// recent is how long it is told at the least, so that it is whenever the next leader looks.
	lasting, recent = 24 * time.Hour, 5 * time.Minute
	// queueEvery is how often it is looked how long queues are.
	queueEvery = time.Minute
	// minCompared is with how many runs one has to be compared to be told, and minSlower by how much it has to be
	// slower.
	minCompared, minSlower = 3, time.Minute
)

// Sources are where facts come from.
type Sources struct {
	// Look returns the status of this manager, and what that was found from.
	Look      func(ctx context.Context) (api.Status, problems.Seen, error)
	Runs      *runs.Store
	Schedules func() ([]schedule.Entry, error)
	Backups   func() backups.State
	// Queue returns how much there is in each key; nil: the cluster has no queue.
	Queue func(ctx context.Context) ([]api.Items, error)
	// Since is when this manager began to look.
	Since time.Time
	Now   func() time.Time
}

// Facts finds what there is to tell of, from what the status, the records of runs, schedules, backups and the queue
// say. Its methods may be called at the same time.
type Facts struct {
	Sources

	mu     sync.Mutex
	queues []alerts.Queue
	err    error // they can't be asked
	asked  time.Time
}

// NewFacts returns what finds facts.
func NewFacts(s Sources) *Facts { return &Facts{Sources: s} }

// look is one of all that there is.
type look struct {
	from  *Facts
	c     configs.Alerts
	now   time.Time
	seen  problems.Seen
	ended map[string][]runs.Record // within lasting, by group, but for those that a person has stopped

	facts []alerts.Fact
	blind []string
}

// See returns what is not as it should be, and how long queues are; nil: that is not known.
func (f *Facts) See(ctx context.Context, c configs.Alerts, is alerts.State) (alerts.Seen, []alerts.Queue, error) {
	st, seen, err := f.Look(ctx)
	if err != nil {
		return alerts.Seen{}, nil, err
	}
	l := &look{from: f, c: c, now: f.Now(), seen: seen}
	l.problems(st.Problems)
	l.disks()
	l.clocks(st.Node)
	l.backup()
	l.runs()
	queues := l.queues(ctx, is)
	return alerts.Seen{Facts: l.facts, Blind: l.blind}, queues, nil
}

func (l *look) add(rule, subject, severity, format string, args ...any) {
	l.facts = append(l.facts, alerts.Fact{
		Rule: rule, Subject: subject, Severity: severity, Text: fmt.Sprintf(format, args...),
	})
}

// rules are those of kinds of problems.
var rules = map[string]string{
	api.NodeDown:        configs.NodeDown,
	api.DockerStopped:   configs.NodeDown,
	api.CrawlboxStopped: configs.NodeDown,
	api.NoNode:          configs.NodeDown,
	api.DiskFull:        configs.DiskLow,
	api.ServiceFailing:  configs.CrashLoop,
	api.RolledBack:      configs.Rollback,
	api.UpdatePaused:    configs.Rollback,
	api.DeployFailed:    configs.Rollback,
	api.QueueDown:       configs.QueueDown,
	api.QueueFull:       configs.QueueDown,
	api.QueueDisk:       configs.QueueDown,
	api.FewManagers:     configs.Quorum,
}

// problems takes what the status tells.
func (l *look) problems(list []api.Problem) {
	if l.seen.Cluster == nil {
		l.blind = append(l.blind, configs.NodeDown, configs.DiskLow, configs.CrashLoop, configs.Rollback,
			configs.Quorum)
	}
	for _, p := range list {
		rule := rules[p.Kind]
		if rule == "" || p.Kind == api.RolledBack && l.isOld(p.Subject) {
			continue
		}
		severity := alerts.Warning
		if p.Level == api.Bad {
			severity = alerts.Bad
		}
		subject := p.Subject
		if subject == "" {
			subject = "cluster"
		}
		l.add(rule, subject, severity, "%s", p.Text)
	}
}

// isOld reports whether the last deploy of a service is no news.
func (l *look) isOld(service string) bool {
	if l.seen.Last == nil {
		return false
	}
	e, ok := l.seen.Last(service)
	return ok && l.now.Sub(e.At.Add(e.Took)) > lasting
}

// disks tells of those that have little free. One that is full is a problem anyway.
func (l *look) disks() {
	if l.seen.Cluster == nil {
		return
	}
	for _, n := range l.seen.Cluster.Nodes {
		if !n.HasAgent() || n.Agent.FreeDisk < doctor.FullDisk {
			continue
		}
		free, size := float64(n.Agent.FreeDisk), float64(n.Agent.DiskSize)
		if free < l.c.Limit(configs.DiskLow)*size {
			l.add(configs.DiskLow, n.Display, alerts.Warning, "only %s of %s are free on the disk of node %s; free "+
				"some: `docker system prune --all` there takes what no container uses", units.HumanSize(free),
				units.HumanSize(size), n.Display)
		}
	}
}

// clocks tells of those that differ from this manager's.
func (l *look) clocks(node string) {
	for _, f := range l.seen.Findings {
		if f.Skew > l.c.Span(configs.ClockOff) {
			l.add(configs.ClockOff, "cluster", alerts.Warning, "on %s: %s; %s: `%s`", node, f.Text, f.Remedy,
				strings.Join(f.Commands, " && "))
		}
	}
}

func (l *look) backup() {
	s := l.from.Backups()
	since := s.Good
	if since.IsZero() {
		since = l.from.Since
	}
	if s.Nodes == 0 && s.Good.IsZero() && s.Places == nil { // the status tells that there is no place for one
		return
	}
	if l.now.Sub(since) > l.c.Span(configs.BackupOld) {
		why := s.Why
		if why == "" {
			why = strings.Join(s.Places, ", ")
		}
		l.add(configs.BackupOld, "cluster", alerts.Bad, "the cluster has had no good backup since %s: %s; see "+
			"`crawlbox backup ls`", since.UTC().Format(time.RFC3339), why)
	}
}

// queues asks how long queues are, now and then.
func (l *look) queues(ctx context.Context, is alerts.State) []alerts.Queue {
	f := l.from
	if f.Queue == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asked.IsZero() || l.now.Sub(f.asked) >= queueEvery || l.now.Before(f.asked) {
		var list []api.Items
		list, f.err = f.Queue(ctx)
		f.asked, f.queues = l.now, nil
		for _, k := range list {
			q := alerts.Queue{Key: k.Key, Len: k.Len}
			if k.Type == "string" || k.Type == "hash" {
				q.Len = 0 // no queues
			}
			if k.Dead != nil {
				q.Dead = *k.Dead
			}
			f.queues = append(f.queues, q)
		}
	}
	if f.err != nil {
		l.blind = append(l.blind, configs.QueueStuck, configs.QueueDead)
		return nil
	}
	l.facts = append(l.facts, is.Stuck(configs.QueueStuck, f.queues)...)
	l.facts = append(l.facts, is.Buried(configs.QueueDead, f.queues)...)
	return slices.Concat([]alerts.Queue{}, f.queues)
}
