package fleet

import "time"

const (
	// loopFailures of tasks in one slot within loopWithin are a crash loop. Swarm
	// keeps five ended tasks of a slot, unless it is told otherwise.
	loopFailures = 3
	loopWithin   = 10 * time.Minute
)

// Loop is a slot of a service whose tasks fail again and again.
type Loop struct {
	Last     Task // that failed
	Failures int
	Within   time.Duration
}

// CrashLoop finds the slot of a service whose tasks failed most often lately.
func CrashLoop(tasks []Task, now time.Time) (worst Loop, found bool) {
	for _, slot := range Slots(tasks) {
		if slot.Newest().State == TaskComplete { // it is done
			continue
		}
		var l Loop
		for _, t := range slot {
			if t.State != TaskFailed && t.State != TaskRejected || now.Sub(t.Since) > loopWithin {
				continue
			}
			if l.Failures == 0 {
				l.Last = t
			}
			l.Failures++
			l.Within = now.Sub(t.Since)
		}
		if l.Failures >= loopFailures && l.Failures > worst.Failures {
			worst, found = l, true
		}
	}
	return worst, found
}
