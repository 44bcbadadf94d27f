package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Goal holds what a change of a service wants to see.
type Goal struct {
	Desired int    // replicas; negative: as many as the service asks for
	Digest  string // of the image that they should run; empty: whatever the service says

	// Before holds the tasks that had ended when the change began: their
	// failures are not its own. What had completed counts as done: Swarm leaves
	// such a slot as it is when the number of replicas changes.
	Before map[string]bool
	Former former // the version to which it goes back

	// Old holds the tasks that ran when the change began, where all of them are replaced.
	Old   map[string]bool
	Fresh bool // what is Old counts for nothing, as there is no way back to it

	Hold     time.Duration // for how long all must be as wanted before it counts
	Limit    int           // so many failed tasks end the change; 0: any number may fail
	BySwarm  bool          // Swarm counts them, and goes back by itself
	Replaced bool          // Swarm replaces tasks, a moment after it took the change
	Monitor  time.Duration // Hold, after failures that did not end it
	Outages  []fleet.Outage

	Start    time.Duration // a task may take until it is healthy; 0: any
	Quiet    time.Duration // nothing may move for so long, beyond what is usual
	Patience time.Duration // the engine may be away for so long
}

// state holds how much of a change has come true, and what decides whether it goes on.
type state struct {
	Progress
	starting int // replicas that are not healthy yet
	lost     int // containers that have to go, on nodes that Swarm does not hear from
	lostOn   []string
	failures int    // tasks that failed since the change began
	excused  int    // tasks that an outage excuses
	away     bool   // the last failure is one of them
	lastErr  string // what the last of them said
	lastNode string // and where
	lastTask string // its ID
	done     bool

	// of Running and Complete, those that are as before: they have the image that is wanted
	oldRunning, oldComplete int
}

// progress returns what clients are told of the state.
func (s state) progress(stage history.Stage) Progress {
	s.Stage, s.Note = stage, s.lastErr
	s.Running -= s.oldRunning
	s.Complete -= s.oldComplete
	switch ends := stage == history.StageStop || stage == history.StageRemove; {
	case s.lastErr != "" && !ends: // what ends may fail
		s.Note = on(s.lastErr, s.lastNode)
		if s.away {
			s.Note += whileAway
		}
	case s.lost > 0:
		s.Note = fmt.Sprintf("Swarm does not hear from %s; it ends %s there when it does", strings.Join(s.lostOn, ", "),
			words.Count(s.lost, "task"))
	case ends:
		s.Note = ""
	}
	return s.Progress
}

// assess compares a service and all its tasks with a goal. A nil service is one
// that was removed.
func assess(svc *fleet.Service, nodes []fleet.Node, tasks []fleet.Task, g Goal) state {
	var p state
	down := unreachable(nodes)
	wanted := 0 // slots that Swarm wants to run now
	for _, slot := range fleet.Slots(tasks) {
		if slot.Newest().Desired == fleet.TaskRunning {
			wanted++
			if slot.Newest().State == fleet.TaskStarting {
				p.starting++
			}
		}
		if svc != nil {
			p.countGood(slot.Newest(), *svc, g)
		}
		p.countLeaving(slot, down, svc == nil)
	}
	p.Desired = desired(svc, g, wanted)
	p.countFailures(tasks, nodes, g)
	// Swarm marks the tasks of a change a moment after it took the change:
	// as long as it wants more than is desired, it has not begun.
	p.done = p.Running >= p.Desired && wanted <= p.Desired && p.Stopping == 0 && !updating(svc)
	return p
}

// countGood counts the task of a slot that is as wanted, or runs as before.
func (s *state) countGood(t fleet.Task, svc fleet.Service, g Goal) {
	old := g.Old[t.ID]
	if old && t.State == fleet.TaskRunning && t.Desired == fleet.TaskRunning {
		s.Old++
	}
	if !fulfils(t, svc, g) || old && g.Fresh {
		return
	}
	complete := t.State == fleet.TaskComplete
	s.Running++
	if complete {
		s.Complete++
	}
	if old {
		s.oldRunning++
	}
	if old && complete {
		s.oldComplete++
	}
}

func desired(svc *fleet.Service, g Goal, wanted int) int {
	switch {
	case g.Desired >= 0:
		return g.Desired
	case svc == nil:
		return 0
	case svc.Mode == fleet.ModeReplicated:
		return svc.Desired
	}
	return wanted
}

// fulfils reports whether a task meets the goal: it runs, or it ended well
// where nothing starts it again.
func fulfils(t fleet.Task, svc fleet.Service, g Goal) bool {
	if g.Digest != "" && t.Digest != g.Digest {
		return false
	}
	if t.State == fleet.TaskRunning {
		return t.Desired == fleet.TaskRunning
	}
	return t.State == fleet.TaskComplete && !svc.Restarts && t.Desired != fleet.TaskRemove
}

// countLeaving counts the containers of a slot that are on their way out.
func (s *state) countLeaving(slot fleet.Slot, down map[string]string, removed bool) {
	for _, t := range slot {
		if t.Ended() || t.NodeID == "" || t.Desired == fleet.TaskRunning && !removed {
			continue
		}
		// A task that is held back until the one before it is gone.
		if t.Desired == fleet.TaskReady {
			continue
		}
		if name := down[t.NodeID]; name != "" {
			s.lost++
			if !slices.Contains(s.lostOn, name) {
				s.lostOn = append(s.lostOn, name)
			}
		} else {
			s.Stopping++
		}
	}
}

func (s *state) countFailures(tasks []fleet.Task, nodes []fleet.Node, g Goal) {
	var last time.Time
	for _, t := range tasks {
		if g.Before[t.ID] || g.Old[t.ID] || t.Error == "" || t.State == fleet.TaskShutdown {
			continue
		}
		away := excused(t, g.Outages)
		switch {
		case away:
			s.excused++
		case t.State == fleet.TaskFailed || t.State == fleet.TaskRejected:
			s.failures++
		}
		if t.Since.After(last) {
			s.away = away
			last, s.lastErr, s.lastTask = t.Since, t.Error, t.ID
			s.lastNode = fleet.Snapshot{Nodes: nodes}.NodeName(t.NodeID)
		}
	}
}

// unreachable returns the nodes, by ID, that Swarm does not hear from, with their names.
func unreachable(nodes []fleet.Node) map[string]string {
	down := map[string]string{}
	for _, n := range nodes {
		if n.State != fleet.StateReady {
			down[n.ID] = cmp.Or(n.Display, n.ID)
		}
	}
	return down
}

// updating reports whether Swarm still works on the service's last update.
func updating(svc *fleet.Service) bool {
	return svc != nil && (svc.Update == fleet.Updating || svc.Update == fleet.RollingBack)
}

// idsOf returns the tasks by ID.
func idsOf(tasks []fleet.Task) map[string]bool {
	ids := map[string]bool{}
	for _, t := range tasks {
		ids[t.ID] = true
	}
	return ids
}

// endedTasks returns the tasks that a change starting now has nothing to do with.
func endedTasks(tasks []fleet.Task) map[string]bool {
	ended := map[string]bool{}
	for _, t := range tasks {
		if t.Ended() {
			ended[t.ID] = true
		}
	}
	return ended
}
