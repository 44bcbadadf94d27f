package services

import (
	"fmt"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// action says what a step does with a service.
type action string

// Actions of steps.
const (
	create  action = "create"
	replace action = "replace"
	remove  action = "remove"
	report  action = "report" // left the file and is kept
	wait    action = "wait"   // an update of it is under way
	refuse  action = "refuse" // has the name of a service that somebody else made
	away    action = "away"   // was removed by a person
	keep    action = "keep"   // is as it is defined
)

// step holds what there is to do about a service.
type step struct {
	action       action
	service      string
	definition   compose.Service // zero for one that is not in the file
	now          *fleet.Service  // the one that there is; nil for create
	keepReplicas bool            // of that
	why          string
}

// seen holds what there is, and what the config file wants.
type seen struct {
	snapshot fleet.Snapshot
	config   configs.Config
	removed  map[string]removal // services that were removed by hand as they are defined now
}

// decide returns what brings the services of a snapshot to the definitions. A
// service whose definition did not change is left alone, whatever a person did
// with it since. One whose definition changed keeps the number of replicas it
// was scaled to, unless that number changed in the definition.
func decide(s seen) []step {
	var steps []step
	defined := map[string]bool{}
	for _, d := range s.config.Services {
		defined[d.Name] = true
		now := serviceOf(s.snapshot, d.Name)
		if was, there := s.removed[d.Name]; there && now == nil {
			steps = append(steps, stepForAway(d, was))
			continue
		}
		steps = append(steps, stepFor(d, now))
	}
	for _, svc := range s.snapshot.Services {
		if svc.Managed && !defined[svc.Name] {
			steps = append(steps, stepForRemoved(svc, s.config.Prune))
		}
	}
	return steps
}

func serviceOf(s fleet.Snapshot, name string) *fleet.Service {
	if svc, there := s.Service(name); there {
		return &svc
	}
	return nil
}

func stepFor(d compose.Service, now *fleet.Service) step {
	s := step{service: d.Name, definition: d, now: now}
	switch {
	case now == nil:
		s.action, s.why = create, "new in the config"
	case !now.Managed:
		s.action = refuse
		s.why = refusal(*now)
	case now.Hash == d.Hash:
		s.action, s.why = keep, "it is as it is defined"
	case now.Pending != "":
		s.action, s.why = wait, "its definition changed while an update is under way"
	default:
		s.action, s.why, s.keepReplicas = replace, "its definition changed", keepsReplicas(*now, d)
	}
	return s
}

// keepsReplicas reports whether a service keeps the number of replicas it was scaled to,
// as it does unless its definition names another one than before.
func keepsReplicas(svc fleet.Service, d compose.Service) bool { return svc.Replicas == d.Replicas() }

// refusal says why a service is not what the config file says that was made otherwise.
func refusal(now fleet.Service) string {
	if now.Deploy == "" {
		return fmt.Sprintf("crawlbox.yaml defines it, but one of this name runs that crawlbox did not make; rename "+
			"the one in the file, or remove the other with `crawlbox rm %s`", now.Name)
	}
	return fmt.Sprintf("crawlbox.yaml defines it, but it was deployed otherwise before, and stays so; `crawlbox "+
		"deploy %s` makes it what the file says", now.Name)
}

func stepForAway(d compose.Service, was removal) step {
	by := ""
	if was.By != "" {
		by = " by " + was.By
	}
	return step{action: away, service: d.Name, definition: d, why: fmt.Sprintf(
		"crawlbox.yaml defines it, but it was removed%s on %s, and stays away until its definition changes; take it "+
			"out of the file, or bring it back with `crawlbox deploy %s`",
		by, was.At.Local().Format(time.DateTime), d.Name)}
}

func stepForRemoved(svc fleet.Service, prune bool) step {
	s := step{action: report, service: svc.Name, now: &svc}
	if prune {
		s.action, s.why = remove, "it left the config and prune is on"
	} else {
		s.why = fmt.Sprintf("it is no longer in crawlbox.yaml and runs on; put it back there, set prune: true, or "+
			"remove it with `crawlbox rm %s`", svc.Name)
	}
	return s
}
