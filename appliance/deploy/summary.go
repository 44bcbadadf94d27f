package deploy

import (
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Summary says how a change went.
type Summary struct {
	Took        time.Duration
	Started     int           // tasks that came to run
	P50, P95    time.Duration // from the creation of a task to its running
	Slowest     string        // node of the task that took longest
	SlowestTook time.Duration
	Stopped     int // tasks that ended
}

// summarize measures the tasks that were not there before. A task's creation
// is stamped by the manager and its start by its node, so skewed clocks show
// here; what would be negative counts as zero.
func summarize(before, after []fleet.Task, nodeName func(id string) string) Summary {
	known, live := map[string]bool{}, map[string]bool{}
	for _, t := range before {
		known[t.ID] = true
		live[t.ID] = !t.Ended()
	}
	var s Summary
	var took []time.Duration
	for _, t := range after {
		if known[t.ID] || t.State != fleet.TaskRunning {
			continue
		}
		d := max(0, t.Since.Sub(t.Created))
		took = append(took, d)
		if d >= s.SlowestTook {
			s.SlowestTook, s.Slowest = d, nodeName(t.NodeID)
		}
	}
	now := map[string]fleet.Task{}
	for _, t := range after {
		now[t.ID] = t
	}
	for id, was := range live {
		if t, there := now[id]; was && (!there || t.Ended()) {
			s.Stopped++
		}
	}
	s.Started = len(took)
	slices.Sort(took)
	s.P50, s.P95 = percentile(took, 50), percentile(took, 95)
	return s
}

// percentile is the nearest-rank percentile of sorted values, 0 for none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
