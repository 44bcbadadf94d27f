package registries

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/embedded/registry"
	"github.com/crawlbox/crawlbox/embedded/registry/collect"
)

// sweepTime bounds a collection on all managers.
const sweepTime = 10 * time.Minute

type sweepRequest struct {
	Keep []digest.Digest `json:"keep"` // what services run or may go back to
}

// sweepCall has a manager free the space of what nobody needs.
var sweepCall = agent.Call[sweepRequest, collect.Report]{
	Route:      agent.RouteSweep,
	MaxRequest: 8 << 20,
	MaxAnswer:  4 << 10,
	Timeout:    sweepTime,
	Invalid:    "not a list of digests",
	Valid: func(r sweepRequest) bool {
		for _, d := range r.Keep {
			if d.Validate() != nil {
				return false
			}
		}
		return true
	},
}

func (s *Set) answerSweep(ctx context.Context, _ agent.Peer, r sweepRequest) (collect.Report, error) {
	return s.sweep(ctx, r.Keep)
}

// sweep frees space here. Without the newest tags nobody knows what is needed. What services may go back to is known
// here too, should who asks be behind.
func (s *Set) sweep(ctx context.Context, keep []digest.Digest) (collect.Report, error) {
	if err := s.o.Sync(ctx); err != nil {
		return collect.Report{}, fmt.Errorf("no space is freed, since the newest tags are not known: %w", err)
	}
	keep = slices.Clone(keep)
	for _, pinned := range s.o.Pinned() {
		if _, d, err := registry.Repository(pinned); err == nil {
			keep = append(keep, d)
		}
	}
	return s.Registry.GC(ctx, keep)
}

// GC frees the space of what no tag needs and no digest in keep, on all managers. The report is right also
// beside an error, which names the managers that it does not tell of.
func (s *Set) GC(ctx context.Context, keep []digest.Digest) (collect.Report, error) {
	var mu sync.Mutex
	var sum collect.Report
	var errs []error
	add := func(r collect.Report, err error) {
		mu.Lock()
		defer mu.Unlock()
		sum.Bytes += r.Bytes
		sum.Blobs += r.Blobs
		sum.Manifests += r.Manifests
		sum.Uploads += r.Uploads
		sum.Held += r.Held
		if r.HeldUntil.After(sum.HeldUntil) {
			sum.HeldUntil = r.HeldUntil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { add(s.sweep(ctx, keep)) })
	for _, to := range s.o.Others() {
		all.Go(func() {
			r, err := sweepCall.Ask(ctx, agent.Target{Client: s.others.client, Addr: to.Addr}, sweepRequest{keep})
			if err != nil {
				err = fmt.Errorf("free space on %s: %w", to, err)
			}
			add(r, err)
		})
	}
	all.Wait()
	return sum, errors.Join(errs...)
}
