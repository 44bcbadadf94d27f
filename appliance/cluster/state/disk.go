package state

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Options are what a Disk needs beside its directory.
type Options struct {
	// Author is who commits: this node's name.
	Author string
	// Files are the files of versions before, by the names of their documents.
	Files map[string]string
	// Dirs are directories of them, by what the names of their documents begin with: that of
	// a document is the rest of its name and ".json".
	Dirs map[string]string
	// Left reports whether a version before may have left the cluster, which it does by removing
	// all of Files; nil: it has. Otherwise missing files are written again.
	Left func() bool
}

// Disk is a store on this node's disk. Several processes may have one open.
type Disk struct {
	Options
	dir     string
	objects objects
	lock    *os.File
	step    func(string) // for tests: called between writes

	mu      sync.Mutex
	history []snapshot // the newest last; none before the first commit
	late    []string   // documents whose files could not be written
	changed chan struct{}
}

// snapshot is a commit with its ID.
type snapshot struct {
	id Version
	record
}

// record is the object of a commit. It has the tree in it, which would cost a sync of its own.
type record struct {
	Commit
	Tree tree `json:"tree"`
}

type tree map[string]blob

type blob struct {
	Hash string `json:"hash"`
	Size int    `json:"size"`
}

// Open opens the store in dir, which is made where it is not there, and takes the files of
// versions before over.
func Open(dir string, o Options) (*Disk, error) {
	d := &Disk{
		Options: o,
		dir:     dir,
		objects: objects{filepath.Join(dir, "objects")},
		step:    func(string) {},
		changed: make(chan struct{}),
	}
	if err := os.MkdirAll(d.objects.dir, secretDir); err != nil {
		return nil, fmt.Errorf("open the cluster's state: %w", err)
	}
	var err error
	if d.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, secretFile); err != nil {
		return nil, fmt.Errorf("open the cluster's state: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err = d.locked(func() error {
		err := errors.Join(durable.SyncDir(filepath.Dir(dir)), durable.SyncDir(dir), durable.Sweep(d.headPath()))
		return errors.Join(err, d.prune(), d.reconcile())
	})
	if err != nil {
		d.lock.Close()
		return nil, fmt.Errorf("open the cluster's state: %w", err)
	}
	return d, nil
}

// Close lets go of the store.
func (d *Disk) Close() error { return d.lock.Close() }

func (d *Disk) headPath() string { return filepath.Join(d.dir, "head") }

// locked has no other process commit while fn runs, which begins with the newest state. The
// caller holds mu.
func (d *Disk) locked(fn func() error) error {
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	defer func() { _ = unix.Flock(int(d.lock.Fd()), unix.LOCK_UN) }() // goes with the file too
	if err := d.refresh(); err != nil {
		return err
	}
	return fn()
}

// refresh reads what another process has committed. The caller holds mu.
func (d *Disk) refresh() error {
	head, err := os.ReadFile(d.headPath())
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(d.history) == 0:
		return nil
	case err != nil:
		return err
	case len(d.history) > 0 && Version(bytes.TrimSpace(head)) == d.head().id:
		return nil
	}
	if d.history, err = load(d.dir); err == nil {
		d.tell()
	}
	return err
}

// tell tells who waits that there is a commit. The caller holds mu.
func (d *Disk) tell() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// load reads the commits that are kept, the oldest first. What the newest names is whole.
func load(dir string) ([]snapshot, error) {
	o := objects{filepath.Join(dir, "objects")}
	head, err := os.ReadFile(filepath.Join(dir, "head"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []snapshot
	for id := Version(bytes.TrimSpace(head)); id != "" &&
		len(list) < keepCommits; id = list[len(list)-1].Parent {
		s := snapshot{id: id}
		err := o.getJSON(string(id), &s.record)
		for _, b := range s.Tree {
			if len(list) == 0 && err == nil {
				_, err = o.get(b.Hash)
			}
		}
		if err != nil && len(list) > 0 {
			break // older ones are gone, and of use to nobody
		}
		if err != nil {
			return nil, damaged(dir, err)
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, damaged(dir, errors.New("head is empty"))
	}
	slices.Reverse(list)
	return list, nil
}

// damaged is the error for a store that can't be read. Nothing is made anew in its place.
func damaged(dir string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a backup; or move it away and start crawlbox again, which "+
		"takes the state over from the files beside it", dir, err)
}

// head returns the newest commit. The caller holds mu.
func (d *Disk) head() snapshot {
	if len(d.history) == 0 {
		return snapshot{}
	}
	return d.history[len(d.history)-1]
}

// Read implements Store.
func (d *Disk) Read(name string) ([]byte, Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return nil, "", fmt.Errorf("read %s of the cluster's state: %w", name, err)
	}
	head := d.head()
	b, ok := head.Tree[name]
	if !ok {
		return nil, head.id, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	data, err := d.objects.get(b.Hash)
	if err != nil {
		return nil, "", fmt.Errorf("read %s of the cluster's state: %w", name, damaged(d.dir, err))
	}
	return data, head.id, nil
}

// List implements Store.
func (d *Disk) List(prefix string) ([]Entry, Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.refresh(); err != nil {
		return nil, "", fmt.Errorf("list the cluster's state: %w", err)
	}
	head := d.head()
	return head.Tree.list(prefix), head.id, nil
}

func (t tree) list(prefix string) []Entry {
	var list []Entry
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if strings.HasPrefix(name, prefix) {
			list = append(list, Entry{Name: name, Size: t[name].Size, Hash: t[name].Hash})
		}
	}
	return list
}

// Changed implements Store.
func (d *Disk) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Commit implements Store.
func (d *Disk) Commit(ctx context.Context, base Version, changes map[string][]byte, message string) (Version, error) {
	if err := errors.Join(ctx.Err(), check(changes)); err != nil {
		return "", fmt.Errorf("commit the cluster's state: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.locked(func() error {
		// A file is one commit late at most, so that what is in it is known to be old.
		if err := errors.Join(d.unchanged(base, changes), d.export(d.late...)); err != nil {
			return err
		}
		d.late = nil
		if err := d.commit(changes, message); err != nil {
			return err
		}
		if names := slices.Collect(maps.Keys(changes)); d.export(names...) != nil {
			d.late = names // the commit stands; the next one says what is wrong
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("commit the cluster's state (%s): %w", message, err)
	}
	return d.head().id, nil
}

// unchanged refuses changes of documents that are not what they were at base.
func (d *Disk) unchanged(base Version, changes map[string][]byte) error {
	head := d.head()
	if base == head.id {
		return nil
	}
	i := slices.IndexFunc(d.history, func(s snapshot) bool { return s.id == base })
	if i < 0 && (base != "" || len(d.history) >= keepCommits) {
		return ErrConflict
	}
	var then tree
	if i >= 0 {
		then = d.history[i].Tree
	}
	for name := range changes {
		if then[name] != head.Tree[name] {
			return fmt.Errorf("%s: %w", name, ErrConflict)
		}
	}
	return nil
}

// commit writes a commit on the newest one, and the head last. The caller holds mu, and the lock.
func (d *Disk) commit(changes map[string][]byte, message string) error {
	head := d.head()
	next := snapshot{record: record{Tree: maps.Clone(head.Tree)}}
	if next.Tree == nil {
		next.Tree = tree{}
	}
	objects := map[string][]byte{}
	for name, data := range changes {
		if data == nil {
			delete(next.Tree, name)
			continue
		}
		hash := hashOf(data)
		objects[hash] = data
		next.Tree[name] = blob{Hash: hash, Size: len(data)}
	}
	if len(next.Tree) > MaxDocuments {
		return fmt.Errorf("there would be %d documents, the limit is %d", len(next.Tree), MaxDocuments)
	}
	if head.id != "" && maps.Equal(next.Tree, head.Tree) {
		return nil
	}
	next.Commit = Commit{
		Parent:  head.id,
		Author:  d.Author,
		Time:    time.Now().UTC(),
		Epoch:   head.Epoch,
		Message: message,
	}
	data, err := json.Marshal(next.record)
	if err != nil {
		return err
	}
	next.id = Version(hashOf(data))
	objects[string(next.id)] = data
	if err := d.objects.put(objects, func() { d.step("object") }); err != nil {
		return err
	}
	d.step("objects")
	if err := durable.WriteFile(d.headPath(), []byte(next.id+"\n"), secretFile); err != nil {
		return err
	}
	d.step("head")
	d.history = append(d.history, next)
	d.tell()
	if len(d.history) >= 2*keepCommits {
		_ = d.prune() // the commit stands; what is left over goes later
	}
	return nil
}

// prune forgets old commits, and removes all that no other names. The caller holds mu, and the lock.
func (d *Disk) prune() error {
	d.history = slices.Clone(d.history[max(0, len(d.history)-keepCommits):])
	kept := map[string]bool{}
	for _, s := range d.history {
		kept[string(s.id)] = true
		for _, b := range s.Tree {
			kept[b.Hash] = true
		}
	}
	return d.objects.sweep(kept)
}
