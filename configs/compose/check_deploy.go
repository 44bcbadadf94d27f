package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/configs/document"
)

// The modes of deploy.mode.
const (
	ModeReplicated    = "replicated"
	ModeGlobal        = "global"
	ModeReplicatedJob = "replicated-job"
	ModeGlobalJob     = "global-job"
)

// Mode returns deploy.mode; replicated when the definition does not say.
func (s Service) Mode() string {
	if s.Compose.Deploy == nil || s.Compose.Deploy.Mode == "" {
		return ModeReplicated
	}
	return s.Compose.Deploy.Mode
}

// IsJob reports whether the tasks run once and are done.
func (s Service) IsJob() bool { return strings.HasSuffix(s.Mode(), "-job") }

// HasFailureAction reports whether the definition itself decides what becomes of
// an update whose tasks end.
func (s Service) HasFailureAction() bool {
	d := s.Compose.Deploy
	return d != nil && d.UpdateConfig != nil && d.UpdateConfig.FailureAction != ""
}

func (s Service) isGlobal() bool { return strings.HasPrefix(s.Mode(), ModeGlobal) }

func (s *Service) checkDeploy() *document.Error {
	d := s.Compose.Deploy
	if err := s.oneOf("deploy.mode", s.Mode(), ModeReplicated, ModeGlobal, ModeReplicatedJob,
		ModeGlobalJob); err != nil {
		return err
	}
	if s.isGlobal() && (s.Compose.Scale != nil || d.Replicas != nil) {
		return s.problem("deploy.mode", s.Mode()+" runs one task on each node; remove replicas and scale")
	}
	if d == nil {
		return nil
	}
	if s.IsJob() && (d.UpdateConfig != nil || d.RollbackConfig != nil) {
		return s.problem("deploy.mode", "a job is not updated in steps; remove update_config and rollback_config")
	}
	if s.isGlobal() && d.Placement.MaxReplicas > 0 {
		return s.problem("deploy.placement.max_replicas_per_node",
			"a "+s.Mode()+" service has one task on each node; remove it")
	}
	for _, check := range []func(*types.DeployConfig) *document.Error{
		s.checkUpdates, s.checkRestart, s.checkPlacement, s.checkResources,
	} {
		if err := check(d); err != nil {
			return err
		}
	}
	return s.oneOf("deploy.endpoint_mode", d.EndpointMode, "", "vip", "dnsrr")
}

func (s *Service) oneOf(place, value string, allowed ...string) *document.Error {
	if slices.Contains(allowed, value) {
		return nil
	}
	allowed = slices.DeleteFunc(allowed, func(a string) bool { return a == "" })
	return s.problem(place, fmt.Sprintf("%q is none of %s", value, strings.Join(allowed, ", ")))
}

func (s *Service) checkUpdates(d *types.DeployConfig) *document.Error {
	if err := s.checkUpdate("deploy.update_config", d.UpdateConfig, "", "pause", "continue", "rollback"); err != nil {
		return err
	}
	return s.checkUpdate("deploy.rollback_config", d.RollbackConfig, "", "pause", "continue")
}

func (s *Service) checkUpdate(place string, u *types.UpdateConfig, actions ...string) *document.Error {
	switch {
	case u == nil:
		return nil
	case u.Delay < 0:
		return s.problem(place+".delay", "a duration is not negative")
	case u.Monitor < 0:
		return s.problem(place+".monitor", "a duration is not negative")
	case !(u.MaxFailureRatio >= 0 && u.MaxFailureRatio <= 1): // Refuses NaN too.
		return s.problem(place+".max_failure_ratio", "is not between 0 and 1")
	case u.Parallelism != nil && *u.Parallelism > maxCount:
		return s.problem(place+".parallelism", "is not a number of tasks")
	}
	return s.oneOf(place+".failure_action", u.FailureAction, actions...)
}

func (s *Service) checkRestart(d *types.DeployConfig) *document.Error {
	r := d.RestartPolicy
	switch {
	case r == nil:
		return nil
	case r.Delay != nil && *r.Delay < 0:
		return s.problem("deploy.restart_policy.delay", "a duration is not negative")
	case r.Window != nil && *r.Window < 0:
		return s.problem("deploy.restart_policy.window", "a duration is not negative")
	case s.IsJob() && r.Condition == "any":
		return s.problem("deploy.restart_policy.condition", "a job ends when its tasks have: use on-failure or none")
	}
	return s.oneOf("deploy.restart_policy.condition", r.Condition, "", "none", "on-failure", "any")
}

func (s *Service) checkPlacement(d *types.DeployConfig) *document.Error {
	for i, constraint := range d.Placement.Constraints {
		key, value, ok := strings.Cut(constraint, "!=")
		if !ok {
			key, value, ok = strings.Cut(constraint, "==")
		}
		if !ok || strings.TrimSpace(key) == "" || strings.TrimSpace(value) == "" {
			return s.problem(fmt.Sprintf("deploy.placement.constraints.%d", i),
				fmt.Sprintf("%q is not a constraint like node.labels.disk==ssd", constraint))
		}
	}
	for i, preference := range d.Placement.Preferences {
		if preference.Spread == "" {
			return s.problem(fmt.Sprintf("deploy.placement.preferences.%d", i),
				"has no spread: name a label like node.labels.rack")
		}
	}
	return nil
}

// maxCount keeps numbers of tasks and processors far from overflow.
const maxCount = 1_000_000

func (s *Service) checkResources(d *types.DeployConfig) *document.Error {
	for place, r := range map[string]*types.Resource{
		"limits":       d.Resources.Limits,
		"reservations": d.Resources.Reservations,
	} {
		place = "deploy.resources." + place
		switch {
		case r == nil:
		case !(r.NanoCPUs >= 0 && r.NanoCPUs < maxCount):
			return s.problem(place+".cpus", "is not a number of processors")
		case r.MemoryBytes < 0:
			return s.problem(place+".memory", "a size is not negative")
		case r.Pids < 0:
			return s.problem(place+".pids", "a number of processes is not negative")
		}
	}
	return nil
}
