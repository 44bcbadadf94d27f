package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
)

// canonicalize brings lists whose order means nothing into one order, and both
// ways to write the number of replicas into one.
func (s *Service) canonicalize() {
	c := &s.Compose
	if c.Scale != nil {
		if c.Deploy == nil {
			c.Deploy = &types.DeployConfig{}
		}
		c.Deploy.Replicas, c.Scale = c.Scale, nil
	}
	slices.Sort(c.CapAdd)
	slices.Sort(c.CapDrop)
	slices.Sort(c.GroupAdd)
	slices.Sort(c.Tmpfs)
	slices.SortStableFunc(c.Volumes, func(a, b types.ServiceVolumeConfig) int {
		return strings.Compare(a.Target, b.Target)
	})
	for _, network := range c.Networks {
		if network != nil {
			slices.Sort(network.Aliases)
		}
	}
	if c.Deploy != nil {
		slices.Sort(c.Deploy.Placement.Constraints)
	}
}

// hash covers the definition as it was understood, so that comments, the order
// of keys and the way of writing do not count, and the content of env_files
// does. Extensions do not count either, nor does the build.
func hash(s Service) (string, error) {
	s.Compose.Build = nil
	canonical, err := json.Marshal(struct {
		Name     string
		Service  types.ServiceConfig
		Volumes  map[string]types.VolumeConfig
		Networks map[string]types.NetworkConfig
		// what later versions brought
		Autoscale *scalerule.Rule `json:",omitempty"`
	}{s.Name, s.Compose, s.Volumes, s.Networks, s.Autoscale})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(canonical)
	return hex.EncodeToString(sum[:]), nil
}
