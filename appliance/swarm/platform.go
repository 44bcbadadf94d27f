package swarm

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// platformsTimeout bounds the look-up of what an image was made for: a deploy goes
// on without.
const platformsTimeout = 10 * time.Second

// Platforms says what an image, named with its digest, was made for, as its
// registry has it, or else this engine's own copy. None are returned where neither
// tells.
func (e *Engine) Platforms(ctx context.Context, image string) (list []fleet.Platform) {
	ctx, cancel := context.WithTimeout(ctx, platformsTimeout)
	defer cancel()
	if found, err := e.cli.DistributionInspect(ctx, WithoutTag(image), ""); err == nil {
		for _, p := range found.Platforms {
			list = append(list, fleet.Platform{OS: p.OS, Arch: p.Architecture})
		}
		return list
	}
	if found, err := e.cli.ImageInspect(ctx, WithoutTag(image)); err == nil {
		list = append(list, fleet.Platform{OS: found.Os, Arch: found.Architecture})
	}
	return list
}

// setPlatforms has Swarm place tasks where their image runs. It compares a node's
// armv7l with an image's arm, and finds no match: that architecture is left open.
func setPlatforms(t *swarm.TaskSpec, platforms []fleet.Platform) {
	p := swarm.Placement{}
	if t.Placement != nil {
		p = *t.Placement
	}
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
