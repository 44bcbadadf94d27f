package registries

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"
	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

const (
	// fillPause is how long images are let come before it is looked what is missing, fillEvery how often it is
	// looked in any case, and fillRetry after which time again where something could not be got.
	fillPause = 3 * time.Second
	fillEvery = time.Minute
	fillRetry = 10 * time.Second
	// fillMost is how long that is at most, where nothing comes.
	fillMost = 5 * time.Minute
	// sparseAge is how long a part that no manager has of an index is not asked for again.
	sparseAge = time.Hour
	// tellTime bounds the question how far other managers are.
	tellTime = time.Second
)

// Filled is how much a manager has of the images that are to be on all managers.
type Filled struct {
	Images  int    `json:"images"`
	All     int    `json:"all"`
	Bytes   int64  `json:"bytes"`
	Total   int64  `json:"total"`
	Known   bool   `json:"known"`             // it was looked
	Problem string `json:"problem,omitempty"` // why it does not go on
}

// behind reports whether something is missing.
func (f Filled) behind() bool { return f.Known && f.Images < f.All }

func (f Filled) String() string {
	text := fmt.Sprintf("has %d of %d images (%s of %s)", f.Images, f.All, units.HumanSize(float64(f.Bytes)),
		units.HumanSize(float64(f.Total)))
	if f.Problem != "" {
		text += ", and can't get more now: " + f.Problem
	}
	return text
}

// filledCall asks a manager how far it is.
var filledCall = agent.Call[agent.None, Filled]{
	Route:     agent.RouteFilled,
	MaxAnswer: 4 << 10,
	Timeout:   tellTime,
	Failed:    503,
}

// Filled returns how far this manager is.
func (s *Set) Filled() Filled {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.filled
}

// Full reports whether this manager has all images. One that has stays so while it brings what is new, unless it
// can't.
func (s *Set) Full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch f := s.filled; {
	case !f.Known:
	case f.Problem != "":
		s.full = false
	case !f.behind():
		s.full = true
	}
	return s.full
}

// Behind names the managers that lack images, this one among them, or is empty.
func (s *Set) Behind() string {
	var mu sync.Mutex
	var lines []string
	if f := s.Filled(); f.behind() {
		lines = append(lines, "this manager "+f.String())
	}
	ctx, cancel := context.WithTimeout(s.ctx, tellTime)
	defer cancel()
	var all sync.WaitGroup
	for _, to := range s.o.Others() {
		if s.others.resting(to) {
			continue // which is a problem of its own
		}
		all.Go(func() {
			target := agent.Target{Client: s.others.client, Addr: to.Addr}
			if f, err := filledCall.Ask(ctx, target, agent.None{}); err == nil && f.behind() {
				mu.Lock()
				defer mu.Unlock()
				lines = append(lines, to.Name+" "+f.String())
			}
		})
	}
	all.Wait()
	if len(lines) == 0 {
		return ""
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ") + "; what is missing there comes by itself, and is pulled from others until then"
}

// image is one that is to be on all managers.
type image struct {
	repo   string
	digest digest.Digest
	size   int64
}

func (i image) String() string { return i.repo + "@" + i.digest.String() }

// wanted returns what is to be here.
func (s *Set) wanted() map[string]image {
	want := map[string]image{}
	for repo, tags := range s.o.Tags.All() {
		for _, to := range tags {
			i := image{repo, to.Digest, to.Size}
			want[i.String()] = i
		}
	}
	for _, pinned := range s.o.Pinned() {
		repo, d, err := registry.Repository(pinned)
		i := image{repo, d, 0}
		if _, ok := want[i.String()]; err == nil && !ok {
			want[i.String()] = i
		}
	}
	return want
}

// Run keeps the registry in step with the others until ctx ends: it has all images come here that are to be
// here, one after the other, and all tags.
func (s *Set) Run(ctx context.Context) error {
	s.running.Go(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		_ = s.o.Tags.Settle(ctx)
	})
	sparse, retry, had := map[digest.Digest]time.Time{}, fillRetry, 0
	for {
		changed := s.o.Tags.Changed()
		want := s.wanted()
		err := s.fill(ctx, maps.Clone(want), sparse)
		if ctx.Err() != nil {
			return nil
		}
		wait, has := fillEvery, s.Filled().Images
		if err != nil {
			s.o.Log.Debug("failed to bring an image here; will retry", "error", err)
			if has > had {
				retry = fillRetry
			}
			wait, retry = retry, min(2*retry, fillMost)
		} else {
			retry = fillRetry
		}
		had = has
		s.rest(ctx, wait, changed, want)
	}
}

// rest waits for a while, or until what is to be here is something else than it was.
func (s *Set) rest(ctx context.Context, wait time.Duration, changed <-chan struct{}, was map[string]image) {
	end := time.NewTimer(wait)
	defer end.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-ctx.Done():
			return
		case <-changed:
		}
		if clock.Sleep(ctx, fillPause) != nil {
			return
		}
		changed = s.o.Tags.Changed()
		if !maps.Equal(s.wanted(), was) {
			return
		}
	}
}

// fill brings what is missing, and returns the error of one that could not be brought.
func (s *Set) fill(ctx context.Context, want map[string]image, sparse map[digest.Digest]time.Time) (failed error) {
	if err := s.Registry.Follow(ctx); err != nil {
		return err
	}
	maps.DeleteFunc(sparse, func(_ digest.Digest, at time.Time) bool { return time.Since(at) > sparseAge })
	var missing []image
	for key, i := range want {
		s.mu.Lock()
		here := s.whole[key]
		s.mu.Unlock()
		if !here && !s.isHere(i.repo, i.digest, sparse, maxDepth) {
			missing = append(missing, i)
			delete(want, key)
		}
	}
	have := want // what is here of it
	s.tell(have, missing, nil)
	slices.SortFunc(missing, func(a, b image) int { return strings.Compare(a.String(), b.String()) })
	for _, i := range missing {
		if err := s.fetch(ctx, i.repo, i.digest, maxDepth); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			failed = fmt.Errorf("%s: %w", i, err)
			s.tell(have, missing, failed)
			continue
		}
		s.noteSparse(i.repo, i.digest, sparse)
		err := s.Registry.Follow(ctx) // its tags
		failed = cmp.Or(failed, err)
		have[i.String()] = i
		s.tell(have, missing, failed)
	}
	return failed
}

// tell notes how far this manager is.
func (s *Set) tell(have map[string]image, missing []image, failed error) {
	f := Filled{Images: len(have), All: len(have), Known: true}
	for _, i := range have {
		f.Bytes += i.size
	}
	f.Total = f.Bytes
	for _, i := range missing {
		if _, ok := have[i.String()]; !ok {
			f.All++
			f.Total += i.size
		}
	}
	if failed != nil {
		f.Problem = failed.Error()
		f.Problem = f.Problem[:min(len(f.Problem), maxSaid)]
	}
	whole := make(map[string]bool, len(have))
	for key := range have {
		whole[key] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filled, s.whole = f, whole
}

// isHere reports whether an image is here with all that there is of it.
func (s *Set) isHere(repo string, d digest.Digest, sparse map[digest.Digest]time.Time, depth int) bool {
	return s.isWhole(repo, d, sparse, depth, map[digest.Digest]bool{})
}

// isWhole is isHere, where some manifests are known to be whole.
func (s *Set) isWhole(repo string, d digest.Digest, sparse map[digest.Digest]time.Time, depth int,
	whole map[digest.Digest]bool) bool {
	if whole[d] {
		return true
	}
	if depth == 0 || !s.Registry.Has(repo, d, true) {
		return false
	}
	content, err := s.Registry.Content(d)
	if err != nil {
		return false
	}
	parts, err := registry.PartsOf(content)
	if err != nil {
		return true // no more can be done about it
	}
	for _, p := range parts {
		_, nowhere := sparse[p.Digest]
		switch {
		case nowhere:
		case p.Manifest && !s.isWhole(repo, p.Digest, sparse, depth-1, whole):
			return false
		case !p.Manifest && !s.Registry.Has(repo, p.Digest, false):
			return false
		}
	}
	whole[d] = true
	return true
}

// noteSparse notes what an index names and no manager had.
func (s *Set) noteSparse(repo string, d digest.Digest, sparse map[digest.Digest]time.Time) {
	content, err := s.Registry.Content(d)
	if err != nil {
		return
	}
	parts, _ := registry.PartsOf(content)
	for _, p := range parts {
		if p.Manifest && !s.Registry.Has(repo, p.Digest, true) {
			sparse[p.Digest] = time.Now()
		}
	}
}
