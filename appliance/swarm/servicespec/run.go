package servicespec

import (
	"cmp"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// Run is the service of one run.
type Run struct {
	runs.Spec
	Variables map[string]string // that it is given beside those of its arguments
	// Entry and Program are the image's own entrypoint and command, for what neither the service nor the run says.
	Entry, Program []string
}

// ErrNoProgram is returned where arguments are to go behind a command that nobody knows.
var ErrNoProgram = errors.New("what the image runs is not known, so that arguments have no place in it; give the " +
	"command too, behind --")

// Apply makes of a service the one of the run. It keeps networks, mounts, secrets, configs, variables, resources, the
// log and where tasks may be.
func (r Run) Apply(s *swarm.ServiceSpec) error {
	c := s.TaskTemplate.ContainerSpec
	if c == nil {
		return errNoContainer(s.Name)
	}
	label, err := r.Label()
	if err != nil {
		return err
	}
	s.Name = r.ID
	s.Labels = maps.Clone(s.Labels)
	maps.DeleteFunc(s.Labels, func(name, _ string) bool { return strings.HasPrefix(name, "crawlbox.") })
	setLabel(s, fleet.LabelRun, label)
	replicas := uint64(r.Replicas)
	s.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}
	s.UpdateConfig, s.RollbackConfig, s.EndpointSpec = nil, nil, nil // its ports are its service's
	s.TaskTemplate.ForceUpdate = 0
	c.Image = cmp.Or(r.Pinned(), c.Image)
	entry := c.Command
	switch {
	case r.Command != nil:
		c.Args = r.Command
	case c.Command == nil && c.Args == nil && len(r.Args) > 0:
		c.Args = r.Program
	}
	if entry == nil {
		entry = r.Entry
	}
	if len(r.Args) > 0 && len(entry)+len(c.Args) == 0 {
		return ErrNoProgram
	}
	c.Args = runs.WithArgs(entry, c.Args, r.Args)
	c.Env = withEnv(withEnv(c.Env, r.Variables), runs.Variables(r.Args))
	s.TaskTemplate.RestartPolicy = runPolicy(s.TaskTemplate.RestartPolicy, r.Retries)
	return nil
}

// runPolicy has Swarm begin tasks again that fail, or whose nodes do, so many times.
func runPolicy(was *swarm.RestartPolicy, retries int) *swarm.RestartPolicy {
	p := &swarm.RestartPolicy{
		Condition:   swarm.RestartPolicyConditionOnFailure,
		Delay:       new(defaultRestartDelay),
		MaxAttempts: new(uint64(retries)),
		Window:      new(time.Duration(0)),
	}
	if was != nil && was.Delay != nil {
		p.Delay = was.Delay
	}
	if retries == 0 { // which would be any number
		p.Condition, p.MaxAttempts = swarm.RestartPolicyConditionNone, nil
	}
	return p
}

// RestartRun brings the service of a run to a version for which Swarm begins its tasks again, once for each of times.
func RestartRun(s *swarm.ServiceSpec, times int) {
	if s.Labels[fleet.LabelRunStop] == "" {
		s.TaskTemplate.ForceUpdate = max(s.TaskTemplate.ForceUpdate, uint64(times))
	}
}

// nowhere is a rule that no node meets.
const nowhere = "node.id==none"

// StopRun brings the service of a run to a version that fits on no node, and says in the label by whom. Swarm ends the
// tasks for that with their grace time, all at once, and goes on to know what became of them: it forgets those of a
// service that has fewer replicas.
func StopRun(s *swarm.ServiceSpec, label string) {
	if s.Labels[fleet.LabelRunStop] != "" {
		return
	}
	setLabel(s, fleet.LabelRunStop, label)
	p := valueOf(s.TaskTemplate.Placement)
	p.Constraints = append(append([]string{}, p.Constraints...), nowhere)
	s.TaskTemplate.Placement = &p
	s.UpdateConfig = &swarm.UpdateConfig{
		Parallelism:   0,
		FailureAction: swarm.UpdateFailureActionContinue,
		Order:         swarm.UpdateOrderStopFirst,
	}
}
