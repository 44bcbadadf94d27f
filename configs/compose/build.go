package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"

	"github.com/crawlbox/crawlbox/configs/document"
)

// Build is how the image of a service is made: `build:` of its definition.
type Build struct {
	Context    string            `json:"context"`              // directory, absolute
	Dockerfile string            `json:"dockerfile,omitempty"` // relative to Context or absolute; empty: the usual one
	Args       map[string]string `json:"args,omitempty"`       // of ARG
	Target     string            `json:"target,omitempty"`     // stage to stop at
	Platform   string            `json:"platform,omitempty"`   // such as linux/arm64
	Secrets    []string          `json:"secrets,omitempty"`    // in Docker's form, id=NAME,src=PATH or id=NAME,env=NAME
	NoCache    bool              `json:"no_cache,omitempty"`
	Pull       bool              `json:"pull,omitempty"`

	// Repository and Tag are where the image goes in the cluster's registry. An empty
	// Tag is the next one of those there are.
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
}

// Build returns how the image of the service is made; ok is false for one that names
// its image only.
func (s Service) Build() (b Build, ok bool) {
	c := s.Compose.Build
	if c == nil {
		return b, false
	}
	b = Build{
		Context:    c.Context,
		Dockerfile: c.Dockerfile,
		Args:       map[string]string{},
		Target:     c.Target,
		NoCache:    c.NoCache,
		Pull:       c.Pull,
	}
	for name, value := range c.Args {
		if value != nil {
			b.Args[name] = *value
		}
	}
	if len(c.Platforms) > 0 {
		b.Platform = c.Platforms[0]
	}
	for _, use := range c.Secrets {
		b.Secrets = append(b.Secrets, s.buildSecret(use))
	}
	b.Repository, b.Tag = s.destination()
	return b, true
}

func (s Service) buildSecret(use types.ServiceSecretConfig) string {
	id := use.Target
	if id == "" {
		id = use.Source
	}
	secret := s.Secrets[use.Source]
	if secret.Environment != "" {
		return "id=" + id + ",env=" + secret.Environment
	}
	return "id=" + id + ",src=" + secret.File
}

// destination returns where a built image goes: to the name that the definition says, or
// to that of the service.
func (s Service) destination() (repository, tag string) {
	if s.Compose.Image == "" {
		return strings.ToLower(s.Name), ""
	}
	named, err := reference.ParseNormalizedNamed(s.Compose.Image)
	if err != nil {
		return "", "" // which check has refused
	}
	if tagged, ok := named.(reference.Tagged); ok {
		tag = tagged.Tag()
	}
	return reference.Path(named), tag
}

// CheckDestinations reports images that are built but would not go into the
// registry of the cluster, which listens on the port given.
func CheckDestinations(services []Service, registry uint16, p *document.Problems) {
	local := fmt.Sprintf("localhost:%d", registry)
	for _, s := range services {
		if s.Compose.Build == nil || s.Compose.Image == "" {
			continue
		}
		named, err := reference.ParseNormalizedNamed(s.Compose.Image)
		if err != nil {
			continue // reported by its kind
		}
		if _, digested := named.(reference.Digested); digested || reference.Domain(named) != local {
			p.Add(s.problem("image", fmt.Sprintf(
				"what is built goes into the cluster's registry: write %s/%s, or leave it out", local,
				strings.ToLower(s.Name))))
		}
	}
}

// fillArgs gives build arguments without a value that of crawlbox's environment, and
// takes those away that have none there, as Compose does.
func (s *Service) fillArgs(find lookup) {
	if s.Compose.Build == nil {
		return
	}
	args := s.Compose.Build.Args
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if args[name] != nil {
			continue
		}
		delete(args, name)
		if value, ok := find(name); ok {
			args[name] = &value
		}
	}
}
