package servicespec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/docker/docker/api/types/mount"
	dockerswarm "github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Valkey is a service of the cluster's own: one Valkey for the queue, on one node. It has no rights but to its volume,
// its secret, and the address that it listens on: the host's network has one, where published ports would be open on
// all.
type Valkey struct {
	Name   string
	Node   string   // by ID
	Image  string   // pinned by digest
	Args   []string // of valkey-server, after its configuration
	Secret string   // by name, that has the configuration
	Memory int64    // limit, in bytes
}

const (
	// valkeyUser is that of the image valkey/valkey, to whom the volume belongs.
	valkeyUser = "999"
	// ValkeyVolume is the volume of the data, on each node that has one.
	ValkeyVolume = "crawlbox-queue"
	valkeyConfig = "crawlbox-queue.conf"
	valkeyGrace  = 20 * time.Second
)

// Spec returns the service, whose label fleet.LabelOwn says what it is.
func (v Valkey) Spec(secretID string) (dockerswarm.ServiceSpec, error) {
	one := uint64(1)
	spec := dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: v.Name},
		TaskTemplate: dockerswarm.TaskSpec{
			ContainerSpec: &dockerswarm.ContainerSpec{
				Image:           v.Image,
				Command:         []string{"valkey-server", "/run/secrets/" + valkeyConfig},
				Args:            v.Args,
				User:            valkeyUser,
				ReadOnly:        true,
				CapabilityDrop:  []string{"ALL"},
				StopGracePeriod: new(valkeyGrace),
				Init:            new(true),
				Mounts:          []mount.Mount{{Type: mount.TypeVolume, Source: ValkeyVolume, Target: "/data"}},
				Secrets: []*dockerswarm.SecretReference{{
					SecretID:   secretID,
					SecretName: v.Secret,
					File: &dockerswarm.SecretReferenceFileTarget{
						Name: valkeyConfig,
						UID:  valkeyUser,
						GID:  "0",
						Mode: 0o400,
					},
				}},
			},
			Resources: &dockerswarm.ResourceRequirements{Limits: &dockerswarm.Limit{MemoryBytes: v.Memory}},
			RestartPolicy: &dockerswarm.RestartPolicy{
				Condition: dockerswarm.RestartPolicyConditionAny,
				Delay:     new(time.Second),
			},
			Placement: &dockerswarm.Placement{Constraints: []string{"node.id==" + v.Node}},
			Networks:  []dockerswarm.NetworkAttachmentConfig{{Target: "host"}},
			LogDriver: logDriver(nil),
		},
		Mode: dockerswarm.ServiceMode{Replicated: &dockerswarm.ReplicatedService{Replicas: &one}},
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return spec, err
	}
	hash := sha256.Sum256(text)
	spec.Labels = map[string]string{fleet.LabelOwn: "queue", fleet.LabelHash: hex.EncodeToString(hash[:])}
	return spec, nil
}
