package state

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

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
type Value[T any] struct{ value }

// NewValue reads a value. The error is that of the store, or that of Decode.
func NewValue[T any](store Store, format Format[T]) (*Value[T], error) {
	v := &Value[T]{value{
		store:  store,
		names:  format.Names,
		decode: func(docs Contents) (any, error) { return format.Decode(docs) },
		encode: func(v any) (Contents, error) { return format.Encode(v.(*T)) },
	}}
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
	return v.now.(*T)
}

// Update changes the value to what fn makes of it: fn returns another T, or the same to change
// nothing. It is called again with the newest where somebody else changes one of the documents
// meanwhile, which all are written in one commit. An error of fn is returned as it is, and
// nothing is changed.
//
// Updates that come while one is written are written together, in one commit: fn may be called
// by another caller of Update, while its own waits.
func (v *Value[T]) Update(message string, fn func(*T) (*T, error)) error {
	return v.update(&update{message: message, fn: func(was any) (any, error) { return fn(was.(*T)) }})
}

// value is a Value of whatever type: the program has it once.
type value struct {
	store  Store
	names  []string
	decode func(Contents) (any, error)
	encode func(any) (Contents, error)

	pendingMu sync.Mutex
	pending   []*update // in order, of callers that wait for writing

	writing sync.Mutex // one commit at a time: those of one process need no second attempt

	mu      sync.Mutex
	changed <-chan struct{} // since now was read
	now     any
	base    Version // that it is of
	hashes  []string
}

// update is what one caller of Update wants.
type update struct {
	message string
	fn      func(any) (any, error)
	refused error // by fn
	done    bool
	err     error
}

func (v *value) update(u *update) error {
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
func (v *value) write(ctx context.Context, all []*update) error {
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
		var made any
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
	changes, err := v.encode(next)
	if err != nil {
		return err
	}
	for i, name := range v.names {
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
	done, err := v.store.Commit(ctx, base, changes, strings.Join(messages, "; "), v.names...)
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
func (v *value) follow() error {
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
		now, err := v.decode(docs)
		if err != nil {
			return err
		}
		v.now, v.base, v.hashes, v.changed = now, base, hashes, changed
		return nil
	}
	return ErrConflict
}

// read returns the documents. The error is ErrConflict where there are commits after base.
func (v *value) read(base Version) (Contents, error) {
	docs := Contents{}
	for _, name := range v.names {
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
func (v *value) hashesIn(list []Entry) []string {
	hashes := make([]string, len(v.names))
	for _, e := range list {
		if i := slices.Index(v.names, e.Name); i >= 0 {
			hashes[i] = e.Hash
		}
	}
	return hashes
}
