package deploy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Progress holds how far a change of a service is. It is the one value that carries it, from
// the code that makes the change to the screen, and in the stream of the local API.
type Progress struct {
	Service  string        `json:"service"`
	Stage    history.Stage `json:"step,omitempty"`
	Running  int           `json:"running"`            // replicas that run as wanted, or ended well
	Old      int           `json:"old,omitempty"`      // replicas that run as before a change that replaces them
	Complete int           `json:"complete,omitempty"` // of them, those that ended well
	Desired  int           `json:"desired"`
	Stopping int           `json:"stopping"`        // containers that still have to go, on nodes that are up
	Copied   Copied        `json:"copied,omitzero"` // in the stage copy
	Pulled   Pulled        `json:"pulled,omitzero"` // in the stage pull
	Note     string        `json:"note,omitempty"`  // what the user should know, such as the error of a failing task
	Done     *Summary      `json:"done,omitempty"`  // set in the last one of a change that went well
}

// Title returns the change in words, such as "scale to 50".
func (p Progress) Title() string {
	if p.Stage == history.StageScale {
		return fmt.Sprintf("%s to %d", p.Stage, p.Desired)
	}
	return string(p.Stage)
}

// Copied holds how much of an image has come from another registry into the cluster's.
type Copied struct {
	From  string `json:"from"` // such as docker.io
	Bytes int64  `json:"bytes"`
	Total int64  `json:"total"` // of what was not there
}

// Pulled counts the nodes that have an image that is brought to them.
type Pulled struct {
	Have  int    `json:"have"`
	Nodes int    `json:"nodes"`          // that may run it, and are up
	Late  string `json:"late,omitempty"` // names of some that have not
	Bytes int64  `json:"bytes"`          // of what is on its way
	Total int64  `json:"total"`
}

// Summary says how a finished change went.
type Summary struct {
	Took        time.Duration `json:"took_ns"`
	Started     int           `json:"started"` // tasks that came to run during it
	P50         time.Duration `json:"p50_ns"`  // from the creation of a task to its running, median over these tasks
	P95         time.Duration `json:"p95_ns"`
	Slowest     string        `json:"slowest"` // node of the task that took longest
	SlowestTook time.Duration `json:"slowest_ns"`
	Stopped     int           `json:"stopped"` // tasks that ended during it
	// tasks that failed while the queue was away, which counted for nothing
	Excused int `json:"excused,omitempty"`

	// of a deploy: what runs now, by the history
	Version int    `json:"version,omitempty"`
	From    int    `json:"from,omitempty"` // the version that it went back to
	Image   string `json:"image,omitempty"`
}

// Emit is called with each step of a change. It must return soon.
type Emit func(Progress)

// tell runs a change of a service: what it emits is told where it differs from what was
// told last, under the service's name, and ends with its summary.
func tell(service string, emit Emit, change func(Emit) (Summary, error)) error {
	var last Progress
	s, err := change(func(p Progress) {
		if p.Service = service; p != last {
			last = p
			emit(p)
		}
	})
	if err == nil {
		last.Service, last.Done = service, &s
		emit(last)
	}
	return err
}

// Plan holds what a change of a service would do.
type Plan struct {
	Service string   `json:"service,omitempty"`
	Action  Action   `json:"action,omitempty"`  // empty for changes that are their one step
	Changes []string `json:"changes,omitempty"` // keys as in the config file, such as environment.QUEUE
	Steps   []string `json:"steps"`             // for people, a line each
}

// Action says what a change does with a service.
type Action string

// Actions of a Plan.
const (
	Create    Action = "create"
	Replace   Action = "replace"
	Unchanged Action = "unchanged" // it is as it should be
)

// String writes the plan for people.
func (p Plan) String() string {
	if p.Action == "" {
		return strings.Join(p.Steps, "\n")
	}
	text := fmt.Sprintf("%s %s", p.Action, p.Service)
	switch p.Action {
	case Unchanged:
		return text
	case Replace:
		text = fmt.Sprintf("change %s: %s", p.Service, strings.Join(p.Changes, ", "))
	}
	return strings.Join(append([]string{text}, p.Steps...), "\n  ")
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

// percentile returns the nearest-rank percentile of sorted values, 0 for none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := (len(sorted)*p + 99) / 100
	return sorted[max(rank, 1)-1]
}
