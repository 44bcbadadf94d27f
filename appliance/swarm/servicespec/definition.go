// Package servicespec maps services to what Docker's API calls a service's spec:
// from a definition in the config file, from a deployment, from one change of what
// is there, and it tells in what two of them differ.
//
// All of it is pure: which spec a service has now, and whether Swarm takes another,
// is the business of package swarm. So what a deploy will do is decided, shown in a
// dry run and tested without an engine.
package servicespec

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// managedByConfig is the value of fleet.LabelManaged.
const managedByConfig = "config"

// What a service gets unless its definition says otherwise. Swarm's own
// defaults are for web servers, which never end and are updated one by one.
const (
	defaultGrace        = 10 * time.Second
	defaultRestartDelay = 5 * time.Second
	// updateShare of the replicas are updated at a time: four rounds.
	updateShare = 4
	// globalParallelism is for modes whose number of tasks is that of the nodes,
	// which a definition does not know.
	globalParallelism = 10
)

// DefaultMonitor is how long a new task is watched where nobody says.
const DefaultMonitor = 5 * time.Second

// defaultLog keeps a chatty spider from filling a node's disk.
var defaultLog = map[string]string{"max-size": "10m", "max-file": "3"}

// FromConfig maps a service of the config file to what Docker's API takes. The
// image stays as it is written, or empty where one is built: which it is, by its
// digest, is the roll-out's work.
// Its error is a [*document.Error] that names file and line.
func FromConfig(svc compose.Service) (dockerswarm.ServiceSpec, error) {
	mounts, err := serviceMounts(svc)
	if err != nil {
		return dockerswarm.ServiceSpec{}, err
	}
	container := containerSpec(svc.Compose)
	container.Mounts = mounts
	deploy := valueOf(svc.Compose.Deploy)
	spec := dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: svc.Name, Labels: serviceLabels(svc, deploy)},
		TaskTemplate: dockerswarm.TaskSpec{
			ContainerSpec: container,
			Resources:     resources(deploy.Resources),
			RestartPolicy: restartPolicy(deploy.RestartPolicy),
			Placement:     placement(deploy.Placement),
			Networks:      attachments(svc),
			LogDriver:     logDriver(svc.Compose.Logging),
		},
		Mode: serviceMode(svc),
	}
	if deploy.EndpointMode != "" {
		spec.EndpointSpec = &dockerswarm.EndpointSpec{Mode: dockerswarm.ResolutionMode(deploy.EndpointMode)}
	}
	if err := SetAutoscale(&spec, svc.Autoscale, true); err != nil {
		return dockerswarm.ServiceSpec{}, err
	}
	if !svc.IsJob() { // A job runs again as a whole; Swarm refuses these.
		spec.UpdateConfig = updateConfig(svc, deploy.UpdateConfig)
		spec.RollbackConfig = rollbackConfig(spec.UpdateConfig, deploy.RollbackConfig)
	}
	return spec, nil
}

func serviceLabels(svc compose.Service, deploy types.DeployConfig) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, deploy.Labels)
	labels[fleet.LabelHash] = svc.Hash
	labels[fleet.LabelReplicas] = strconv.Itoa(svc.Replicas())
	labels[fleet.LabelManaged] = managedByConfig
	return labels
}

// HostNetwork is the machine's own, whose containers listen and connect as programs of the machine do.
const HostNetwork = "host"

// attachments returns the networks of the tasks: the host's, unless others are named.
func attachments(svc compose.Service) []dockerswarm.NetworkAttachmentConfig {
	if len(svc.Compose.Networks) == 0 {
		return []dockerswarm.NetworkAttachmentConfig{{Target: HostNetwork}}
	}
	var list []dockerswarm.NetworkAttachmentConfig
	for _, key := range slices.Sorted(maps.Keys(svc.Compose.Networks)) {
		attachment := dockerswarm.NetworkAttachmentConfig{Target: svc.Networks[key].Name}
		if network := svc.Compose.Networks[key]; network != nil {
			attachment.Aliases = network.Aliases
			attachment.DriverOpts = network.DriverOpts
		}
		list = append(list, attachment)
	}
	return list
}

func logDriver(logging *types.LoggingConfig) *dockerswarm.Driver {
	driver := &dockerswarm.Driver{Name: "json-file", Options: map[string]string{}}
	if logging != nil && logging.Driver != "" {
		driver.Name = logging.Driver
	}
	if driver.Name == "json-file" {
		maps.Copy(driver.Options, defaultLog)
	}
	if logging != nil {
		maps.Copy(driver.Options, logging.Options)
	}
	return driver
}
