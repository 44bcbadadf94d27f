// Package imagegc takes the images of versions that no service goes back to from the nodes,
// so that disks don't fill up. It goes on as long as a container that has ended holds one, and
// once an hour in any case: a node may have been down. With the images of services that are long
// gone it drops their history, which nobody else would.
package imagegc

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// How long after a deploy the nodes are tried again as long as some could not let go of an
// image, since containers that have ended hold theirs for a while, and how often they are
// asked in any case: a node may have been down.
const (
	retry = 5 * time.Second
	every = time.Hour
)

// errHeld ends a round after which images of older versions are left.
var errHeld = errors.New("images of older versions are still held")

// Cluster is asked what runs.
type Cluster interface {
	Services(ctx context.Context) ([]fleet.Service, error)
}

// Forget takes images, named with their digests, from all nodes that don't use them, and
// reports whether none is left.
type Forget func(ctx context.Context, images []string) (all bool)

type collector struct {
	cluster Cluster
	past    *history.Store
	forget  Forget
	log     *slog.Logger
}

// New returns the loop. It is to be kicked after a deploy.
func New(cluster Cluster, past *history.Store, forget Forget, log *slog.Logger) *controller.Loop {
	c := &collector{cluster: cluster, past: past, forget: forget, log: log}
	loop := controller.New("images", controller.Round(c.observe, decide, c.act))
	loop.First, loop.Every, loop.Retry, loop.RetryMost = every, every, retry, every
	return loop
}

// seen holds what was deployed, and which of the images are to be kept.
type seen struct {
	entries []history.Entry
	keep    map[string]bool // by digest
	gone    map[string]int  // services to be forgotten, with their newest version
}

func (c *collector) observe(ctx context.Context) (seen, error) {
	services, err := c.cluster.Services(ctx)
	if err != nil {
		c.log.Debug("failed to find out which images are old", "error", err)
		return seen{}, err
	}
	s, there := seen{keep: map[string]bool{}}, map[string]bool{}
	for _, svc := range services {
		s.keep[svc.Digest] = true // a person may have gone back by hand
		there[svc.Name] = true
	}
	s.gone = c.past.Outdated(func(service string) bool { return there[service] })
	for _, service := range c.past.Services() {
		s.entries = append(s.entries, c.past.List(service)...)
		if _, gone := s.gone[service]; gone {
			continue
		}
		for _, e := range c.past.Kept(service, history.KeptVersions) {
			s.keep[e.Digest] = true
		}
	}
	return s, nil
}

// outdated is what goes.
type outdated struct {
	images   []string
	services map[string]int
}

// decide returns what goes, in one action: images of entries that are not to be kept, each once,
// and services.
func decide(s seen) []outdated {
	o := outdated{services: s.gone}
	named := map[string]bool{}
	for _, e := range s.entries {
		if e.Digest != "" && !s.keep[e.Digest] && !named[e.Digest] {
			named[e.Digest] = true
			o.images = append(o.images, e.Image+"@"+e.Digest)
		}
	}
	if o.images == nil && len(o.services) == 0 {
		return nil
	}
	return []outdated{o}
}

// act drops the history of services once none of their images is left, so that none is forgotten,
// or where there are too many.
func (c *collector) act(ctx context.Context, o outdated) error {
	var errs []error
	if o.images != nil && !c.forget(ctx, o.images) {
		errs = append(errs, errHeld)
	}
	if errs == nil || len(o.services) > history.KeptGone {
		for service, newest := range o.services {
			errs = append(errs, c.past.Forget(service, newest))
		}
	}
	return errors.Join(errs...)
}
