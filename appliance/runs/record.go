package runs

import (
	"cmp"
	"sort"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Record is what is known of a run: as it stands, and as it is kept once it has ended.
type Record struct {
	Spec
	State    string    `json:"state"` // waiting, running, stopping; done, failed, stopped or timed out
	ExitCode int       `json:"exit_code"`
	Why      string    `json:"why,omitempty"` // it waits, failed, or was ended, in one line
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"` // zero: it has not
	Counts
	Attempts int    `json:"attempts"` // tasks that it has had
	Tasks    []Task `json:"tasks,omitempty"`
	// Log is of the task that says most of how it ended.
	Log *Excerpt `json:"log,omitempty"`
	// Usual is what runs before it did; it is not kept.
	Usual *Usual `json:"usual,omitempty"`
	// Variables that it was given, which may hold secrets.
	Variables map[string]string `json:"variables,omitempty"`
}

// Task is what a record says of a task.
type Task struct {
	ID       string    `json:"id"`
	Slot     int       `json:"slot"`
	Node     string    `json:"node"`
	State    string    `json:"state"`
	Began    time.Time `json:"began,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	ExitCode int       `json:"exit_code"`
	Cause    string    `json:"cause,omitempty"`
	fleet.Peak
}

const (
	// maxTasks bounds the tasks in a record: those that failed come first.
	maxTasks = 20
	// maxCause bounds the words of a cause, in bytes.
	maxCause = 300
)

// NewRecord returns the record of a run as Judge sees it.
func NewRecord(s Spec, stop *Stop, tasks []fleet.Task, now time.Time) Record {
	v := Judge(s, stop, tasks)
	r := Record{Spec: s, State: v.State, ExitCode: v.ExitCode, Why: short(v.Why)}
	for _, t := range tasks {
		if t.NodeID == "" && t.Error == "" || stop != nil && t.NodeID == "" {
			continue
		}
		is := taskOf(t)
		r.Tasks = append(r.Tasks, is)
		if t.Container != "" && (r.Began.IsZero() || is.Began.Before(r.Began)) {
			r.Began = is.Began
		}
		if is.Ended.After(r.Ended) {
			r.Ended = is.Ended
		}
	}
	if r.Ended = cmp.Or(r.Ended, now); !v.Ended() {
		r.Ended = time.Time{}
	}
	r.Attempts = len(r.Tasks)
	sort.SliceStable(r.Tasks, func(i, j int) bool {
		a, b := r.Tasks[i], r.Tasks[j]
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Slot, b.Slot), a.Began.Compare(b.Began)) < 0
	})
	r.Tasks = r.Tasks[:min(len(r.Tasks), maxTasks)]
	return r
}

func rank(t Task) int {
	if t.State == fleet.TaskComplete {
		return 1
	}
	return 0
}

func taskOf(t fleet.Task) Task {
	is := Task{ID: t.ID, Slot: t.Slot, Node: t.Node, State: t.State, Began: t.Created, ExitCode: t.ExitCode}
	if t.Ended() {
		is.Ended = t.Since
	}
	if t.State != fleet.TaskComplete && t.State != fleet.TaskRunning || t.Lost != "" {
		is.Cause = short(CauseOf(t))
	}
	return is
}

func short(text string) string {
	if len(text) <= maxCause {
		return text
	}
	return strings.ToValidUTF8(text[:maxCause], "") + "…"
}

// Head returns the record without what only one who looks at this run wants.
func (r Record) Head() Record {
	r.Tasks, r.Log, r.Usual, r.Variables = nil, nil, nil, nil
	return r
}

// Took returns how long a run went on that has ended; 0: none of it began.
func (r Record) Took() time.Duration {
	if r.Began.IsZero() || r.Ended.IsZero() {
		return 0
	}
	return max(0, r.Ended.Sub(r.Began))
}

// Tells returns which of the tasks says most of how the run ended, by its index; below 0: none. It is the last that
// began of those that ended as the run did.
func (r Record) Tells(tasks []fleet.Task) int {
	best := -1
	fits := func(i int) bool {
		if r.State == Failed { // what was ended for that did not fail
			return hasFailed(tasks[i])
		}
		return (tasks[i].State == fleet.TaskComplete) == (r.State == Done)
	}
	for i, t := range tasks {
		switch {
		case t.Container == "" || t.Lost != "":
		case best < 0, fits(i) && !fits(best), fits(i) == fits(best) && t.Created.After(tasks[best].Created):
			best = i
		}
	}
	return best
}
