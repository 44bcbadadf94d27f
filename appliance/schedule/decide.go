package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/planned"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

const (
	// Late is how long after it is due a run begins for all that, which a change of leaders or a restart takes. What is
	// later was missed.
	Late = 2 * time.Minute
	// patience is how long it is tried to begin a run.
	patience = 10 * time.Minute
	// maxWaiting bounds the planned times that wait for a run to end.
	maxWaiting = 100
	// maxCount bounds the planned times that are counted one by one; of more, the newest day is looked at.
	maxCount = 10000
	// maxEvents bounds what a schedule tells of its past.
	maxEvents = 20
	// maxWhy bounds the words of an event, in bytes.
	maxWhy = 300
)

// Position is how far a schedule has come.
type Position struct {
	Through time.Time `json:"through"`           // each planned time up to it has been dealt with, or waits
	Waiting []Waiting `json:"waiting,omitempty"` // the oldest first
	Failing time.Time `json:"failing,omitzero"`  // since when no run could be begun
	Why     string    `json:"why,omitempty"`     // it fails
	Events  []Event   `json:"events,omitempty"`  // the oldest first
}

// Waiting is a planned time whose run has not begun.
type Waiting struct {
	Planned time.Time `json:"planned"`
	Since   time.Time `json:"since"`
}

// Kinds of events.
const (
	Skipped = "skipped" // others ran
	Missed  = "missed"  // nobody was there to begin them
	Failed  = "failed"  // it was tried, and could not be begun
)

// Event tells of planned times for which no run was begun, or one for many.
type Event struct {
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	First time.Time `json:"first"` // of the planned times
	Last  time.Time `json:"last"`
	Count int       `json:"count"` // of them; from maxCount on: at least so many
	Why   string    `json:"why"`
}

// Live is a run of the schedule that has not ended.
type Live struct {
	ID       string
	Planned  time.Time
	Stopping bool // somebody has asked for its end
}

// Plan is what there is to do.
type Plan struct {
	Stop  []string    // IDs of runs
	Begin []time.Time // planned times, to be begun in this order
	After Position    // once all have begun; see Plan.Failed
}

// Decide says what is to be done about a schedule that has come to a position, with its runs that have not ended. It
// may be asked again with the same position, where what it said was done in part or could not be noted.
func (s Schedule) Decide(times planned.Times, at Position, live []Live, now time.Time) Plan {
	p := plan{Schedule: s, now: now, live: slices.Clone(live)}
	p.After = at
	p.After.Waiting, p.After.Events = nil, slices.Clone(at.Events)
	slices.SortFunc(p.live, func(a, b Live) int { return a.Planned.Compare(b.Planned) })
	due := slices.Clone(at.Waiting)
	due = append(due, p.pass(times)...)
	if s.Overlap == Replace {
		due = p.newest(due)
	}
	for _, w := range due {
		p.place(w)
	}
	if s.Overlap == Replace && len(p.Begin) > 0 {
		p.stop()
	}
	p.After.Events = p.After.Events[max(0, len(p.After.Events)-maxEvents):]
	return p.Plan
}

type plan struct {
	Schedule
	Plan
	now  time.Time
	live []Live // the oldest first, with those that begin
}

// pass goes through the planned times up to now. It returns those that are due.
func (p *plan) pass(times planned.Times) (due []Waiting) {
	var missed []time.Time // the first and the last
	count := 0
	for {
		next := times.Next(p.After.Through)
		if next.IsZero() || p.Due(next).After(p.now) {
			break
		}
		p.After.Through = next
		if p.now.Sub(p.Due(next)) <= Late {
			due = append(due, Waiting{next, p.now})
			continue
		}
		if count++; count == 1 {
			missed = []time.Time{next, next}
		}
		missed[1] = next
		if count == maxCount {
			p.After.Through = latest(next, p.now.Add(-24*time.Hour-p.Jitter))
		}
	}
	if count == 0 {
		return due
	}
	e := Event{Kind: Missed, First: missed[0], Last: missed[1], Count: count, Why: "nobody was there to begin them"}
	if p.Missed != Skip {
		e.Why += "; the last is begun now"
		due = append([]Waiting{{missed[1], p.now}}, due...)
	}
	p.tell(e)
	return due
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// newest skips what would be replaced as soon as it has begun.
func (p *plan) newest(due []Waiting) []Waiting {
	for ; len(due) > p.atMost(); due = due[1:] {
		p.skip(due[0].Planned, "a later one replaces it")
	}
	return due
}

func (p *plan) atMost() int { return max(1, p.AtMost) }

// place says what becomes of a planned time that is due.
func (p *plan) place(w Waiting) {
	begun := slices.ContainsFunc(p.live, func(l Live) bool { return l.Planned.Equal(w.Planned) })
	switch full := len(p.live) >= p.atMost(); {
	case begun: // by a leader that came to no note of it
	case p.Overlap == Replace, !full && len(p.After.Waiting) == 0:
		p.live = append(p.live, Live{runs.PlannedID(p.Name, w.Planned), w.Planned, false})
	case p.Overlap == Wait && len(p.After.Waiting) < maxWaiting:
		p.After.Waiting = append(p.After.Waiting, w)
		return
	case p.Overlap == Wait:
		p.skip(w.Planned, fmt.Sprintf("%d others wait", maxWaiting))
		return
	default:
		p.skip(w.Planned, "run "+p.live[0].ID+" had not ended")
		return
	}
	p.Begin = append(p.Begin, w.Planned)
}

// stop ends the oldest runs where there are more than may be.
func (p *plan) stop() {
	for _, old := range p.live[:max(0, len(p.live)-p.atMost())] {
		if !old.Stopping {
			p.Stop = append(p.Stop, old.ID)
		}
	}
}

func (p *plan) skip(planned time.Time, why string) {
	p.tell(Event{Kind: Skipped, First: planned, Last: planned, Count: 1, Why: why})
}

func (p *plan) tell(e Event) {
	e.At = p.now
	p.After.Events = append(p.After.Events, e)
}

// Failed returns the position where only the first of the runs have begun, and the next could not for a reason. It is
// tried again for some time.
func (p Plan) Failed(begun int, at Position, now time.Time, why error) Position {
	after := p.After
	if begun > 0 || at.Failing.IsZero() {
		after.Failing = now
	} else {
		after.Failing = at.Failing
	}
	after.Why = short(why.Error())
	var waiting, over []Waiting
	for _, planned := range p.Begin[begun:] {
		w := Waiting{planned, now}
		if i := slices.IndexFunc(at.Waiting, func(w Waiting) bool { return w.Planned.Equal(planned) }); i >= 0 {
			w = at.Waiting[i]
		}
		if now.Sub(latest(w.Since, after.Failing)) > patience {
			over = append(over, w)
		} else {
			waiting = append(waiting, w)
		}
	}
	waiting = append(waiting, after.Waiting...)
	n := max(0, len(waiting)-maxWaiting)
	over, after.Waiting = append(over, waiting[:n]...), waiting[n:]
	after.Events = slices.Clone(after.Events)
	for _, w := range over {
		after.Events = append(after.Events, Event{now, Failed, w.Planned, w.Planned, 1, after.Why})
	}
	after.Events = after.Events[max(0, len(after.Events)-maxEvents):]
	return after
}

// Begun returns the position where all runs have begun.
func (p Plan) Begun() Position {
	after := p.After
	if len(p.Begin) > 0 {
		after.Failing, after.Why = time.Time{}, ""
	}
	return after
}

func short(text string) string {
	if len(text) <= maxWhy {
		return text
	}
	return strings.ToValidUTF8(text[:maxWhy], "") + "…"
}
