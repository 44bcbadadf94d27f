package tasklog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// Task is a task whose log is read.
type Task struct {
	fleet.Task
	Away string // what its node is instead of ready, such as down; empty: it is ready
}

// View says what of the logs of tasks is shown, and how.
type View struct {
	// Tasks returns those whose logs are read. It is asked again while they are followed.
	Tasks func(ctx context.Context) ([]Task, error)

	Follow bool      // until ctx ends
	Tail   int       // the last lines of each task; negative: all
	Since  time.Time // zero: from the beginning

	// Show is called with each line, in the order of time as far as that is known, and Note
	// with sentences on what is missing. One goroutine calls them, and their errors end the
	// view.
	Show func(Task, Line) error
	Note func(text string) error
}

const (
	// maxTasks bounds the logs that are read at a time.
	maxTasks = 512
	// maxLast bounds the last lines that are kept of all tasks together, in bytes.
	maxLast = 64 << 20
)

// Run shows the logs to their ends or, if they are followed, until ctx ends.
func (v View) Run(ctx context.Context, e Engine) error {
	tasks, err := v.Tasks(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reading{View: v, engine: e}
	defer r.running.Wait()
	defer cancel()
	sources := r.sources(tasks)
	if err := r.noteAway(tasks); err != nil {
		return err
	}
	if err := r.history(ctx, sources); err != nil || !v.Follow {
		return err
	}
	return r.follow(ctx, sources)
}

// reading is one run of a view.
type reading struct {
	View
	engine  Engine
	running sync.WaitGroup
	away    []string // nodes of which it was said
	full    bool     // it was said that there are too many tasks
}

// source is the log of a task.
type source struct {
	Task
	log   *taskLog
	lines chan Line // while its history is read

	// Once lines is closed:
	cut bool // fewer lines than were asked for
	err error
}

// sources returns the logs of tasks that have one and can be asked for it.
func (r *reading) sources(tasks []Task) (list []*source) {
	for _, t := range tasks {
		if t.Container != "" && t.Away == "" {
			list = append(list, r.source(t))
		}
	}
	return list[:min(len(list), maxTasks)]
}

func (r *reading) source(t Task) *source {
	return &source{Task: t, log: newTaskLog(r.engine, t.ID, r.Follow), lines: make(chan Line)}
}

// noteAway says once of a node that what its tasks wrote is missing.
func (r *reading) noteAway(tasks []Task) error {
	var now []string
	logs := 0
	for _, t := range tasks {
		if t.Container == "" {
			continue
		}
		logs++
		if t.Away == "" || slices.Contains(now, t.Node) {
			continue
		}
		now = append(now, t.Node)
		if slices.Contains(r.away, t.Node) {
			continue
		}
		text := fmt.Sprintf("node %s is %s: what its tasks wrote is missing", t.Node, t.Away)
		if r.Follow {
			text += " until it is back"
		}
		if err := r.Note(text); err != nil {
			return err
		}
	}
	r.away = now
	if logs > maxTasks && !r.full {
		r.full = true
		return r.Note(fmt.Sprintf("%d tasks have written; %d are shown: name a task, or a node with --node", logs,
			maxTasks))
	}
	return nil
}

// history shows what is there.
func (r *reading) history(ctx context.Context, sources []*source) error {
	most := max(MaxLine, maxLast/max(1, len(sources)))
	for _, s := range sources {
		r.running.Go(func() { s.read(ctx, r.View, most) })
	}
	if err := r.merge(sources); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.noteMissing(sources)
}

// read sends the lines that are there.
func (s *source) read(ctx context.Context, v View, most int) {
	defer close(s.lines)
	emit := func(line Line) error {
		select {
		case s.lines <- line:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if v.Tail >= 0 {
		s.cut, s.err = s.log.tail(ctx, v.Tail, most, v.Since, emit)
		return
	}
	s.err = s.log.read(ctx, swarm.LogOptions{Tail: -1, Since: v.Since}, emit)
}

// merge shows the lines of several logs until all have ended, always the oldest one first.
func (r *reading) merge(sources []*source) error {
	heads := make([]*Line, len(sources))
	open := make([]bool, len(sources))
	for i := range open {
		open[i] = true
	}
	for {
		oldest := -1
		for i, s := range sources {
			if heads[i] == nil && open[i] {
				var line Line
				if line, open[i] = <-s.lines; open[i] {
					heads[i] = &line
				}
			}
			if heads[i] != nil && (oldest < 0 || heads[i].Time.Before(heads[oldest].Time)) {
				oldest = i
			}
		}
		if oldest < 0 {
			return nil
		}
		if err := r.Show(sources[oldest].Task, *heads[oldest]); err != nil {
			return err
		}
		heads[oldest] = nil
	}
}

// noteMissing says which logs have not come in full, and why.
func (r *reading) noteMissing(sources []*source) error {
	var reasons []string
	tasks := map[string][]string{}
	note := func(reason string, s *source) {
		if tasks[reason] == nil {
			reasons = append(reasons, reason)
		}
		tasks[reason] = append(tasks[reason], s.place())
	}
	for _, s := range sources {
		if s.err != nil && !errors.Is(s.err, swarm.ErrNotFound) { // else it is gone
			note("has not come in full: "+s.explain(s.err), s)
		}
		if s.cut {
			note(fmt.Sprintf("has long lines: fewer than %d are shown", r.Tail), s)
		}
	}
	for _, reason := range reasons {
		if err := r.Note("the log of " + words.Some(tasks[reason], 3) + " " + reason); err != nil {
			return err
		}
	}
	return nil
}

// place names a task and its node.
func (s *source) place() string { return s.Name() + "@" + s.Node }

// explain returns an error in plain words, with names where Docker has IDs.
func (s *source) explain(err error) string {
	text := err.Error()
	for id, name := range map[string]string{s.ID: s.Name(), s.NodeID: s.Node, s.ServiceID: s.Service} {
		if id != "" {
			text = strings.ReplaceAll(text, id, name)
		}
	}
	text = words.Docker(text)
	if _, why, ok := strings.Cut(text, "could not be retrieved for the following reasons: "); ok {
		return why
	}
	return text
}
