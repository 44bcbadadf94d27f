package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxAttempts bounds how often a change is made again because somebody else was faster.
	maxAttempts = 32
	// maxPause bounds how long is waited before it is, times the attempts so far.
	maxPause = 5 * time.Millisecond
	// maxUpdate bounds how long one takes with all its attempts.
	maxUpdate = time.Minute
)

// retry calls fn, and again where its error is ErrConflict, a bounded number of times.
func retry(fn func(context.Context) error) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxUpdate)
	defer cancel()
	for attempt := range maxAttempts {
		if err = fn(ctx); !errors.Is(err, ErrConflict) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(maxPause * time.Duration(attempt+1))):
		}
	}
	return err
}

// Document is one document of a store, for who changes no other with it. Its methods may be
// called at the same time.
type Document struct {
	store Store
	name  string
}

// NewDocument returns the document with a name, which need not exist.
func NewDocument(store Store, name string) *Document { return &Document{store: store, name: name} }

// Load returns the document. The error is ErrNotFound where there is none.
func (d *Document) Load() ([]byte, error) {
	data, _, err := d.store.Read(d.name)
	return data, err
}

// Changed returns a channel that is closed when the document may have changed.
func (d *Document) Changed() <-chan struct{} { return d.store.Changed() }

// Update replaces the document by what fn makes of it, which is nil where there is none. fn
// is called again where somebody else changes the document meanwhile. An error of fn is
// returned as it is, and nothing is changed.
func (d *Document) Update(message string, fn func(data []byte) ([]byte, error)) error {
	return retry(func(ctx context.Context) error {
		data, v, err := d.store.Read(d.name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		next, err := fn(data)
		if err != nil || next != nil && data != nil && bytes.Equal(next, data) {
			return err
		}
		_, err = d.store.Commit(ctx, v, Contents{d.name: next}, message)
		return err
	})
}

// Damaged is the error for a document that is there but cannot be used. Nothing is made anew
// in its place: that would cut off every node that relies on it.
func (d *Document) Damaged(err error) error { return Damaged(d.name, err) }

// Damaged is the error for a document of a name; see Document.Damaged.
func Damaged(name string, err error) error {
	return fmt.Errorf("document %s of the cluster's state is damaged (%w): restore the data directory from a backup",
		name, err)
}

// LoadOrCreate returns the document, which create provides where there is none. Of two that
// create it at the same time, both get one content.
func (d *Document) LoadOrCreate(create func() ([]byte, error)) (data []byte, err error) {
	if data, err = d.Load(); !errors.Is(err, ErrNotFound) {
		return data, err
	}
	err = d.Update("create "+d.name, func(have []byte) ([]byte, error) {
		if data = have; have == nil {
			data, err = create()
			return data, err
		}
		return data, nil
	})
	return data, err
}

// Group is the documents whose names begin alike, each changed by itself. Its methods may be
// called at the same time.
type Group struct {
	store  Store
	prefix string
}

// NewGroup returns the documents whose names begin with a prefix, without which they are named.
func NewGroup(store Store, prefix string) *Group { return &Group{store, prefix} }

// Hashes returns the names of the documents, and the hashes of their contents.
func (g *Group) Hashes() (map[string]string, error) {
	list, _, err := g.store.List(g.prefix)
	hashes := map[string]string{}
	for _, e := range list {
		hashes[strings.TrimPrefix(e.Name, g.prefix)] = e.Hash
	}
	return hashes, err
}

// Load is Document.Load.
func (g *Group) Load(name string) ([]byte, error) { return NewDocument(g.store, g.prefix+name).Load() }

// Update is Document.Update.
func (g *Group) Update(name, message string, fn func(data []byte) ([]byte, error)) error {
	return NewDocument(g.store, g.prefix+name).Update(message, fn)
}

// Changed is Store.Changed.
func (g *Group) Changed() <-chan struct{} { return g.store.Changed() }

// Contents are those of documents, by their names.
type Contents = map[string][]byte

// Format is how a T is written in documents. A T is never changed once it was returned.
type Format[T any] struct {
	// Names are those of the documents, which are read as of one commit.
	Names []string
	// Decode reads a T from the documents that there are.
	Decode func(Contents) (*T, error)
	// Encode returns the documents of a T; those that it leaves out stay as they are. Those
	// that are as before are not written.
	Encode func(*T) (Contents, error)
}

// Value is what documents of a store say, in memory, where it follows the store. Its methods
// may be called at the same time, and Get does not wait for Update.
type Value[T any] struct {
	store  Store
	format Format[T]

	pendingMu sync.Mutex
	pending   []*update[T] // in order, of callers that wait for writing

	writing sync.Mutex // one commit at a time: those of one process need no second attempt

	mu      sync.Mutex
	changed <-chan struct{} // since now was read
	now     *T
	base    Version // that it is of
	hashes  []string
}

// NewValue reads a value. The error is that of the store, or that of Decode.
func NewValue[T any](store Store, format Format[T]) (*Value[T], error) {
	v := &Value[T]{store: store, format: format}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.follow(); err != nil {
		return nil, err
	}
	return v, nil
}

// Get returns the value as it is now, to be read only. It is the same pointer as long as the
// documents are. Where they cannot be read it is the last that could be.
func (v *Value[T]) Get() *T {
	v.mu.Lock()
	defer v.mu.Unlock()
	_ = v.follow() // which is tried again
	return v.now
}

// update is what one caller of Update wants.
type update[T any] struct {
	message string
	fn      func(*T) (*T, error)
	refused error // by fn
	done    bool
	err     error
}

// Update changes the value to what fn makes of it: fn returns another T, or the same to change
// nothing. It is called again with the newest where somebody else changes one of the documents
// meanwhile, which all are written in one commit. An error of fn is returned as it is, and
// nothing is changed.
//
// Updates that come while one is written are written together, in one commit: fn may be called
// by another caller of Update, while its own waits.
func (v *Value[T]) Update(message string, fn func(*T) (*T, error)) error {
	u := &update[T]{message: message, fn: fn}
	v.pendingMu.Lock()
	v.pending = append(v.pending, u)
	v.pendingMu.Unlock()

	v.writing.Lock()
	defer v.writing.Unlock()
	if u.done {
		return u.err
	}
	v.pendingMu.Lock()
	all := v.pending
	v.pending = nil
	v.pendingMu.Unlock()
	err := retry(func(ctx context.Context) error { return v.write(ctx, all) })
	for _, u := range all {
		u.done, u.err = true, cmp.Or(u.refused, err)
	}
	return u.err
}

// write makes one commit of updates. The caller holds writing.
func (v *Value[T]) write(ctx context.Context, all []*update[T]) error {
	v.mu.Lock()
	err := v.follow()
	was, base, hashes := v.now, v.base, slices.Clone(v.hashes)
	v.mu.Unlock()
	if err != nil {
		return err
	}
	next := was
	var messages []string
	for _, u := range all {
		var made *T
		if made, u.refused = u.fn(next); u.refused != nil || made == next {
			continue
		}
		next = made
		if !slices.Contains(messages, u.message) {
			messages = append(messages, u.message)
		}
	}
	if next == was {
		return nil
	}
	changes, err := v.format.Encode(next)
	if err != nil {
		return err
	}
	for i, name := range v.format.Names {
		if data, ok := changes[name]; ok {
			was := hashes[i]
			if hashes[i] = hashOf(data); hashes[i] == was {
				delete(changes, name)
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	done, err := v.store.Commit(ctx, base, changes, strings.Join(messages, "; "), v.format.Names...)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.base == base {
		v.now, v.base, v.hashes = next, done, hashes
	}
	_ = v.follow() // also what others have changed in documents that stay; the commit stands
	return nil
}

// follow reads the documents where they may have changed. The caller holds mu.
func (v *Value[T]) follow() error {
	select {
	case <-v.changed:
	default:
		if v.changed != nil {
			return nil
		}
	}
	changed := v.store.Changed() // before the documents are read
	for range maxAttempts {
		list, base, err := v.store.List("")
		if err != nil {
			return err
		}
		hashes := v.hashesIn(list)
		if v.now != nil && slices.Equal(hashes, v.hashes) {
			v.base, v.changed = base, changed
			return nil
		}
		docs, err := v.read(base)
		if errors.Is(err, ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		now, err := v.format.Decode(docs)
		if err != nil {
			return err
		}
		v.now, v.base, v.hashes, v.changed = now, base, hashes, changed
		return nil
	}
	return ErrConflict
}

// read returns the documents. The error is ErrConflict where there are commits after base.
func (v *Value[T]) read(base Version) (Contents, error) {
	docs := Contents{}
	for _, name := range v.format.Names {
		data, at, err := v.store.Read(name)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		if at != base {
			return nil, ErrConflict
		}
		if err == nil {
			docs[name] = data
		}
	}
	return docs, nil
}

// hashesIn returns the hashes of the documents, empty of those that there are not.
func (v *Value[T]) hashesIn(list []Entry) []string {
	hashes := make([]string, len(v.format.Names))
	for _, e := range list {
		if i := slices.Index(v.format.Names, e.Name); i >= 0 {
			hashes[i] = e.Hash
		}
	}
	return hashes
}
