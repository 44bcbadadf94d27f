package registry

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/embedded/registry/collect"
)

// GC deletes what no tag needs and no digest in keep: images that services run,
// in whatever repository they are. What clients were told about within the grace
// stays, but of what [Registry.Remove] took the tag from only what a push under
// way counts on. It runs beside pushes and pulls; a second call waits for the first.
// The report is right also beside an error.
func (r *Registry) GC(ctx context.Context, keep []digest.Digest) (collect.Report, error) {
	select {
	case r.collecting <- struct{}{}:
		defer func() { <-r.collecting }()
	case <-ctx.Done():
		return collect.Report{}, ctx.Err()
	}
	if r.shares() {
		if err := r.Follow(ctx); err != nil {
			return collect.Report{}, err
		}
	}
	r.ageRemoved()
	cutoff := r.barrier()
	c := collect.Collection{
		Layout: r.layout,
		Touch:  r.touch,
		Grace:  r.grace,
		Now:    r.now,
		Log:    r.log,
	}
	sweep, err := c.Mark(ctx, r.roots(keep), cutoff)
	if err != nil {
		return collect.Report{}, err
	}
	report, err := sweep.Run(ctx)
	if err != nil {
		return report, err
	}
	r.log.Info("collected images", "bytes", report.Bytes, "blobs", report.Blobs, "manifests", report.Manifests,
		"uploads", report.Uploads)
	return report, nil
}

// barrier waits for the manifest PUTs under way and returns the time before
// which an untouched blob counts as left. The clock is read inside: a PUT that
// begins later touches its blobs after the cutoff.
func (r *Registry) barrier() time.Time {
	r.puts.Lock()
	defer r.puts.Unlock()
	return r.now().Add(-r.grace)
}
