package deploy

import (
	"fmt"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Definition is a service as the config file wants it.
type Definition struct {
	Name     string
	Hash     string // changes with the definition
	Replicas int    // -1 for a service that is not replicated
}

// Action is what a step does with a service.
type Action string

// Actions of a plan.
const (
	Create  Action = "create"
	Replace Action = "replace"
	Remove  Action = "remove"
	Report  Action = "report" // left the file and is kept
	Wait    Action = "wait"   // an update of it is under way
	Refuse  Action = "refuse" // has the name of a service that somebody else made
)

// Step is one step of a plan.
type Step struct {
	Action       Action
	Service      string
	ID           string // of the service there is; empty for Create
	KeepReplicas bool   // of the service there is
	Why          string
}

func (s Step) String() string { return fmt.Sprintf("%s %s: %s", s.Action, s.Service, s.Why) }

// Plan says what brings the services of a snapshot to the definitions. A
// service whose definition did not change is left alone, whatever a person did
// with it since. One whose definition changed keeps the number of replicas it
// was scaled to, unless that number changed in the definition.
func Plan(s fleet.Snapshot, defs []Definition, prune bool) []Step {
	var steps []Step
	defined := map[string]bool{}
	for _, d := range defs {
		defined[d.Name] = true
		svc, there := s.Service(d.Name)
		if step, needed := stepFor(d, svc, there); needed {
			steps = append(steps, step)
		}
	}
	for _, svc := range s.Services {
		if svc.Managed && !defined[svc.Name] {
			steps = append(steps, departed(svc, prune))
		}
	}
	return steps
}

func stepFor(d Definition, svc fleet.Service, there bool) (Step, bool) {
	switch {
	case !there:
		return Step{Action: Create, Service: d.Name, Why: "new in the config"}, true
	case !svc.Managed:
		return Step{Action: Refuse, Service: d.Name, ID: svc.ID,
			Why: fmt.Sprintf("a service of this name exists that is not from the config; remove it with `crawlbox rm %s` or rename the one in the config", d.Name)}, true
	case svc.Hash != d.Hash && svc.Pending != "":
		return Step{Action: Wait, Service: d.Name, ID: svc.ID, Why: "its definition changed while an update is under way"}, true
	case svc.Hash != d.Hash:
		return Step{Action: Replace, Service: d.Name, ID: svc.ID, KeepReplicas: KeepReplicas(svc, d.Replicas), Why: "its definition changed"}, true
	}
	return Step{}, false
}

// KeepReplicas says whether a service keeps the number of replicas it was scaled to,
// as it does unless its definition names another one than before.
func KeepReplicas(svc fleet.Service, defined int) bool { return svc.Replicas == defined }

func departed(svc fleet.Service, prune bool) Step {
	if prune {
		return Step{Action: Remove, Service: svc.Name, ID: svc.ID, Why: "it left the config and prune is on"}
	}
	return Step{Action: Report, Service: svc.Name, ID: svc.ID,
		Why: fmt.Sprintf("it left the config and runs on; remove it with `crawlbox rm %s`, or set prune: true", svc.Name)}
}
