package runs

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// States of a run, and outcomes of one that has ended.
const (
	Waiting  = "waiting" // nothing of it has run yet
	Running  = "running"
	Stopping = "stopping"

	Done     = "done"
	Failed   = "failed"
	Stopped  = "stopped" // by a person
	TimedOut = "timed out"
)

// Exit codes of runs that did not end by themselves: those that a shell and timeout(1) would give.
const (
	exitFailed   = 1
	exitTimedOut = 124
	exitStopped  = 143
)

// Verdict is how a run stands.
type Verdict struct {
	State    string // see Waiting
	ExitCode int    // of one that has ended
	Why      string // it waits, failed, or was ended; empty: there is nothing to say
}

// Ended reports whether all is over, so that the run can be written down and its service removed.
func (v Verdict) Ended() bool {
	return slices.Contains([]string{Done, Failed, Stopped, TimedOut}, v.State)
}

// Judge says how a run stands by the tasks that Swarm has of it, with their causes where those are known better. stop
// is nil where nobody ends it.
func Judge(s Spec, stop *Stop, tasks []fleet.Task) Verdict {
	bySlot := slots(stop, tasks)
	over, complete, started := 0, 0, false
	var bad []slot
	for n := 1; n <= s.Replicas; n++ {
		is := bySlot[n]
		started = started || is.started()
		switch {
		case is.newest().State == fleet.TaskComplete:
			over, complete = over+1, complete+1
		case is.over(s.Retries, stop != nil):
			over, bad = over+1, append(bad, is)
		}
	}
	switch {
	case complete == s.Replicas:
		return Verdict{State: Done}
	case over < s.Replicas && stop != nil:
		return Verdict{State: Stopping, Why: stop.why(s)}
	case over < s.Replicas && !started:
		return Verdict{State: Waiting, Why: waitsFor(tasks)}
	case over < s.Replicas:
		return Verdict{State: Running}
	case stop != nil && stop.TimedOut:
		return Verdict{TimedOut, exitTimedOut, stop.why(s)}
	case stop != nil && !stop.Spent:
		return Verdict{Stopped, exitStopped, stop.why(s)}
	}
	return failed(s, bad, stop != nil)
}

// Spent reports whether all that goes on of a run are tasks that have begun again more often than they may: a new
// leader of Swarm does not know how often that was before.
func Spent(s Spec, tasks []fleet.Task) bool {
	bySlot, spent := slots(nil, tasks), false
	for n := 1; n <= s.Replicas; n++ {
		is := bySlot[n]
		switch {
		case is.newest().State == fleet.TaskComplete, is.over(s.Retries, false):
		case is.failures() > s.Retries:
			spent = true
		default:
			return false
		}
	}
	return spent
}

// MayBeginAgain reports whether a run that has failed by these tasks has attempts left. Swarm begins none again that it
// takes for complete unless all of the run's are.
func MayBeginAgain(s Spec, tasks []fleet.Task) bool {
	return s.Replicas == 1 && slot(tasks).failures() <= s.Retries
}

func (s Stop) why(of Spec) string {
	switch {
	case s.TimedOut && s.Waited != "":
		return fmt.Sprintf("it had not started after %s: %s", of.Timeout, s.Waited)
	case s.TimedOut:
		return fmt.Sprintf("it had not ended after %s", of.Timeout)
	}
	if s.Spent {
		return "it has failed as often as it may"
	}
	return "stopped by " + s.By
}

// slot is what ran in a slot, the newest first.
type slot []fleet.Task

// slots sorts tasks into their slots. The version of a service that ends a run fits on no node: its tasks are none.
func slots(stop *Stop, tasks []fleet.Task) map[int]slot {
	by := map[int]slot{}
	for _, t := range tasks {
		if stop == nil || t.NodeID != "" {
			by[t.Slot] = append(by[t.Slot], t)
		}
	}
	for _, list := range by {
		sort.SliceStable(list, func(i, j int) bool { return list[i].Created.After(list[j].Created) })
	}
	return by
}

func (s slot) newest() (t fleet.Task) {
	if len(s) > 0 {
		t = s[0]
	}
	return t
}

func (s slot) started() bool {
	return slices.ContainsFunc(s, func(t fleet.Task) bool { return t.Container != "" })
}

// over reports whether nothing will run any longer in a slot that has not ended well. Swarm marks a task as one to be
// shut down in the same change that puts another in its place, if it does.
func (s slot) over(retries int, stopped bool) bool {
	t := s.newest()
	given := t.Desired == fleet.TaskShutdown || t.Desired == fleet.TaskRemove
	switch {
	case len(s) == 0:
		return stopped
	case t.Lost != "":
		return given || stopped
	case t.Ended() && (given || stopped):
		return true
	}
	return t.Ended() && s.failures() > retries
}

func (s slot) failures() (n int) {
	for _, t := range s {
		if hasFailed(t) {
			n++
		}
	}
	return n
}

func hasFailed(t fleet.Task) bool {
	return t.State == fleet.TaskFailed || t.State == fleet.TaskRejected
}

// waitsFor returns what Swarm has against starting tasks.
func waitsFor(tasks []fleet.Task) string {
	for _, t := range tasks {
		if t.Error != "" {
			return t.Error
		}
	}
	return ""
}

// failed says what slots that have not ended well did. Where the last task of one was spent, the one before says it.
func failed(s Spec, bad []slot, spent bool) Verdict {
	t := bad[0].newest()
	if i := slices.IndexFunc(bad[0], hasFailed); spent && i >= 0 {
		t = bad[0][i]
	}
	v := Verdict{State: Failed, ExitCode: cmp.Or(t.ExitCode, exitFailed), Why: CauseOf(t)}
	if t.Node != "" && t.Lost == "" {
		v.Why += " on " + t.Node
	}
	if n := len(bad[0]); n > 1 {
		v.Why += ", after " + words.Count(n, "attempt")
	}
	if s.Replicas > 1 {
		v.Why = fmt.Sprintf("%d of %s failed, the first by: %s", len(bad), words.Count(s.Replicas, "task"), v.Why)
	}
	return v
}

// CauseOf says what a task that has not ended well ended by.
func CauseOf(t fleet.Task) string {
	switch {
	case t.Lost != "":
		return "lost: " + t.Lost
	case t.Error != "":
		return t.Error
	case t.State == fleet.TaskShutdown:
		return "Swarm ended it, as where its node is drained"
	case t.ExitCode != 0:
		return fmt.Sprintf("exit code %d", t.ExitCode)
	}
	return strings.TrimSpace(t.State)
}

// Due reports whether a run is to be ended as it has had its time.
func Due(s Spec, now time.Time) bool { return s.Timeout > 0 && now.Sub(s.At) >= s.Timeout }
