package servicespec

import (
	"cmp"
	"math"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

func serviceMode(svc compose.Service) dockerswarm.ServiceMode {
	replicas := uint64(svc.Replicas())
	switch svc.Mode() {
	case compose.ModeGlobal:
		return dockerswarm.ServiceMode{Global: &dockerswarm.GlobalService{}}
	case compose.ModeGlobalJob:
		return dockerswarm.ServiceMode{GlobalJob: &dockerswarm.GlobalJob{}}
	case compose.ModeReplicatedJob:
		return dockerswarm.ServiceMode{ReplicatedJob: &dockerswarm.ReplicatedJob{
			MaxConcurrent: &replicas, TotalCompletions: &replicas,
		}}
	}
	return dockerswarm.ServiceMode{Replicated: &dockerswarm.ReplicatedService{Replicas: &replicas}}
}

func updateConfig(svc compose.Service, wanted *types.UpdateConfig) *dockerswarm.UpdateConfig {
	parallelism := uint64(globalParallelism)
	if svc.Mode() == compose.ModeReplicated {
		parallelism = uint64(max(1, svc.Replicas()/updateShare))
	}
	return merge(wanted, dockerswarm.UpdateConfig{
		Parallelism:   parallelism,
		FailureAction: dockerswarm.UpdateFailureActionRollback,
		Monitor:       DefaultMonitor,
		Order:         dockerswarm.UpdateOrderStopFirst,
	})
}

// rollbackConfig goes back as fast as the update went. A rollback that fails
// pauses, since there is nothing to go back to.
func rollbackConfig(update *dockerswarm.UpdateConfig, wanted *types.UpdateConfig) *dockerswarm.UpdateConfig {
	return merge(wanted, dockerswarm.UpdateConfig{
		Parallelism:   update.Parallelism,
		FailureAction: dockerswarm.UpdateFailureActionPause,
		Monitor:       DefaultMonitor,
		Order:         dockerswarm.UpdateOrderStopFirst,
	})
}

// merge lays what the definition says over the defaults.
func merge(wanted *types.UpdateConfig, defaults dockerswarm.UpdateConfig) *dockerswarm.UpdateConfig {
	if wanted == nil {
		return &defaults
	}
	if wanted.Parallelism != nil { // 0 is all at once, and may be wanted.
		defaults.Parallelism = *wanted.Parallelism
	}
	defaults.Delay = time.Duration(wanted.Delay)
	defaults.FailureAction = cmp.Or(wanted.FailureAction, defaults.FailureAction)
	defaults.Monitor = cmp.Or(time.Duration(wanted.Monitor), defaults.Monitor)
	defaults.MaxFailureRatio = wanted.MaxFailureRatio
	defaults.Order = cmp.Or(wanted.Order, defaults.Order)
	return &defaults
}

// restartPolicy lets a spider finish: Swarm's own default starts it again when
// it exits with 0.
func restartPolicy(said *types.RestartPolicy) *dockerswarm.RestartPolicy {
	wanted := valueOf(said)
	policy := &dockerswarm.RestartPolicy{
		Condition:   dockerswarm.RestartPolicyConditionOnFailure,
		Delay:       durationOr(wanted.Delay, defaultRestartDelay),
		MaxAttempts: wanted.MaxAttempts,
	}
	if wanted.Condition != "" {
		policy.Condition = dockerswarm.RestartPolicyCondition(wanted.Condition)
	}
	if wanted.Window != nil {
		policy.Window = durationOr(wanted.Window, 0)
	}
	return policy
}

func placement(wanted types.Placement) *dockerswarm.Placement {
	if len(wanted.Constraints) == 0 && len(wanted.Preferences) == 0 && wanted.MaxReplicas == 0 {
		return nil
	}
	result := &dockerswarm.Placement{Constraints: wanted.Constraints, MaxReplicas: wanted.MaxReplicas}
	for _, preference := range wanted.Preferences {
		result.Preferences = append(result.Preferences, dockerswarm.PlacementPreference{
			Spread: &dockerswarm.SpreadOver{SpreadDescriptor: preference.Spread},
		})
	}
	return result
}

func resources(wanted types.Resources) *dockerswarm.ResourceRequirements {
	if wanted.Limits == nil && wanted.Reservations == nil {
		return nil
	}
	result := &dockerswarm.ResourceRequirements{}
	if r := wanted.Limits; r != nil {
		result.Limits = &dockerswarm.Limit{
			NanoCPUs:    nanoCPUs(r.NanoCPUs),
			MemoryBytes: int64(r.MemoryBytes),
			Pids:        r.Pids,
		}
	}
	if r := wanted.Reservations; r != nil {
		result.Reservations = &dockerswarm.Resources{NanoCPUs: nanoCPUs(r.NanoCPUs), MemoryBytes: int64(r.MemoryBytes)}
	}
	return result
}

// Resources returns the processors and the memory of each task of a service.
func Resources(s dockerswarm.ServiceSpec) (r fleet.Resources) {
	of := valueOf(s.TaskTemplate.Resources)
	if of.Limits != nil {
		r.LimitCPUs = float64(of.Limits.NanoCPUs) / 1e9
	}
	if of.Reservations != nil {
		r.ReservedCPUs, r.Reserved = float64(of.Reservations.NanoCPUs)/1e9, of.Reservations.MemoryBytes
	}
	return r
}

// nanoCPUs rounds to a millionth of a processor: compose-go keeps a float32, in
// which 0.1 is 0.100000001.
func nanoCPUs(cpus types.NanoCPUs) int64 {
	return int64(math.Round(float64(cpus)*1e6)) * 1e3
}
