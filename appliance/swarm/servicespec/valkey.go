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
	Name    string
	Node    string   // by ID
	Image   string   // pinned by digest
	Command []string // with its arguments
	Secrets []Secret
	Memory  int64 // limit, in bytes
}

// Secret is a file of a service of the cluster's own. Its name changes with its data, as Swarm's secrets don't.
type Secret struct {
	Name string
	data []byte
	file string
}

// NewSecret returns one whose file ends in an extension.
func NewSecret(ext string, data []byte) Secret {
	hash := sha256.Sum256(data)
	return Secret{fleet.OwnServices + hex.EncodeToString(hash[:6]), data, "crawlbox-queue." + ext}
}

// Path returns where the service has it.
func (s Secret) Path() string { return "/run/secrets/" + s.file }

// Data returns what is in it.
func (s Secret) Data() []byte { return s.data }

const (
	// valkeyUser is that of the image valkey/valkey, to whom the volume belongs.
	valkeyUser = "999"
	// ValkeyVolume is the volume of the data, on each node that has one.
	ValkeyVolume = "crawlbox-queue"
	valkeyGrace  = 20 * time.Second
)

// Spec returns the service, whose label fleet.LabelOwn says what it is, by the IDs of its secrets.
func (v Valkey) Spec(secretIDs []string) (dockerswarm.ServiceSpec, error) {
	one := uint64(1)
	var secrets []*dockerswarm.SecretReference
	for i, s := range v.Secrets {
		file := dockerswarm.SecretReferenceFileTarget{Name: s.file, UID: valkeyUser, GID: "0", Mode: 0o400}
		secrets = append(secrets, &dockerswarm.SecretReference{SecretID: secretIDs[i], SecretName: s.Name, File: &file})
	}
	spec := dockerswarm.ServiceSpec{
		Annotations: dockerswarm.Annotations{Name: v.Name},
		TaskTemplate: dockerswarm.TaskSpec{
			ContainerSpec: &dockerswarm.ContainerSpec{
				Image:           v.Image,
				Command:         v.Command,
				User:            valkeyUser,
				ReadOnly:        true,
				CapabilityDrop:  []string{"ALL"},
				StopGracePeriod: new(valkeyGrace),
				Init:            new(true),
				Mounts:          []mount.Mount{{Type: mount.TypeVolume, Source: ValkeyVolume, Target: "/data"}},
				Secrets:         secrets,
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
