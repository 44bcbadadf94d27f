package swarm

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
)

// define makes a service what its definition says.
func (d Deployment) define(s *swarm.ServiceSpec) error {
	spec, err := ServiceSpec(*d.Definition)
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
	p := swarm.Placement{}
	if t.Placement != nil {
		p = *t.Placement
	}
	p.Platforms = platforms
	t.Placement = &p
}

// DefinedPolicy is how a service of the config file is brought to another version.
// Its parallelism is for as many replicas as are defined; said tells whether the
// definition itself says it.
func DefinedPolicy(svc configs.Service) (p UpdatePolicy, said bool) {
	u := deployOf(svc).UpdateConfig
	c := updateConfig(svc, u)
	p = UpdatePolicy{Parallelism: c.Parallelism, Delay: c.Delay, Monitor: c.Monitor, FailureRatio: c.MaxFailureRatio,
		StartFirst: c.Order == swarm.UpdateOrderStartFirst}
	return p, u != nil && u.Parallelism != nil
}

// resolveNetworks names networks by their ID, as Swarm does, so that a service as it
// is asked for compares with one as it is. What Swarm does not know it will refuse.
func (e *Engine) resolveNetworks(ctx context.Context, s *swarm.ServiceSpec) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for i, a := range s.TaskTemplate.Networks {
		if n, err := e.cli.NetworkInspect(ctx, a.Target, network.InspectOptions{Scope: "swarm"}); err == nil {
			s.TaskTemplate.Networks[i].Target = n.ID
		}
	}
}
