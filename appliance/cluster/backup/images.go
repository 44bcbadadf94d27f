package backup

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/naming"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/embedded/registry/archive"
)

// Images returns the images of the cluster's registry that services use or may go back to, each once. port is
// where the registry is on every node.
func (c Content) Images(port uint16) (list []archive.Image, err error) {
	local := fmt.Sprintf("localhost:%d/", port)
	seen := map[archive.Image]bool{}
	add := func(image, hash string) {
		name, ok := strings.CutPrefix(image, local)
		i := archive.Image{Repository: name, Digest: digest.Digest(hash)}
		if colon := strings.LastIndexByte(name, ':'); colon >= 0 {
			i.Repository, i.Tag = name[:colon], name[colon+1:]
		}
		if ok && i.Digest.Validate() == nil && !seen[i] {
			seen[i] = true
			list = append(list, i)
		}
	}
	for _, s := range c.Objects.Services {
		var spec struct {
			TaskTemplate struct{ ContainerSpec struct{ Image string } }
		}
		_ = json.Unmarshal(s.Spec, &spec) // of another kind
		image, hash, _ := strings.Cut(spec.TaskTemplate.ContainerSpec.Image, "@")
		add(image, hash)
	}
	for name, data := range c.Documents {
		service, ok := strings.CutPrefix(name, state.History)
		if !ok || naming.CheckService(service) != nil {
			continue
		}
		entries, err := history.KeptOf(service, data)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			add(e.Image, e.Digest)
		}
	}
	return list, nil
}
