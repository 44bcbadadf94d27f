package deploy

import (
	"errors"
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// failure holds why a version was found bad.
type failure struct {
	service string
	cause   string // what the task that failed last said
	node    string // where; empty where it is not known
	task    string // its ID
	former  former
}

// former says what the version before did when a change began.
type former int

const (
	formerRan former = iota
	formerStopped
	formerFailed // it fails now
	formerNever  // it has never worked
)

// formerOf tells by a service and its tasks as they were then.
func formerOf(svc fleet.Service, tasks []fleet.Task, now time.Time) former {
	if svc.Mode == fleet.ModeReplicated && svc.Desired == 0 {
		return formerStopped
	}
	good, bad := false, false
	for _, t := range tasks {
		switch t.State {
		case fleet.TaskRunning, fleet.TaskComplete:
			good = true
		case fleet.TaskFailed, fleet.TaskRejected:
			bad = true
		}
	}
	if _, loops := fleet.CrashLoop(tasks, now); loops || bad && !good {
		return formerFailed
	}
	return formerRan
}

func failureOf(service string, p state) failure {
	return failure{service: service, cause: p.lastErr, node: p.lastNode, task: p.lastTask}
}

func (f failure) where() string { return on(f.cause, f.node) }

// RolledBackError says that a version was bad and the one before it is back: it runs in full,
// or is stopped as it was.
type RolledBackError struct{ failure }

func (e *RolledBackError) Error() string {
	back := history.Back
	if e.former == formerStopped {
		back = history.Stood
	}
	return fmt.Sprintf("%s: the update failed and %s%s", e.service, back, e.where())
}

// NoOlderError says that a version is bad and that there is none that ran before to go back
// to.
type NoOlderError struct {
	failure
	good int // the version that worked last; 0: none
}

func (e *NoOlderError) Error() string {
	none, instead := "there is no older version, so it stays", "remove it with `crawlbox rm "+e.service+"`"
	switch e.former {
	case formerFailed:
		none = "the version before it failed too, so nothing runs"
	case formerNever:
		none = "the version before never worked either, so it does not come back"
	}
	if e.good > 0 {
		instead = fmt.Sprintf("go back to version %d with `crawlbox rollback %s %d`", e.good, e.service, e.good)
	}
	return fmt.Sprintf("%s: its tasks fail: %s; %s: deploy a better one, or %s", e.service, e.where(), none, instead)
}

// failingError ends a change of which too many tasks fail.
type failingError struct{ failure }

func (e *failingError) Error() string { return e.service + ": its tasks fail: " + e.where() }

// stalledError ends a change that has come to a standstill.
type stalledError struct {
	failure
	text string
}

func (e *stalledError) Error() string { return e.service + ": " + e.text }

// failureIn returns why the version of a change was found bad, if it should go back.
func failureIn(err error) (failure, bool) {
	var failing *failingError
	var stalled *stalledError
	switch {
	case errors.As(err, &failing):
		return failing.failure, true
	case errors.As(err, &stalled):
		return stalled.failure, true
	}
	return failure{}, false
}

// FailedTask returns the task, by ID, by which the version of a service was found bad or a change
// of it failed, empty where an error says none.
func FailedTask(err error) (service, task string) {
	var back *RolledBackError
	var none *NoOlderError
	switch {
	case errors.As(err, &back):
		return back.service, back.task
	case errors.As(err, &none):
		return none.service, none.task
	}
	f, _ := failureIn(err)
	return f.service, f.task
}

// wasRolledBack reports whether an error means that the old version runs again.
func wasRolledBack(err error) bool {
	return errors.As(err, new(*RolledBackError))
}

// begins reports whether Swarm has begun an update after was.
func begins(was fleet.Service, now *fleet.Service) bool {
	return now == nil || now.UpdateStarted.After(was.UpdateStarted)
}

// rolledBack reports whether Swarm gave up an update that began after was.
func rolledBack(was fleet.Service, now *fleet.Service, p state, before former) error {
	if now == nil || !begins(was, now) {
		return nil
	}
	f := failureOf(was.Name, p)
	f.former = before
	if f.cause == "" {
		f.cause = now.Message
	}
	switch {
	case p.failures > 0:
	case p.excused > 0:
		f.cause += " while the queue was away; deploy it again"
	default:
		f.cause += " (none of its tasks failed; if they ended because all was done, run the update again)"
	}
	switch now.Update {
	case fleet.UpdatePaused:
		return fmt.Errorf("%s: the update stopped halfway: %s; look with `crawlbox ps %s`", was.Name, f.where(),
			was.Name)
	case fleet.RollbackPaused:
		return &stalledError{f, fmt.Sprintf("the way back stopped halfway: %s; look with `crawlbox ps %s`", f.where(),
			was.Name)}
	case fleet.UpdateRolledBack:
		if before >= formerFailed {
			return &NoOlderError{failure: f}
		}
		return &RolledBackError{f}
	}
	return nil
}

// overtaken returns an error where somebody else has made another change of a service, after which
// this one would be waited for in vain, or what is gone would count as done.
func overtaken(name string, now *fleet.Service, g Goal) error {
	switch {
	case now == nil:
		return Conflict("service %s was removed in the meantime", name)
	case now.Mode == fleet.ModeReplicated && g.Desired >= 0 && now.Desired != g.Desired:
		return Conflict("service %s was scaled to %d in the meantime; `crawlbox ps %s` shows how it is", name,
			now.Desired, name)
	}
	return nil
}

// stalled returns an error if a change has come to a standstill.
func stalled(name string, p state, quiet, allowed time.Duration) error {
	bound, why := allowed, ""
	switch {
	case quiet > stallFailing && p.starting == 0 && p.failures > 0:
		bound, why = stallFailing, on(p.lastErr, p.lastNode)
	case quiet > stallFailing && p.starting == 0 && p.lastErr != "" && p.Running < p.Desired:
		// Such as "no suitable node": nothing fails, nothing will start.
		bound, why = stallFailing, p.lastErr
	case quiet > allowed && p.Stopping+p.lost > 0:
		why = fmt.Sprintf("%d still stop", p.Stopping+p.lost)
	case quiet > allowed:
		why = "nothing moves"
	default:
		return nil
	}
	f := failureOf(name, p)
	f.cause = fmt.Sprintf("%d of %d running and no more for %s: %s", p.Running, p.Desired, bound, why)
	f.node = "" // it is in the cause
	return &stalledError{f, fmt.Sprintf("%s; Swarm goes on trying, look with `crawlbox ps %s`", f.cause, name)}
}
