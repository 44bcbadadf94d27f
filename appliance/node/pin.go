package node

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// pin keeps an image, named with its digest, in this node's mirror longest: a service
// runs it or may go back to it. It says whether that is new.
func (w *Worker) pin(image string) bool {
	d, ok := digestIn(image)
	return ok && w.mirror.Pin(d)
}

// unpin drops images from this node's mirror that no service goes back to.
func (w *Worker) unpin(images ...string) {
	for _, image := range images {
		if d, ok := digestIn(image); ok {
			w.mirror.Unpin(d)
		}
	}
}

// digestIn is the digest of NAME@DIGEST; ok is false where it has none.
func digestIn(image string) (d digest.Digest, ok bool) {
	_, text, _ := strings.Cut(image, "@")
	d, err := digest.Parse(text)
	return d, err == nil
}
