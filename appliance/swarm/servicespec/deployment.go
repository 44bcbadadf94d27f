package servicespec

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// UpdatePolicy is how a service is brought to another version. What is zero, but
// Parallelism, stays as the service has it.
type UpdatePolicy struct {
	Parallelism  uint64        // replicas that are replaced at once; 0: all
	Delay        time.Duration // between two lots of them
	Monitor      time.Duration // for how long a new task is watched; 5 s where nobody says
	FailureRatio float32       // of tasks that may fail; beyond it, the old version comes back
	StartFirst   bool          // the new task runs before the old one is stopped
}

// Deployment holds what a deploy changes of a service. What is nil or empty stays as
// it is.
type Deployment struct {
	Image       string // pinned by digest
	Replicas    *int
	Env         map[string]string // a value replaces that of the same name
	CPUs        *int64            // limit, in billionths of a processor
	Memory      *int64            // limit, in bytes
	MaxPerNode  *uint64
	Constraints []string         // replace those there are
	Avoid       []string         // nodes, by ID, that the tasks are kept off for now; see Avoid
	Platforms   []fleet.Platform // that the image was made for; none: any
	// Mark is kept in the service's label fleet.LabelDeploy.
	Mark   string
	Update UpdatePolicy
	// Spec is the whole service as it was once, to go back to; nil: only what is said
	// above changes. The number of replicas stays in any case.
	Spec json.RawMessage
	// Definition is the whole service as the config file has it; of what is said above
	// only Image, Replicas and the parallelism then count. KeepReplicas leaves the
	// number of replicas as it is.
	Definition   *compose.Service
	KeepReplicas bool
	Restart      bool // replace the tasks even if nothing else changes
	// Watched says that the caller itself goes back to the old version: Swarm takes
	// a task that ends well for one that failed. See tolerateEnd.
	Watched bool
	// Queue is told to the service; nil: what it knows of the queue stays. See TellQueue.
	Queue *Queue
	// OnHost says that the tasks are on HostNetwork, by whatever the service calls it.
	OnHost bool
}

// New returns a service of a deployment, with what services of the config file get
// that say nothing else.
func New(name string) (swarm.ServiceSpec, error) {
	spec, err := FromConfig(compose.Service{Name: name, Compose: types.ServiceConfig{Name: name}})
	spec.Labels = nil // they say that it is the config file's
	return spec, err
}

// Apply changes a service to what the deployment says. One that was stopped and starts again
// gets other tasks: Swarm leaves alone what had completed before it was stopped.
func (d Deployment) Apply(s *swarm.ServiceSpec) error {
	stopped, had := hasNoReplicas(s), replicasOf(s)
	apply := d.change
	if d.Definition != nil {
		apply = d.define
	}
	if err := apply(s); err != nil {
		return err
	}
	if stopped && !hasNoReplicas(s) {
		s.TaskTemplate.ForceUpdate++
	}
	if replicasOf(s) != had { // a queue is followed from there on
		delete(s.Labels, fleet.LabelAutoscaled)
	}
	Avoid(s, d.Avoid)
	return nil
}

func hasNoReplicas(s *swarm.ServiceSpec) bool { return s.Mode.Replicated != nil && replicasOf(s) == 0 }

// replicasOf returns how many a service is to have; 1 where nobody says.
func replicasOf(s *swarm.ServiceSpec) uint64 {
	if r := s.Mode.Replicated; r != nil && r.Replicas != nil {
		return *r.Replicas
	}
	return 1
}

// change makes a service another one in what the deployment names.
func (d Deployment) change(s *swarm.ServiceSpec) error {
	if err := d.restore(s); err != nil {
		return err
	}
	if s.TaskTemplate.ContainerSpec == nil {
		return errNoContainer(s.Name)
	}
	if d.Spec == nil { // otherwise it is as it was
		speedUp(s)
	}
	c := s.TaskTemplate.ContainerSpec
	if c.Image != d.Image {
		setPlatforms(&s.TaskTemplate, d.Platforms)
	}
	c.Image = d.Image
	c.Env = withEnv(c.Env, d.Env)
	withInit(c)
	if d.Restart {
		s.TaskTemplate.ForceUpdate++
	}
	d.limit(&s.TaskTemplate)
	d.place(&s.TaskTemplate)
	s.UpdateConfig = d.Update.over(s.UpdateConfig)
	if s.UpdateConfig.FailureAction != swarm.UpdateFailureActionPause { // which is a choice of somebody
		s.UpdateConfig.FailureAction = swarm.UpdateFailureActionRollback
	}
	if d.Watched {
		s.UpdateConfig.FailureAction = swarm.UpdateFailureActionContinue
	}
	s.RollbackConfig = d.Update.over(s.RollbackConfig)
	s.RollbackConfig.FailureAction = swarm.UpdateFailureActionPause
	setPending(s, "")
	if d.Mark != "" {
		setLabel(s, fleet.LabelDeploy, d.Mark)
	}
	return setReplicas(s, d.Replicas)
}

func (d Deployment) limit(t *swarm.TaskSpec) {
	if d.CPUs == nil && d.Memory == nil {
		return
	}
	r := valueOf(t.Resources)
	l := valueOf(r.Limits)
	if d.CPUs != nil {
		l.NanoCPUs = *d.CPUs
	}
	if d.Memory != nil {
		l.MemoryBytes = *d.Memory
	}
	r.Limits, t.Resources = &l, &r
}

// Needs returns what a service of the deployment wants of its nodes that wants so much now. Of one as
// it was once, only the constraints are known.
func (d Deployment) Needs(now fleet.Needs) fleet.Needs {
	n := fleet.Needs{Constraints: now.Constraints, Platforms: d.Platforms}
	switch {
	case d.Definition != nil:
		deploy := valueOf(d.Definition.Compose.Deploy)
		n.MaxPerNode = int(deploy.Placement.MaxReplicas)
		n.Resources = Resources(swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{Resources: resources(deploy.Resources)}})
	case d.Spec == nil:
		n.MaxPerNode, n.Resources = now.MaxPerNode, now.Resources
	}
	if d.Constraints != nil {
		n.Constraints = d.Constraints
	}
	if d.MaxPerNode != nil {
		n.MaxPerNode = int(*d.MaxPerNode)
	}
	if d.CPUs != nil {
		n.LimitCPUs = float64(*d.CPUs) / 1e9
	}
	return n
}

func (d Deployment) place(t *swarm.TaskSpec) {
	if d.MaxPerNode == nil && d.Constraints == nil {
		return
	}
	p := valueOf(t.Placement)
	if d.MaxPerNode != nil {
		p.MaxReplicas = *d.MaxPerNode
	}
	if d.Constraints != nil {
		p.Constraints = slices.Clone(d.Constraints)
	}
	t.Placement = &p
}

// over returns the policy laid over what a service has.
func (p UpdatePolicy) over(have *swarm.UpdateConfig) *swarm.UpdateConfig {
	c := swarm.UpdateConfig{Monitor: DefaultMonitor, Order: swarm.UpdateOrderStopFirst}
	if have != nil {
		c = *have
	}
	c.Parallelism = p.Parallelism
	c.Delay = cmp.Or(p.Delay, c.Delay)
	c.Monitor = cmp.Or(p.Monitor, c.Monitor)
	c.MaxFailureRatio = cmp.Or(p.FailureRatio, c.MaxFailureRatio)
	if p.StartFirst {
		c.Order = swarm.UpdateOrderStartFirst
	}
	return &c
}

// restore puts a whole service back, with as many replicas as there are now.
func (d Deployment) restore(s *swarm.ServiceSpec) error {
	if d.Spec == nil {
		return nil
	}
	var old swarm.ServiceSpec
	if err := json.Unmarshal(d.Spec, &old); err != nil {
		return fmt.Errorf("read the version of service %s that is to come back: %w", s.Name, err)
	}
	old.Name, old.Mode = s.Name, s.Mode
	if before := s.Labels[fleet.LabelReplicasBefore]; before != "" {
		setLabel(&old, fleet.LabelReplicasBefore, before)
	}
	old.TaskTemplate.ForceUpdate = s.TaskTemplate.ForceUpdate
	for _, label := range autoscaleLabels { // a version is no rule, and has no number of replicas
		delete(old.Labels, label)
		if text := s.Labels[label]; text != "" {
			setLabel(&old, label, text)
		}
	}
	*s = old
	return nil
}

// withEnv replaces values by name and adds what is new, in the order of names.
func withEnv(env []string, with map[string]string) []string {
	name := func(e string) string { n, _, _ := strings.Cut(e, "="); return n }
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { _, replaced := with[name(e)]; return replaced })
	for _, n := range slices.Sorted(maps.Keys(with)) {
		env = append(env, n+"="+with[n])
	}
	return env
}

// define makes a service what its definition says.
func (d Deployment) define(s *swarm.ServiceSpec) error {
	spec, err := FromConfig(*d.Definition)
	if err != nil {
		return err
	}
	if c := s.TaskTemplate.ContainerSpec; c == nil || c.Image != d.Image {
		setPlatforms(&spec.TaskTemplate, d.Platforms)
	} else if p := s.TaskTemplate.Placement; p != nil {
		keepPlatforms(&spec.TaskTemplate, p.Platforms)
	}
	spec.TaskTemplate.ContainerSpec.Image = d.Image
	spec.TaskTemplate.ForceUpdate = s.TaskTemplate.ForceUpdate
	if d.Restart {
		spec.TaskTemplate.ForceUpdate++
	}
	if spec.UpdateConfig != nil {
		if spec.RollbackConfig.Parallelism == spec.UpdateConfig.Parallelism {
			spec.RollbackConfig.Parallelism = d.Update.Parallelism
		}
		spec.UpdateConfig.Parallelism = d.Update.Parallelism
		if d.Watched {
			spec.UpdateConfig.FailureAction = swarm.UpdateFailureActionContinue
		}
	}
	if d.KeepReplicas && s.Mode.Replicated != nil && spec.Mode.Replicated != nil {
		spec.Mode = s.Mode
	}
	if told := s.Labels[fleet.LabelQueue]; told != "" {
		setLabel(&spec, fleet.LabelQueue, told)
	}
	keepAutoscale(&spec, *s)
	*s = spec
	if d.Mark != "" {
		setLabel(s, fleet.LabelDeploy, d.Mark)
	}
	return setReplicas(s, d.Replicas)
}

func keepPlatforms(t *swarm.TaskSpec, platforms []swarm.Platform) {
	if len(platforms) == 0 {
		return
	}
	p := valueOf(t.Placement)
	p.Platforms = platforms
	t.Placement = &p
}

// DefinedPolicy returns how a service of the config file is brought to another version.
// Its parallelism is for as many replicas as are defined; said reports whether the
// definition itself says it.
func DefinedPolicy(svc compose.Service) (p UpdatePolicy, said bool) {
	u := valueOf(svc.Compose.Deploy).UpdateConfig
	c := updateConfig(svc, u)
	p = UpdatePolicy{
		Parallelism:  c.Parallelism,
		Delay:        c.Delay,
		Monitor:      c.Monitor,
		FailureRatio: c.MaxFailureRatio,
		StartFirst:   c.Order == swarm.UpdateOrderStartFirst,
	}
	return p, u != nil && u.Parallelism != nil
}

// setPlatforms has Swarm place tasks where their image runs. It compares a node's
// armv7l with an image's arm, and finds no match: that architecture is left open.
func setPlatforms(t *swarm.TaskSpec, platforms []fleet.Platform) {
	p := valueOf(t.Placement)
	p.Platforms = nil
	for _, known := range platforms {
		have := swarm.Platform{OS: known.OS, Architecture: known.Arch}
		if strings.EqualFold(known.Arch, "arm") {
			have.Architecture = ""
		}
		if !slices.Contains(p.Platforms, have) {
			p.Platforms = append(p.Platforms, have)
		}
	}
	if t.Placement != nil || p.Platforms != nil {
		t.Placement = &p
	}
}
