package deploy

import (
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// begins says whether Swarm has begun an update after was.
func begins(was fleet.Service, now *fleet.Service) bool {
	return now == nil || now.UpdateStarted.After(was.UpdateStarted)
}

// rolledBack says whether Swarm gave up an update that began after was.
func rolledBack(was fleet.Service, now *fleet.Service, p Progress) error {
	if now == nil || !begins(was, now) {
		return nil
	}
	f := failureOf(was.Name, p)
	if f.cause == "" {
		f.cause = now.Message
	}
	if p.Failures == 0 {
		f.cause += " (none of its tasks failed; if they ended because all was done, run the update again)"
	}
	switch now.Update {
	case "paused":
		return fmt.Errorf("%s: the update stopped halfway: %s; look with `crawlbox ps %s`", was.Name, f.where(), was.Name)
	case "rollback_paused":
		return &stalledError{f, fmt.Sprintf("the way back stopped halfway: %s; look with `crawlbox ps %s`", f.where(), was.Name)}
	case "rollback_completed":
		return &RolledBackError{f}
	}
	return nil
}

// stalled says that a change has come to nothing.
func stalled(name string, p Progress, quiet, allowed time.Duration) error {
	bound, why := allowed, ""
	switch {
	case quiet > stallFailing && p.Starting == 0 && p.Failures > 0:
		bound, why = stallFailing, p.LastErr+on(p.LastNode)
	case quiet > stallFailing && p.Starting == 0 && p.LastErr != "" && p.Running < p.Desired:
		// Such as "no suitable node": nothing fails, nothing will start.
		bound, why = stallFailing, p.LastErr
	case quiet > allowed && p.Stopping > 0:
		why = fmt.Sprintf("%d still stop", p.Stopping)
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
