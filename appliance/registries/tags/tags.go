// Package tags keeps what the tags of images point at in the cluster's state, so that all managers agree on it
// and it never goes back: two that push one tag at the same time are put in order there, and a manager that was
// away follows before it says anything new.
//
// The tags are spread over a few dozen documents, so that a push writes a small part of them, however many
// there are, and a cluster with a handful has a handful of documents.
package tags

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

const (
	// buckets is over how many documents the tags are spread.
	buckets = 64
	// Most is how many tags there are at most.
	Most = 50_000
	// takeRetry is how long is waited before tags of a version before are taken over again.
	takeRetry = 3 * time.Second
)

// taken is a document that says that the tags of a version before are in the state.
const taken = state.Tags + "taken"

// ErrFull is returned for a tag more than there may be.
var ErrFull = fmt.Errorf("the cluster has %d tags of images, and may have no more: remove some with "+
	"`crawlbox images rm`", Most)

// ErrCrowded is returned for a tag whose part of the tags has no room: as many long names as fill one were chosen to
// be in it.
var ErrCrowded = errors.New("the part of the cluster's list of tags is full that this tag belongs to")

// Tags are the tags of a cluster. They implement registry.Tags.
type Tags struct {
	store state.Store
	value *state.Value[all]

	mu    sync.Mutex
	later []before         // of a version before, which the state has yet to take over; nil: there are none
	of    *all             // what merged is made of
	with  registry.AllTags // merged
}

// before is a tag that a version before has written.
type before struct {
	repo, tag string
	to        registry.Tag
	over      digest.Digest // what the state had of it, which it takes the place of
}

// all is what the documents say.
type all struct {
	tags  registry.AllTags
	count int
	docs  [buckets]bool // that there are
	taken bool
}

// Open reads the tags in a store.
func Open(store state.Store) (*Tags, error) {
	c := &codec{}
	names := []string{taken}
	for i := range buckets {
		names = append(names, document(i))
	}
	value, err := state.NewValue(store, state.Format[all]{Names: names, Decode: c.decode, Encode: encode})
	if err != nil {
		return nil, err
	}
	return &Tags{store: store, value: value}, nil
}

func document(bucket int) string { return fmt.Sprintf("%s%02x", state.Tags, bucket) }

// bucket returns in which document a tag is.
func bucket(repo, tag string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(repo + ":" + tag))
	return int(h.Sum32() % buckets)
}

// codec reads documents, each once as long as it stays.
type codec struct {
	raw    [buckets][]byte
	parsed [buckets]map[string]registry.Tag
}

func (c *codec) decode(docs state.Contents) (*all, error) {
	a := &all{tags: registry.AllTags{}}
	_, a.taken = docs[taken]
	for i := range buckets {
		data, ok := docs[document(i)]
		if !ok {
			continue
		}
		a.docs[i] = true
		if c.raw[i] == nil || !bytes.Equal(data, c.raw[i]) {
			parsed := map[string]registry.Tag{}
			if err := json.Unmarshal(data, &parsed); err != nil {
				return nil, state.Damaged(document(i), err)
			}
			c.raw[i], c.parsed[i] = data, parsed
		}
		for name, to := range c.parsed[i] {
			repo, tag, ok := strings.Cut(name, ":")
			if !ok || to.Digest.Validate() != nil {
				return nil, state.Damaged(document(i), fmt.Errorf("%.300q is no tag", name))
			}
			a.set(repo, tag, to)
		}
	}
	return a, nil
}

func encode(a *all) (state.Contents, error) {
	var parts [buckets]map[string]registry.Tag
	for repo, tags := range a.tags {
		for tag, to := range tags {
			i := bucket(repo, tag)
			if parts[i] == nil {
				parts[i] = map[string]registry.Tag{}
			}
			parts[i][repo+":"+tag] = to
		}
	}
	docs := state.Contents{}
	if a.taken {
		docs[taken] = []byte("{}\n")
	}
	for i, part := range parts {
		if part == nil && !a.docs[i] {
			continue
		}
		if part == nil {
			part = map[string]registry.Tag{}
		}
		data, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		if len(data) >= state.MaxDocument {
			return nil, fmt.Errorf("%w: most of that part are of %s, so remove some of these with `crawlbox images "+
				"rm`, or give this one another name", ErrCrowded, most(part))
		}
		docs[document(i)] = append(data, '\n')
	}
	return docs, nil
}

// most returns the repository that most of some tags are of.
func most(part map[string]registry.Tag) (first string) {
	count := map[string]int{}
	for name := range part {
		repo, _, _ := strings.Cut(name, ":")
		count[repo]++
		if n := count[repo]; n > count[first] || n == count[first] && repo < first {
			first = repo
		}
	}
	return first
}

func (a *all) set(repo, tag string, to registry.Tag) {
	if a.tags[repo] == nil {
		a.tags[repo] = map[string]registry.Tag{}
	}
	if _, ok := a.tags[repo][tag]; !ok {
		a.count++
	}
	a.tags[repo][tag] = to
	a.docs[bucket(repo, tag)] = true
}

// copied returns a copy in which the tags of a repository can be changed.
func (a *all) copied(repo string) *all {
	next := *a
	next.tags = maps.Clone(a.tags)
	if tags, ok := next.tags[repo]; ok {
		next.tags[repo] = maps.Clone(tags)
	}
	return &next
}

// merge returns a with tags of a version before, but for those that have changed since.
func (a *all) merge(more []before) *all {
	copied := map[string]bool{}
	for _, b := range more {
		if a.tags[b.repo][b.tag].Digest != b.over {
			continue
		}
		if !copied[b.repo] {
			copied[b.repo], a = true, a.copied(b.repo)
		}
		a.set(b.repo, b.tag, b.to)
	}
	return a
}

// All implements registry.Tags.
func (t *Tags) All() registry.AllTags {
	now := t.value.Get()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.later == nil {
		return now.tags
	}
	if t.of != now {
		t.of, t.with = now, now.merge(t.later).tags
	}
	return t.with
}

// Set implements registry.Tags.
func (t *Tags) Set(_ context.Context, repo, tag string, to registry.Tag) error {
	err := t.update("tag "+repo+":"+tag, func(a *all) (*all, error) {
		a = a.copied(repo)
		if a.set(repo, tag, to); a.count > Most {
			return nil, ErrFull
		}
		return a, nil
	})
	if err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrCrowded) {
		err = fmt.Errorf("the image is kept, but its tag could not be set, so that it is what it was: %w; push it "+
			"again once a majority of the managers answers", err)
	}
	return err
}

// Remove implements registry.Tags.
func (t *Tags) Remove(_ context.Context, repo string, fits func(string, registry.Tag) bool) (was bool, err error) {
	err = t.update("remove tags of "+repo, func(a *all) (*all, error) {
		was = false
		next := a.copied(repo)
		for tag, to := range a.tags[repo] {
			if !fits(tag, to) {
				continue
			}
			was = true
			delete(next.tags[repo], tag)
			next.count--
		}
		if len(next.tags[repo]) == 0 {
			delete(next.tags, repo)
		}
		if !was {
			return a, nil
		}
		return next, nil
	})
	return was && err == nil, err
}

// update changes the tags, and takes those of a version before over with that.
func (t *Tags) update(message string, fn func(*all) (*all, error)) error {
	t.mu.Lock()
	later := t.later
	t.mu.Unlock()
	err := t.value.Update(message, func(a *all) (*all, error) {
		if later != nil {
			a = a.merge(later)
			next := *a
			next.taken = true
			a = &next
		}
		return fn(a)
	})
	if err == nil && later != nil {
		t.mu.Lock()
		t.later, t.of, t.with = nil, nil, nil
		t.mu.Unlock()
	}
	return err
}

// Take takes over what a version before has written: all that there is no tag of, the first time, and what was
// written after this version had written last, where only this manager may have done so. Until the state has
// them, they are tags all the same.
func (t *Tags) Take(written registry.AllTags, until time.Time, alone bool) {
	now := t.value.Get()
	later := []before{}
	for repo, tags := range written {
		for tag, to := range tags {
			is, ok := now.tags[repo][tag]
			since := now.taken && alone && !until.IsZero() && to.Pushed.After(until) && is.Digest != to.Digest
			if !now.taken && !ok || since {
				later = append(later, before{repo, tag, to, is.Digest})
			}
		}
	}
	if now.taken && len(later) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.later = later
}

// Settle has the state take over what Take has found, and returns once it has, or ctx ends.
func (t *Tags) Settle(ctx context.Context) error {
	for {
		t.mu.Lock()
		done := t.later == nil
		t.mu.Unlock()
		if done {
			return nil
		}
		err := t.update("tags of a version before", func(a *all) (*all, error) { return a, nil })
		if err != nil && clock.Sleep(ctx, takeRetry) != nil {
			return err
		}
	}
}

// Changed returns a channel that is closed when tags may have changed.
func (t *Tags) Changed() <-chan struct{} { return t.store.Changed() }
