// Package collect frees the space of images that nobody needs, beside pushes and pulls:
// it marks what tags, services and pushes under way need, and sweeps the rest. The doc
// of package registry has how it keeps out of the way of pushes.
package collect

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/layout"
)

// Collection is one garbage collection of a directory.
type Collection struct {
	Layout layout.Layout
	Touch  *sync.RWMutex // locked while one digest is looked at and deleted
	Grace  time.Duration // for how long what a client was told of is kept
	Now    func() time.Time
	Log    *slog.Logger
}

// Mark finds what is needed: what tags name, the digests in keep, and what a client
// was told of since the cutoff.
func (c Collection) Mark(ctx context.Context, keep []digest.Digest, cutoff time.Time) (*Sweep, error) {
	m := newMarks(c.Layout, c.Log)
	inv, err := newInventory(ctx, c.Layout)
	if err != nil {
		return nil, fmt.Errorf("look through the registry: %w", err)
	}
	if err := m.roots(ctx, inv, keep, cutoff); err != nil {
		return nil, fmt.Errorf("find images in use: %w", err)
	}
	return &Sweep{
		Collection: c,
		marks:      m,
		inv:        inv,
		keep:       keep,
		cutoff:     cutoff,
	}, nil
}

// held adds to the report what nothing needs and only the grace keeps.
func (s *Sweep) held(ctx context.Context) error {
	firm := newMarks(s.Layout, s.Log)
	if err := firm.roots(ctx, s.inv, s.keep, s.Now().Add(s.Grace)); err != nil { // nothing is younger than that
		return err
	}
	for d := range s.inv.blobs {
		fi, err := os.Stat(s.Layout.BlobFile(d))
		if err != nil || firm.hasAnywhere(d) {
			continue
		}
		told := fi.ModTime()
		for _, l := range s.inv.links[d] {
			if fi, err := os.Stat(s.Layout.Abs(l.dir + "/link")); err == nil {
				told = latest(told, fi.ModTime())
			}
		}
		s.report.hold(fi.Size(), told.Add(s.Grace))
	}
	return nil
}

func (r *Report) hold(size int64, until time.Time) {
	r.Held += size
	if until.After(r.HeldUntil) {
		r.HeldUntil = until
	}
}

// Report says what a collection freed.
type Report struct {
	// Bytes is the size of the files that are gone.
	Bytes int64
	// Blobs counts configs and layers.
	Blobs int
	// Manifests counts manifests and indexes.
	Manifests int
	// Uploads counts those that were begun and left.
	Uploads int
	// Held is the size in bytes of what nothing needs and the grace still keeps,
	// since a push may be under way that counts on it. By HeldUntil all of it
	// may go.
	Held      int64
	HeldUntil time.Time
}
