package upgrade

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Step says what happens to one node.
type Step struct {
	Node  fleet.Node `json:"node"`
	From  string     `json:"from,omitempty"`  // version that runs now; empty where that is not known
	Leave string     `json:"leave,omitempty"` // why the node is left alone; empty: it is upgraded
	Last  bool       `json:"last,omitempty"`  // the manager that makes the offer
}

// Answer holds what a node has said, or why it has not.
type Answer struct {
	Node  fleet.Node
	Self  bool // it is the one that asks
	State State
	Err   error
}

// TooOld is the answer for a node whose crawlbox knows nothing of upgrades; it is left alone.
const TooOld = "its crawlbox is too old to be upgraded from here; run `crawlbox install` of the new one there"

// Plan says what is to be done to which node, in order: first the workers, then other
// managers, and last the one that offers.
func Plan(answers []Answer, o Offer) (steps []Step) {
	for _, a := range answers {
		s := Step{Node: a.Node, From: a.State.Version, Last: a.Self}
		switch {
		case a.Err != nil:
			s.Leave = a.Err.Error()
		case a.State.SHA256 == o.SHA256 && a.State.Journal.ended():
			s.Leave = "it has that version already"
		case a.State.Arch != o.Arch:
			s.Leave = "it is " + a.State.Arch + ", the program is for " + o.Arch +
				"; run `crawlbox install` of another one there"
		case !a.State.Managed:
			s.Leave = ErrUnmanaged.Error()
		}
		steps = append(steps, s)
	}
	slices.SortStableFunc(steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Node.Display, b.Node.Display))
	})
	return steps
}

// Refuse returns why a program is not for a cluster, of which it knows nothing: one in which several managers have the
// state. It would go on from what the first one had, and what the others let in would be lost.
func Refuse(steps []Step, o Offer) error {
	managers := 0
	for _, s := range steps {
		if s.Node.Role == fleet.RoleManager {
			managers++
		}
	}
	if o.State >= StateFormat || managers < 2 {
		return nil
	}
	return fmt.Errorf("version %s keeps the cluster's state on one manager alone, and %d have it here, so nothing was "+
		"changed: to go back to that, demote all but the first one with `crawlbox node demote`", o.Version, managers)
}

func rank(s Step) int {
	switch {
	case s.Last:
		return 2
	case s.Node.Role == fleet.RoleManager:
		return 1
	}
	return 0
}
