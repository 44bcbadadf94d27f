package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
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
	// Check returns why a content of Files or Dirs is none of a document; nil: any is one.
	Check func(name string, data []byte) error
	// Left reports whether a version before may have left the cluster, which it does by removing
	// all of Files; nil: it has. Otherwise missing files are written again.
	Left func() bool
	// Cluster decides with other managers which commit is the newest; nil: this node alone does.
	Cluster Cluster
	// Log is told what happens to Files and Dirs, and of Cluster; nil: nobody is.
	Log *slog.Logger
}

// Disk is a store on this node's disk. Several processes may have one open. Who reads waits for
// nobody who commits: until a commit is on the disk, there is the one before.
type Disk struct {
	Options
	dir  string
	lock *os.File
	step func(string)  // for tests: called between writes
	told chan struct{} // that there is a newer commit elsewhere

	problem atomic.Pointer[string]
	rival   atomic.Int64 // when another manager last brought a commit that is not the newest yet, in Unix nanoseconds

	writing  chan struct{} // has a token while a commit is made; taken before mu
	exported Version       // whose documents the files have for sure, also after a power cut
	failing  string        // why files could not be written
	epoch    int           // that commits begin; see Begin
	since    int           // how many commits became the newest since the last prune
	past     versions      // that were in history and are no more

	mu      sync.Mutex
	alone   bool        // nobody but who holds writing can commit, and changes history
	seen    os.FileInfo // of the head that is the last of history
	history []snapshot  // the newest last; none before the first commit
	own     Version     // that this node made the newest last
	changed chan struct{}
}

// Names in the directory of a store, beside those of commits.
const (
	headFile     = "newest" // another name of the newest commit
	lockFile     = "lock"
	exportedFile = "exported" // has the ID of Disk.exported
	newFile      = "new"      // is there until there is a head, where other managers may have commits
)

// errGone is returned where the state was removed.
var errGone = errors.New("it is there no longer: this node has left its cluster")

// Open opens the store in dir, which is made where it is not there, and takes the files of
// versions before over.
func Open(dir string, o Options) (*Disk, error) {
	d := &Disk{Options: o, dir: dir, step: func(string) {}, writing: make(chan struct{}, 1),
		changed: make(chan struct{}), told: make(chan struct{}, 1), past: versions{}}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	err := os.MkdirAll(dir, secretDir)
	if err == nil {
		err = os.Chmod(dir, secretDir) // of one that was restored by hand
	}
	if err == nil {
		d.lock, err = os.OpenFile(d.path(lockFile), os.O_CREATE|os.O_RDONLY, secretFile)
	}
	if err != nil {
		return nil, fmt.Errorf("open the cluster's state: %w", explained(dir, err))
	}
	if err := d.locked(context.Background(), d.restore); err != nil {
		d.lock.Close()
		return nil, fmt.Errorf("open the cluster's state: %w", explained(dir, err))
	}
	return d, nil
}

// restore puts right what a power cut has left, and takes files over. The caller is in locked.
func (d *Disk) restore() error {
	switch head := d.head(); {
	case head.id == "" && d.Cluster != nil:
		if err := durable.WriteFile(d.path(newFile), nil, secretFile); err != nil {
			return err
		}
	case head.id != "":
		if err := os.Remove(d.path(newFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Its names may have been lost one by one.
		if err := os.Link(d.path(headFile), d.path(string(head.id))); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := errors.Join(durable.SyncDir(filepath.Dir(d.dir)), durable.SyncDir(d.dir)); err != nil {
		return err
	}
	if err := d.mend(); err != nil {
		return err
	}
	if d.Cluster == nil { // or one that was kept before a power cut may be the newest, which is not known yet
		if err := d.prune(); err != nil {
			return err
		}
	}
	if err := d.reconcile(); err != nil {
		return err
	}
	// Of builds between two versions, which had each content in a file of its own.
	return cmp.Or(os.RemoveAll(d.path("objects")), os.RemoveAll(d.path("head")))
}

// Close lets go of the store.
func (d *Disk) Close() error {
	_ = d.locked(context.Background(), func() error { // where the state was removed, there is nothing to do
		d.report(d.flush())
		return nil
	})
	return d.lock.Close()
}

// Remove removes the state in a data directory with the files of versions before, but for their
// directories, for a node that leaves. It waits for a commit that is under way; later ones fail.
func Remove(dataDir string) error {
	dir := Dir(dataDir)
	lock, err := os.Open(filepath.Join(dir, lockFile))
	if err == nil {
		defer lock.Close()
		err = flock(context.Background(), lock)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the cluster's state: %w", explained(dir, err))
	}
	gone := dir + ".removed" // at once, for who starts after a removal that was cut off
	paths := []string{gone, filepath.Join(dataDir, "ca")}
	for _, path := range Files(dataDir) {
		paths = append(paths, path, path+aside)
	}
	err = os.RemoveAll(gone)
	if err == nil {
		err = os.Rename(dir, gone)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the cluster's state: %w", explained(dir, err))
	}
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the cluster's state: %w", explained(dir, err))
		}
	}
	return nil
}

// A commit takes as long as its disk. Another process that takes longer is stopped, or hangs.
const (
	lockWait = time.Minute
	lockPoll = 10 * time.Millisecond
)

// flock waits until no other process has the file locked. The kernel would wait for ever, whatever
// becomes of ctx.
func flock(ctx context.Context, file *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWait, fmt.Errorf("another process has %s locked for %s already; "+
		"`fuser -v %s` says which", file.Name(), lockWait, file.Name()))
	defer cancel()
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if clock.Sleep(ctx, lockPoll) != nil {
			return context.Cause(ctx)
		}
	}
}

func (d *Disk) path(name string) string { return filepath.Join(d.dir, name) }

// locked has nobody else commit while fn runs, which begins with the newest state. It waits for who
// does, until ctx ends, and for another process not for ever.
func (d *Disk) locked(ctx context.Context, fn func() error) error {
	select {
	case d.writing <- struct{}{}:
		defer func() { <-d.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := flock(ctx, d.lock); err != nil {
		return err
	}
	defer func() { _ = unix.Flock(int(d.lock.Fd()), unix.LOCK_UN) }() // goes with the file too
	if err := d.setAlone(true); err != nil {
		return err
	}
	defer func() { _ = d.setAlone(false) }()
	return fn()
}

func (d *Disk) setAlone(alone bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if alone {
		if _, err := d.newest(); err != nil {
			return err
		}
	}
	d.alone = alone
	return nil
}

// newest returns the newest commit, which may be that of another process. The caller holds mu.
func (d *Disk) newest() (snapshot, error) {
	if d.alone {
		return d.head(), nil
	}
	head, err := os.Stat(d.path(headFile))
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(d.history) == 0:
		return snapshot{}, headless(d.dir)
	case errors.Is(err, fs.ErrNotExist):
		return snapshot{}, errGone
	case err != nil:
		return snapshot{}, err
	case d.seen != nil && os.SameFile(head, d.seen) && head.ModTime().Equal(d.seen.ModTime()):
		return d.head(), nil
	}
	history, err := load(d.dir, headFile)
	if err != nil {
		return snapshot{}, err
	}
	d.swap(history, head)
	return d.head(), nil
}

// swap has readers find another history. The caller holds mu.
func (d *Disk) swap(history []snapshot, head os.FileInfo) {
	d.history, d.seen = history, head
	close(d.changed)
	d.changed = make(chan struct{})
}

// head returns the newest commit that is known. The caller holds mu, or is in locked.
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
	head, err := d.newest()
	if err != nil {
		return nil, "", fmt.Errorf("read %s of the cluster's state: %w", name, err)
	}
	b, ok := head.Tree[name]
	if !ok {
		return nil, head.id, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	data, err := b.read(d.dir)
	if err != nil {
		return nil, "", fmt.Errorf("read %s of the cluster's state: %w", name, damaged(d.dir, err))
	}
	return data, head.id, nil
}

// List implements Store.
func (d *Disk) List(prefix string) ([]Entry, Version, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	head, err := d.newest()
	if err != nil {
		return nil, "", fmt.Errorf("list the cluster's state: %w", err)
	}
	return head.Tree.list(prefix), head.id, nil
}

// Changed implements Store.
func (d *Disk) Changed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// Commit implements Store.
func (d *Disk) Commit(
	ctx context.Context, base Version, changes Contents, message string, read ...string,
) (v Version, err error) {
	if err = check(changes); err == nil {
		d.yield(ctx)
		err = d.locked(ctx, func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, maxUpdate)
			defer cancel()
			share := func(next snapshot, file []byte, keep func() error) error { return d.share(ctx, next, file, keep) }
			return again(ctx, errMoved, func(context.Context) (err error) {
				if err := d.unchanged(base, changes, read); err != nil {
					return err
				}
				v, err = d.commit(changes, message, share)
				return err
			})
		})
	}
	if err != nil {
		return "", fmt.Errorf("commit the cluster's state (%s): %w", message, explained(d.dir, err))
	}
	return v, nil
}

// explained says what to do about a disk that takes nothing more.
func explained(dir string, err error) error {
	switch {
	case disk.IsFull(err):
		return fmt.Errorf("the disk of %s is full, make room on it: %w", dir, err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("the file system of %s is read-only, see `dmesg` for the reason: %w", dir, err)
	}
	return err
}

// unchanged refuses changes where a document is not what it was at base.
func (d *Disk) unchanged(base Version, changes Contents, read []string) error {
	head := d.head()
	if base == head.id {
		return nil
	}
	i := d.index(base)
	if i < 0 && (base != "" || len(d.history) >= keepCommits) {
		return ErrConflict
	}
	var then tree
	if i >= 0 {
		then = d.history[i].Tree
	}
	for _, name := range slices.AppendSeq(slices.Clone(read), maps.Keys(changes)) {
		if then[name].Hash != head.Tree[name].Hash {
			return fmt.Errorf("%s: %w", name, ErrConflict)
		}
	}
	return nil
}

// index returns where a commit is in history, or -1.
func (d *Disk) index(v Version) int {
	return slices.IndexFunc(d.history, func(s snapshot) bool { return s.id == v })
}

// commit writes a commit on the newest one, and is done once share returns, which has it kept on this disk. The
// caller is in locked.
func (d *Disk) commit(
	changes Contents, message string, share func(next snapshot, file []byte, keep func() error) error,
) (Version, error) {
	about := Commit{Author: d.Author, Time: time.Now().UTC(), Message: message, Epoch: d.epoch}
	next, data, err := d.head().next(about, changes)
	if err != nil || data == nil {
		return next.id, err
	}
	err = share(next, data, func() error {
		err := durable.WriteFile(d.path(string(next.id)), data, secretFile)
		d.step("commit")
		return err
	})
	if err != nil {
		return "", err
	}
	if d.index(next.id) >= 0 { // taken over from the cluster, which said only later that it had it
		return next.id, nil
	}
	if err := d.setHead(append(d.history, next)); err != nil {
		return "", err
	}
	d.mu.Lock()
	d.own = next.id
	d.mu.Unlock()
	if d.Cluster != nil {
		d.Cluster.Tell()
	}
	d.export(changes)
	d.tidy()
	return next.id, nil
}

// setHead makes the last of history the newest commit. The caller is in locked.
func (d *Disk) setHead(history []snapshot) error {
	// This has both names on the disk.
	if err := durable.Link(d.path(headFile), d.path(string(history[len(history)-1].id))); err != nil {
		return err
	}
	d.step("head")
	head, err := os.Stat(d.path(headFile))
	if err != nil {
		return err
	}
	_ = os.Remove(d.path(newFile)) // or at the next start
	d.replace(history, head)
	d.since++
	return nil
}

// replace swaps the history, and notes what is in it no more. The caller is in locked.
func (d *Disk) replace(history []snapshot, head os.FileInfo) {
	for _, s := range d.history {
		d.past[s.id] = true
	}
	for _, s := range history {
		delete(d.past, s.id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.swap(history, head)
}

// tidy prunes after every so many commits, of this node or others. They stand; what is left over goes
// later. The caller is in locked.
func (d *Disk) tidy() {
	if d.since >= keepCommits {
		_ = d.prune()
	}
}

// prune forgets old commits, and removes what no other needs: at once what came before the newest, and
// what may be that of another manager who has yet to say so at strayAge. The caller is in locked, and of what
// other managers may have the newest is known.
func (d *Disk) prune() error {
	d.since = 0
	for _, s := range d.history[:max(0, len(d.history)-keepCommits)] {
		d.past[s.id] = true
	}
	d.mu.Lock()
	d.history = slices.Clone(d.history[max(0, len(d.history)-keepCommits):])
	d.mu.Unlock()
	age := time.Duration(0)
	if d.Cluster != nil {
		age = strayAge
	}
	return sweep(d.dir, d.history, d.past, age)
}
