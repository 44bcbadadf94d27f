package node

import (
	"context"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
)

// keptVersions is how many versions of a service can be gone back to at once: their
// images stay in the registry and on the nodes.
const keptVersions = 5

// How long after a deploy the nodes are tidied again as long as some could not let go
// of an image, and how often in any case: a node may have been down.
const (
	tidyAgain = 5 * time.Second
	tidyEvery = time.Hour
)

// tidySoon has the images of older versions taken from the nodes, so that disks don't
// fill up.
func (d *deploys) tidySoon() {
	select {
	case d.untidy <- struct{}{}:
	default: // it is going to be done
	}
}

// keepTidy tidies until ctx ends. Containers that have ended hold their images for a
// while, so it goes on after a deploy, ever more rarely.
func (d *deploys) keepTidy(ctx context.Context) {
	wait := tidyEvery
	for {
		next := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-d.untidy:
			wait = tidyAgain
		case <-next.C:
			wait = min(2*wait, tidyEvery)
		}
		next.Stop()
		if d.tidy(ctx) {
			wait = tidyEvery
		}
	}
}

// tidy takes the images of older versions from the nodes, and says whether none is
// left.
func (d *deploys) tidy(ctx context.Context) bool {
	keep := map[string]bool{}
	for _, digest := range d.KeptDigests() {
		keep[digest] = true
	}
	services, err := d.engine.Services(ctx)
	if err != nil {
		d.log.Debug("find out which images are old", "error", err)
		return false
	}
	for _, s := range services {
		keep[s.Digest] = true // a person may have gone back by hand
	}
	var old []string
	for _, service := range d.Services() {
		old = append(old, outdated(d.List(service), keep)...)
	}
	return len(old) == 0 || d.forget(ctx, old)
}

// outdated are the images of entries that are not to be kept, each once. It notes in
// keep those that it has named.
func outdated(entries []history.Entry, keep map[string]bool) (images []string) {
	for _, e := range entries {
		if e.Digest != "" && !keep[e.Digest] {
			keep[e.Digest] = true
			images = append(images, e.Image+"@"+e.Digest)
		}
	}
	return images
}

// KeptDigests are the digests that services may go back to.
func (d *deploys) KeptDigests() (digests []string) {
	for _, service := range d.Services() {
		for _, e := range d.Kept(service, keptVersions) {
			digests = append(digests, e.Digest)
		}
	}
	return digests
}
