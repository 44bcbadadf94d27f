package registry

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// noteRemoved remembers what an image consists of that is removed now.
func (r *Registry) noteRemoved(repo string, d digest.Digest) {
	m := newMarks(r.layout, r.log)
	if err := m.manifest(repo, d); err != nil {
		r.log.Warn("removed image cannot be read; its space is free after the grace", "repository", repo, "digest", d, "err", err)
		return
	}
	r.pushes.remove(removal{repo, slices.Collect(maps.Keys(m.needed)), r.now()})
}

// ageRemoved takes the protection of the grace from images that were removed on
// purpose, so that the user who did sees their space; except from what a push
// under way counts on.
func (r *Registry) ageRemoved() {
	// A push that begins now waits here, and touches what it finds afterwards.
	r.touch.Lock()
	defer r.touch.Unlock()
	needed := r.pushes.needed(r.now())
	for _, image := range r.pushes.takeRemoved() {
		var later []digest.Digest
		for _, d := range image.digests {
			if needed[d] {
				later = append(later, d)
				continue
			}
			r.layout.age(image, d)
		}
		if len(later) > 0 {
			r.pushes.remove(removal{image.repo, later, image.at})
		}
	}
}

// age makes a digest look as if no client had ever heard of it, through the
// image's repository; unless one has since the image was removed. What was told
// through other repositories stands in their own links.
func (l layout) age(image removal, d digest.Digest) {
	long := time.Unix(0, 0)
	for _, path := range []string{l.blobFile(d), l.abs(layerDir(image.repo, d) + "/link"), l.abs(revisionDir(image.repo, d) + "/link")} {
		if fi, err := os.Stat(path); err == nil && !fi.ModTime().After(image.at) {
			_ = os.Chtimes(path, long, long)
		}
	}
}

// held adds to a report what nothing needs and only the grace keeps.
func (r *Registry) held(ctx context.Context, inv *inventory, keep []digest.Digest, report *Report) error {
	firm := newMarks(r.layout, r.log)
	if err := firm.roots(ctx, inv, keep, r.now().Add(r.grace)); err != nil { // nothing is younger than that
		return err
	}
	for d := range inv.blobs {
		fi, err := os.Stat(r.layout.blobFile(d))
		if err != nil || firm.hasAnywhere(d) {
			continue
		}
		told := fi.ModTime()
		for _, l := range inv.links[d] {
			if fi, err := os.Stat(r.layout.abs(l.dir + "/link")); err == nil {
				told = latest(told, fi.ModTime())
			}
		}
		report.hold(fi.Size(), told.Add(r.grace))
	}
	return nil
}

func (r *Report) hold(size int64, until time.Time) {
	r.Held += size
	if until.After(r.HeldUntil) {
		r.HeldUntil = until
	}
}
