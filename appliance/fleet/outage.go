package fleet

import "time"

const (
	// outageSlack is how long before an outage was seen, and after it ended, a task may still
	// fail of it: programs notice late, and the clocks of two servers differ.
	outageSlack = 5 * time.Second
	// outageMost bounds the part of an outage in which failures are excused.
	outageMost = time.Minute
)

// Outage is a time in which programs could not reach the cluster's queue.
type Outage struct {
	Seen    time.Time // the end of the queue, or the start of a crawlbox that was away before
	Ended   time.Time // zero: it lasts
	Restart bool      // of crawlbox, so that nobody knows since when
}

// Lasts reports whether it is under way and failures are still excused.
func (o Outage) Lasts(now time.Time) bool {
	return o.Ended.IsZero() && now.Before(o.Seen.Add(outageMost))
}

// Over returns until when failures are excused.
func (o Outage) Over() time.Time {
	end := o.Seen.Add(outageMost)
	if !o.Ended.IsZero() && o.Ended.Before(end) {
		end = o.Ended
	}
	return end.Add(outageSlack)
}

// Excuses reports whether a task may have failed because the queue was away.
func (o Outage) Excuses(t Task) bool {
	return t.State == TaskFailed && !t.Since.After(o.Over()) && (o.Restart || !t.Since.Before(o.Seen.Add(-outageSlack)))
}
