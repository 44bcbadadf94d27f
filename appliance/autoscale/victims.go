package autoscale

import (
	"cmp"
	"math"
	"slices"
)

// Slot is the place of a replica.
type Slot struct {
	Number  int    // as Swarm counts
	Task    string // its name, for people
	Node    string // empty: it has none yet
	Running bool   // as far as Swarm knows
	Ended   bool   // with exit code 0, and is not started again
	Holds   bool   // an item

	Container string // its ID; empty: it has none yet
}

// Victims returns the slots that Swarm may end when so many of a service are to remain. It ends just as many as are
// too many; where several nodes have as many copies as each other, which of them is concerned is not known, and all
// that may be meant are returned. So are those that are meant once what does not run yet does.
//
// This is what swarmkit's replicated orchestrator does (manager/orchestrator/replicated/services.go, slot.go): it
// counts the slots of each node, those that run before those that do not and then by number, and ends those with the
// highest counts in the whole cluster first; before all of them what has no node yet. A test on real engines holds
// this to it.
func Victims(slots []Slot, remain int) []Slot {
	if remain < 0 || remain >= len(slots) {
		return nil
	}
	slots = slices.Clone(slots)
	slices.SortFunc(slots, func(a, b Slot) int {
		if a.Ended != b.Ended {
			return map[bool]int{true: 1, false: -1}[a.Ended]
		}
		return cmp.Compare(a.Number, b.Number)
	})
	// As if all ran: a slot that does not moves none that do but to a lower count.
	counts, onNode := make([]int, len(slots)), map[string]int{}
	for i, s := range slots {
		counts[i] = math.MaxInt // ends first
		if s.Node != "" {
			onNode[s.Node]++
			counts[i] = onNode[s.Node]
		}
	}
	lowest := slices.Sorted(slices.Values(counts))[remain]
	var may []Slot
	for i, s := range slots {
		if count := counts[i]; count >= lowest || !s.Running && onNode[s.Node] >= lowest {
			may = append(may, s)
		}
	}
	return may
}

// holding returns the first of some slots that holds an item.
func holding(slots []Slot) (Slot, bool) {
	i := slices.IndexFunc(slots, func(s Slot) bool { return s.Holds })
	if i < 0 {
		return Slot{}, false
	}
	return slots[i], true
}

// fewest returns the lowest number of slots, from a number on, that may remain without the end of one that holds an
// item; where that is all of them, also one that is in the way.
func fewest(slots []Slot, from int) (remain int, inTheWay Slot) {
	for remain = max(0, from); remain < len(slots); remain++ {
		var holds bool
		if inTheWay, holds = holding(Victims(slots, remain)); !holds {
			return remain, Slot{}
		}
	}
	return len(slots), inTheWay
}
