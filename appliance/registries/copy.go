package registries

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

const (
	// copyTime bounds a copy of an image, which a registry's collection leaves alone for an hour.
	copyTime = 50 * time.Minute
	// copyPatience is how long a push waits for managers of which too few can have the image now, and
	// copyRetry between two tries.
	copyPatience = 30 * time.Second
	copyRetry    = 2 * time.Second
	// blobsAtOnce is how many blobs are brought at a time.
	blobsAtOnce = 3
	// maxDepth bounds indexes in indexes.
	maxDepth = 4
)

// errTooLong ends a copy.
var errTooLong = fmt.Errorf("it takes longer than %s", copyTime)

// need returns how many others are to have an image: as many as there are, at most.
func (s *Set) need() int { return min(max(s.o.Copies, 1)-1, len(s.o.Others())) }

// Copy implements registry.Others. What is on its way to another manager is waited for, and what is not there
// then is sent.
func (s *Set) Copy(ctx context.Context, repo string, d digest.Digest) error {
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errTooLong)
	defer cancel()
	has, begun := map[Manager]bool{}, time.Now()
	for {
		if len(has) >= s.need() {
			return nil
		}
		if err := s.await(ctx, d); err != nil {
			return err
		}
		var failed []string
		for _, to := range s.others.all() {
			if has[to] || len(has) >= s.need() {
				continue
			}
			err := s.send(ctx, s.others.at(to), repo, d, maxDepth)
			if err == nil {
				has[to] = true
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			failed = append(failed, fmt.Sprintf("%s: %v", to, err))
		}
		if len(has) >= s.need() {
			return nil
		}
		if time.Since(begun) > s.patience || clock.Sleep(ctx, copyRetry) != nil {
			return fmt.Errorf("the image is on %d of the managers, and is to be on %d: %s; look at crawlbox there, "+
				"then push again, or take a manager that is gone for good out with `crawlbox node rm`", len(has)+1,
				s.need()+1, strings.Join(failed, "; "))
		}
	}
}

// await waits for those blobs of an image that are on their way.
func (s *Set) await(ctx context.Context, d digest.Digest) error {
	content, err := s.Registry.Content(d)
	if err != nil {
		return err
	}
	parts, err := registry.PartsOf(content)
	if err != nil {
		return err
	}
	blobs := map[digest.Digest]bool{}
	for _, p := range parts {
		blobs[p.Digest] = true
	}
	for _, p := range s.onTheWay(blobs) {
		select {
		case <-p.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// send brings an image to another manager, as far as it is here and not there.
func (s *Set) send(ctx context.Context, to server, repo string, d digest.Digest, depth int) error {
	if depth == 0 {
		return errors.New("its index is too deep")
	}
	if has, err := to.has(ctx, manifestPath(repo, d)); has || err != nil {
		return err
	}
	content, err := s.Registry.Content(d)
	if err != nil {
		return err
	}
	parts, err := registry.PartsOf(content)
	if err != nil {
		return err
	}
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(blobsAtOnce)
	for _, p := range parts {
		if !s.Registry.Has(repo, p.Digest, p.Manifest) {
			continue // an index may be sparse
		}
		if p.Manifest {
			if err := s.send(ctx, to, repo, p.Digest, depth-1); err != nil {
				return errors.Join(err, group.Wait())
			}
			continue
		}
		group.Go(func() error { return s.sendBlob(each, to, repo, p.Digest) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return to.put(ctx, repo, d, content)
}

func (s *Set) sendBlob(ctx context.Context, to server, repo string, d digest.Digest) error {
	if has, err := to.has(ctx, blobPath(repo, d)); has || err != nil {
		return err
	}
	blob, err := s.Registry.OpenBlob(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	return to.bring(ctx, repo, d, blob.Size(), blob)
}

// Delete implements registry.Others.
func (s *Set) Delete(ctx context.Context, repo string, d digest.Digest) {
	for _, to := range s.others.reachable() {
		if err := s.others.at(to).delete(ctx, manifestPath(repo, d)); err != nil {
			s.o.Log.Debug("failed to delete a manifest from another manager", "node", to.Name, "error", err)
		}
	}
}

// Bring implements registry.Others.
func (s *Set) Bring(ctx context.Context, repo string, p registry.Part) error {
	if p.Manifest {
		return s.fetch(ctx, repo, p.Digest, maxDepth)
	}
	return s.fetchBlob(ctx, repo, p)
}

// fetch brings an image here that others have. Of an index that is all that one of them has.
func (s *Set) fetch(ctx context.Context, repo string, d digest.Digest, depth int) error {
	return s.fetchOnce(ctx, repo, d, depth, map[digest.Digest]bool{})
}

// fetchOnce is fetch, but for manifests that were fetched already, or are nowhere.
func (s *Set) fetchOnce(ctx context.Context, repo string, d digest.Digest, depth int,
	fetched map[digest.Digest]bool) error {
	if fetched[d] {
		return nil
	}
	if depth == 0 {
		return errors.New("its index is too deep")
	}
	content, err := s.away.manifest(ctx, repo, d)
	if err != nil {
		return fmt.Errorf("get manifest %s: %w", d, err)
	}
	parts, err := registry.PartsOf(content)
	if err != nil {
		return err
	}
	for _, p := range parts {
		err := error(nil)
		if p.Manifest {
			err = s.fetchOnce(ctx, repo, p.Digest, depth-1, fetched)
			if errors.Is(err, errNotThere) || errors.Is(err, errNowhere) && len(s.o.Others()) == 0 {
				err, fetched[p.Digest] = nil, true // of a sparse index
			}
		} else {
			err = s.fetchBlob(ctx, repo, p)
		}
		if err != nil {
			return err
		}
	}
	fetched[d] = true
	return s.own.put(ctx, repo, d, content)
}

// fetchBlob brings a blob here. It is checked against its digest when it is.
func (s *Set) fetchBlob(ctx context.Context, repo string, p registry.Part) error {
	if has, err := s.own.has(ctx, blobPath(repo, p.Digest)); has || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, copyTime, errTooLong)
	defer cancel()
	blob, err := s.away.blob(ctx, repo, p.Digest)
	if err != nil {
		return fmt.Errorf("get blob %s: %w", p.Digest, err)
	}
	defer blob.Close()
	if err := s.own.bring(ctx, repo, p.Digest, p.Size, blob); err != nil {
		return fmt.Errorf("keep blob %s: %w", p.Digest, err)
	}
	s.o.Drop(p.Digest)
	return nil
}
