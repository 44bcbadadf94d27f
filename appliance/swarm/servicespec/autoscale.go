package servicespec

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// The rule by which the replicas of a service follow a queue stands in its labels, which are no part of its tasks: to
// change them replaces none. Whoever scales the service otherwise pauses the rule, in the same change.

// rule is the content of fleet.LabelAutoscale.
type rule struct {
	scalerule.Rule
	Defined bool `json:"defined,omitempty"` // by the config file
}

// Autoscale returns how the replicas of a service follow a queue; nil: they do not. What can't be read is no rule.
func Autoscale(s swarm.ServiceSpec) *fleet.Autoscale {
	var r rule
	if text := s.Labels[fleet.LabelAutoscale]; text == "" || json.Unmarshal([]byte(text), &r) != nil {
		return nil
	}
	if _, reason := r.Check(); reason != "" || s.Mode.Replicated == nil {
		return nil
	}
	a := &fleet.Autoscale{Rule: r.Rule, Defined: r.Defined, Set: -1, Paused: s.Labels[fleet.LabelAutoscalePaused]}
	digits, why, _ := strings.Cut(s.Labels[fleet.LabelAutoscaled], " ")
	if n, err := strconv.Atoi(digits); err == nil {
		a.Set, a.Why = n, why
	}
	return a
}

// SetAutoscale has the replicas of a service follow a rule, paused by nobody; nil takes the rule away.
func SetAutoscale(s *swarm.ServiceSpec, r *scalerule.Rule, defined bool) error {
	for _, label := range autoscaleLabels {
		delete(s.Labels, label)
	}
	if r == nil {
		return nil
	}
	if s.Mode.Replicated == nil {
		return fmt.Errorf("service %s is not replicated, and can't be scaled", s.Name)
	}
	text, err := json.Marshal(rule{*r, defined})
	if err != nil {
		return err
	}
	setLabel(s, fleet.LabelAutoscale, string(text))
	return nil
}

var autoscaleLabels = []string{fleet.LabelAutoscale, fleet.LabelAutoscaled, fleet.LabelAutoscalePaused}

// PauseAutoscale has a person say how many replicas a service has that follows a queue, from now on; an empty reason
// has it follow the queue again, from as many replicas as there are.
func PauseAutoscale(s *swarm.ServiceSpec, why string) {
	delete(s.Labels, fleet.LabelAutoscalePaused)
	switch {
	case s.Labels[fleet.LabelAutoscale] == "":
	case why == "":
		delete(s.Labels, fleet.LabelAutoscaled)
	default:
		setLabel(s, fleet.LabelAutoscalePaused, why)
	}
}

// keepAutoscale keeps for a service that becomes another what the one that it was has of a rule, unless its definition
// has one of its own, or had.
func keepAutoscale(s *swarm.ServiceSpec, was swarm.ServiceSpec) {
	is := Autoscale(was)
	if is == nil {
		return
	}
	if s.Labels[fleet.LabelAutoscale] == "" {
		if is.Defined {
			return
		}
		setLabel(s, fleet.LabelAutoscale, was.Labels[fleet.LabelAutoscale])
	}
	for _, label := range []string{fleet.LabelAutoscaled, fleet.LabelAutoscalePaused} {
		if text := was.Labels[label]; text != "" {
			setLabel(s, label, text)
		}
	}
}

// Autoscaled is a number of replicas that a rule leads to.
type Autoscaled struct {
	Replicas int
	Again    bool // start also those that have ended
	Why      string
}

// Apply gives a service that number of replicas.
func (a Autoscaled) Apply(s *swarm.ServiceSpec) error {
	if Autoscale(*s) == nil || s.Labels[fleet.LabelAutoscalePaused] != "" {
		return fmt.Errorf("service %s no longer follows a queue", s.Name)
	}
	apply := scale
	if a.Again {
		apply = start
	}
	if err := apply(s, a.Replicas); err != nil {
		return err
	}
	setLabel(s, fleet.LabelAutoscaled, fmt.Sprintf("%d %s", a.Replicas, a.Why))
	return nil
}
