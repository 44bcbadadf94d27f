package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// maxAttempts bounds how often what is read is read again because somebody else has changed it.
	maxAttempts = 32
	// firstPause bounds how long is waited at first before a change is made again because somebody else was
	// faster, and maxPause later.
	firstPause = 5 * time.Millisecond
	maxPause   = 200 * time.Millisecond
	// maxUpdate bounds how long one takes with all its attempts.
	maxUpdate = time.Minute
)

// retry calls fn, and again where its error is ErrConflict, for maxUpdate at the most.
func retry(fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), maxUpdate)
	defer cancel()
	return again(ctx, ErrConflict, fn)
}

// again calls fn, and again where its error is one, until ctx ends.
func again(ctx context.Context, one error, fn func(context.Context) error) error {
	for pause := firstPause; ; pause = min(pause+firstPause, maxPause) {
		err := fn(ctx)
		if !errors.Is(err, one) || clock.Sleep(ctx, rand.N(pause)) != nil {
			return err
		}
	}
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
