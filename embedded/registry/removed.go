package registry

import (
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/collect"
	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// noteRemoved remembers what an image consists of that is removed now.
func (r *Registry) noteRemoved(repo string, d digest.Digest) {
	parts, err := collect.PartsOf(r.layout, r.log, repo, d)
	if err != nil {
		r.log.Warn("removed image cannot be read; its space is free after the grace", "repository", repo, "digest", d,
			"err", err)
		return
	}
	r.pushes.remove(removal{repo, parts, r.now()})
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
			age(r.layout, image, d)
		}
		if len(later) > 0 {
			r.pushes.remove(removal{image.repo, later, image.at})
		}
	}
}

// age makes a digest look as if no client had ever heard of it, through the
// image's repository; unless one has since the image was removed. What was told
// through other repositories stands in their own links.
func age(l layout.Layout, image removal, d digest.Digest) {
	long := time.Unix(0, 0)
	for _, path := range []string{l.BlobFile(
		d), l.Abs(layout.LayerDir(image.repo, d) + "/link"), l.Abs(layout.RevisionDir(image.repo, d) + "/link")} {
		if fi, err := os.Stat(path); err == nil && !fi.ModTime().After(image.at) {
			_ = os.Chtimes(path, long, long)
		}
	}
}
