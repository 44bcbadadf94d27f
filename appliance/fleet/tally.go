package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Slot groups the tasks of one service that followed each other in one place:
// the same slot number, or for a global service the same node. Newest first.
type Slot []Task

// Newest returns the task that stands for the slot now.
func (s Slot) Newest() Task { return s[0] }

// Slots groups the tasks of one service, by slot number and then by node.
func Slots(tasks []Task) []Slot {
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b Task) int { return cmp.Or(byPlace(a, b), byAge(a, b)) })
	var slots []Slot
	for i, t := range tasks {
		if i == 0 || byPlace(tasks[i-1], t) != 0 {
			slots = append(slots, nil)
		}
		slots[len(slots)-1] = append(slots[len(slots)-1], t)
	}
	return slots
}

// byPlace orders tasks by slot number and, of a global service, by node.
func byPlace(a, b Task) int {
	if a.Slot != b.Slot || a.Slot > 0 {
		return cmp.Compare(a.Slot, b.Slot)
	}
	return strings.Compare(a.NodeID, b.NodeID)
}

// Finishes reports whether a task ended with exit code 0 by itself: the program is
// one that comes to an end, as a spider does when its queue is empty.
func Finishes(tasks []Task) bool {
	return slices.ContainsFunc(tasks, func(t Task) bool { return t.State == TaskComplete })
}

// byAge orders the tasks of a slot, the newest first: one that should run comes before
// one that should not, since the clocks of two managers may differ.
func byAge(a, b Task) int {
	switch aLive, bLive := a.Desired == TaskRunning, b.Desired == TaskRunning; {
	case aLive && !bLive:
		return -1
	case bLive && !aLive:
		return 1
	}
	return b.Created.Compare(a.Created)
}

// Hear takes into the snapshot what is known of the crawlbox on each node, by its ID, nil where
// that is nothing, and counts anew. What runs on a node whose engine does not answer is not
// known, also where Swarm has not noticed that yet.
func (s *Snapshot) Hear(agent func(node string) *Agent) {
	for i, n := range s.Nodes {
		s.Nodes[i].Agent = agent(n.ID)
	}
	s.Tally()
}

// findLost notes which tasks nothing is known of.
func (s *Snapshot) findLost() {
	silent := map[string]string{}
	for _, n := range s.Nodes {
		silent[n.ID] = n.Silent()
	}
	for i, t := range s.Tasks {
		if s.Tasks[i].Lost = ""; !t.Ended() {
			s.Tasks[i].Lost = silent[t.NodeID]
		}
	}
}

// Tally counts into each service how its slots fare, and into each node the
// tasks that run there.
func (s *Snapshot) Tally() {
	s.findLost()
	s.findForgotten()
	byService := map[string][]Task{}
	onNode := map[string]int{}
	for _, t := range s.Tasks {
		byService[t.ServiceID] = append(byService[t.ServiceID], t)
		if t.State == TaskRunning && t.Lost == "" {
			onNode[t.NodeID]++
		}
	}
	delays := map[string]time.Duration{}
	for i := range s.Services {
		s.Services[i].tally(byService[s.Services[i].ID])
		delays[s.Services[i].ID] = s.Services[i].RestartDelay
		s.Services[i].NoNode = s.Services[i].lacksNode(s.Nodes)
	}
	waiting := waiting(byService)
	for i, t := range s.Tasks {
		if waiting[t.ID] {
			s.Tasks[i].Starts = t.Created.Add(delays[t.ServiceID])
		}
	}
	for i := range s.Nodes {
		s.Nodes[i].Running = onNode[s.Nodes[i].ID]
	}
}

func (svc *Service) tally(tasks []Task) {
	svc.Running, svc.Complete, svc.Failed, svc.Lost, svc.Took = 0, 0, 0, 0, 0
	live := 0
	var first, last time.Time // of the tasks that are complete
	for _, slot := range Slots(tasks) {
		switch t := slot.Newest(); {
		case t.State == TaskRunning && t.Desired == TaskRunning && t.Lost != "":
			svc.Lost++
			live++
		case t.State == TaskRunning && t.Desired == TaskRunning:
			svc.Running++
			live++
		case t.State == TaskComplete:
			svc.Complete++
			live++
			if first.IsZero() || t.Created.Before(first) {
				first = t.Created
			}
			if t.Since.After(last) {
				last = t.Since
			}
		case t.Desired == TaskShutdown || t.Desired == TaskRemove:
			// scaled away
			if t.State == TaskFailed || t.State == TaskRejected {
				svc.Failed++
			}
		default:
			live++
			if len(slot) > 1 && slot[1].Error != "" {
				svc.Failed++
			}
		}
	}
	if svc.Mode == ModeGlobal {
		svc.Desired = live
	}
	// Slots that were scaled away keep their last task for a while.
	svc.Complete = min(svc.Complete, max(0, svc.Desired-svc.Running))
	if svc.Complete > 0 && svc.Complete == svc.Desired {
		svc.Took = max(0, last.Sub(first))
	}
}

// lacksNode reports whether the service has fewer tasks than it should have since no node takes one.
func (svc Service) lacksNode(nodes []Node) bool {
	short := !svc.Converged() || svc.Mode == ModeGlobal && svc.Running == 0
	return short && len(Eligible(nodes, svc.Needs()).May) == 0
}

// waiting returns the tasks, by ID, that Swarm has made in the place of others that ended by
// themselves, and starts after a delay. One in the place of another that is replaced waits
// for the end of that.
func waiting(byService map[string][]Task) map[string]bool {
	ids := map[string]bool{}
	for _, tasks := range byService {
		for _, slot := range Slots(tasks) {
			if len(slot) > 1 && slot[0].Desired == TaskReady && slot[1].Ended() && slot[1].State != TaskShutdown {
				ids[slot[0].ID] = true
			}
		}
	}
	return ids
}

// Converged reports whether the service has all the tasks that it should have.
func (svc Service) Converged() bool { return svc.Running+svc.Complete >= svc.Desired }
