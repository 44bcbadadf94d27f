package alerts

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/configs"
)

// ofRuns are the rules of runs.
var ofRuns = []string{
	configs.RunFailed, configs.RunTimedOut, configs.RunNotStarted, configs.RunMissed, configs.RunEmpty,
	configs.RunFewItems, configs.RunSlow,
}

// runs tells of those that have ended, of those that go on, and of schedules.
func (l *look) runs() {
	list, err := l.from.Runs.EndedSince(l.now.Add(-lasting))
	var planned []schedule.Entry
	if err == nil {
		planned, err = l.from.Schedules()
	}
	if err != nil {
		l.blind = append(l.blind, ofRuns...)
		return
	}
	l.ended = map[string][]runs.Record{}
	for _, r := range list {
		if r.State != runs.Stopped { // by a person, who knows
			l.ended[r.Group()] = append(l.ended[r.Group()], r)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(l.ended)) {
		runs.SortNewest(l.ended[group])
		l.group(group)
	}
	for _, e := range planned {
		if e.Paused == nil {
			l.schedule(e)
		}
	}
	if l.seen.Cluster == nil {
		l.blind = append(l.blind, configs.RunNotStarted, configs.RunSlow)
		return
	}
	for _, svc := range l.seen.Cluster.Services {
		if svc.IsRun() && svc.RunStop == "" {
			l.live(svc)
		}
	}
}

// group tells what runs of a service, image or schedule did, until a later one of them ends well.
func (l *look) group(group string) {
	type told struct {
		text, severity string
		more           int
	}
	by := map[string]*told{}
	well := false
	for _, r := range l.ended[group] { // the newest first
		if well && l.now.Sub(r.Ended) > recent {
			continue
		}
		for rule, text := range l.judge(r) {
			if by[rule] != nil {
				by[rule].more++
				continue
			}
			severity := alerts.Warning
			if r.State != runs.Done || rule == configs.RunEmpty {
				severity = alerts.Bad
			}
			by[rule] = &told{text: text, severity: severity}
		}
		well = well || r.State == runs.Done
	}
	for rule, is := range by {
		if is.more > 0 {
			is.text += fmt.Sprintf(" (and %d more before it)", is.more)
		}
		l.add(rule, group, is.severity, "%s", is.text)
	}
}

// judge returns what is to be told of a run that has ended, by rule.
func (l *look) judge(r runs.Record) map[string]string {
	look := fmt.Sprintf("; see `crawlbox run show %s`", r.ID)
	switch r.State {
	case runs.Failed:
		return map[string]string{configs.RunFailed: "run " + r.ID + " failed: " + r.Why + look}
	case runs.TimedOut:
		return map[string]string{configs.RunTimedOut: "run " + r.ID + " timed out: " + r.Why + look}
	case runs.Done:
	default:
		return nil
	}
	all := map[string]string{}
	u, err := l.from.Runs.Usual(r)
	if err != nil || u == nil {
		u = &runs.Usual{}
	}
	usual := u.Items != nil && *u.Items > 0
	switch {
	case r.Items == nil:
	case *r.Items == 0 && (usual || u.Items == nil):
		all[configs.RunEmpty] = "run " + r.ID + " ended with 0 items" + look
	case *r.Items > 0 && usual && u.Runs >= minCompared &&
		float64(*r.Items) < l.c.Limit(configs.RunFewItems)*float64(*u.Items):
		all[configs.RunFewItems] = fmt.Sprintf("run %s ended with %d items, where %d are usual%s", r.ID, *r.Items,
			*u.Items, look)
	}
	if l.isSlow(r.Took(), *u) {
		all[configs.RunSlow] = fmt.Sprintf("run %s took %s, where %s is usual%s", r.ID, r.Took().Round(time.Second),
			u.Took.Round(time.Second), look)
	}
	return all
}

func (l *look) isSlow(took time.Duration, u runs.Usual) bool {
	return u.Runs >= minCompared && took-u.Took >= minSlower &&
		float64(took) > l.c.Limit(configs.RunSlow)*float64(u.Took)
}

// live tells of a run that goes on.
func (l *look) live(svc fleet.Service) {
	spec, err := runs.Parse(svc.Run)
	if err != nil {
		return
	}
	if has, err := l.from.Runs.Has(spec.ID); has || err != nil {
		return
	}
	began := time.Time{}
	why := ""
	for _, t := range l.seen.Cluster.TasksOf(svc.ID) {
		if t.Container != "" && (began.IsZero() || t.Created.Before(began)) {
			began = t.Created
		}
		if t.Error != "" {
			why = ": " + t.Error
		}
	}
	if began.IsZero() {
		if waits := l.now.Sub(spec.At); waits > l.c.Span(configs.RunNotStarted) {
			l.add(configs.RunNotStarted, spec.Group(), alerts.Bad, "run %s has not begun after %s%s; see `crawlbox "+
				"run show %[1]s`", spec.ID, waits.Round(time.Second), why)
		}
		return
	}
	u, err := l.from.Runs.Usual(runs.Record{Spec: spec})
	if took := l.now.Sub(began); err == nil && u != nil && l.isSlow(took, *u) {
		l.add(configs.RunSlow, spec.Group(), alerts.Warning, "run %s goes on for %s, where %s is usual; see "+
			"`crawlbox run show %[1]s`", spec.ID, took.Round(time.Second), u.Took.Round(time.Second))
	}
}

// ofEvents are the rules of what schedules tell.
var ofEvents = map[string]string{schedule.Missed: configs.RunMissed, schedule.Failed: configs.RunNotStarted}

// schedule tells of planned times for which no run began, until a later one of the schedule has ended well.
func (l *look) schedule(e schedule.Entry) {
	const look = "; see `crawlbox schedule ls`"
	if _, err := e.Times(); err != nil {
		l.add(configs.RunNotStarted, e.Name, alerts.Bad, "schedule %s begins no runs: %s%s", e.Name, err, look)
		return
	}
	if e.Position.Why != "" {
		l.add(configs.RunNotStarted, e.Name, alerts.Bad, "schedule %s can't begin a run: %s%s", e.Name, e.Position.Why,
			look)
	}
	for _, event := range slices.Backward(e.Position.Events) {
		rule := ofEvents[event.Kind]
		age := l.now.Sub(event.At)
		if rule == "" || age > lasting || age > recent && l.endedWell(e.Name, event.Last) {
			continue
		}
		l.add(rule, e.Name, alerts.Bad, "schedule %s: %s %s up to %s: %s%s", e.Name, event.Kind,
			words.Count(event.Count, "planned time"), event.Last.UTC().Format(time.RFC3339), event.Why, look)
	}
}

// endedWell reports whether a run of a schedule has that was planned later, or made up for what was missed.
func (l *look) endedWell(name string, planned time.Time) bool {
	return slices.ContainsFunc(l.ended[name], func(r runs.Record) bool {
		return r.State == runs.Done && !r.Planned.Before(planned)
	})
}
