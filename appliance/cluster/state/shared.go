package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// RegisterName is that of the config of Swarm whose label of the same name is the newest commit.
const RegisterName = "crawlbox.state"

const (
	// maxShare bounds how long a commit is brought to the others, and how long it is asked what they have.
	maxShare = 20 * time.Second
	// followEvery is how often it is asked whether there is a newer commit where nobody told of one.
	followEvery = 10 * time.Second
	// strayAge is how old a commit is that nobody needs before it is removed: it may be that of another
	// manager who has yet to say that it is the newest, within maxShare.
	strayAge = time.Hour
	// maxYield bounds how long a commit waits for that of another manager.
	maxYield = 200 * time.Millisecond
	// maxCommit bounds the file of a commit, in bytes: it has the documents that it changes in it.
	maxCommit = 64 << 20
)

// Cluster is what the managers of a cluster have of each other: who wrote last, and the commits.
type Cluster interface {
	// Newest returns what was made the newest commit last.
	Newest(ctx context.Context) (Mark, error)
	// SetNewest makes a commit the newest where that of a mark is it still. The error is ErrConflict
	// where it is not; where it is another it may have been done.
	SetNewest(ctx context.Context, was Mark, next Version) error
	// Put has other managers Keep the file of a commit, as many as are with this one a majority.
	Put(ctx context.Context, v Version, file []byte) error
	// Get returns the file of a commit from another manager. The error is ErrNotFound where none has it.
	Get(ctx context.Context, v Version) ([]byte, error)
	// Tell tells the other managers that there is a newer commit, and does not wait for them.
	Tell()
}

// Mark is what was the newest commit at a moment.
type Mark struct {
	Newest Version // empty: none was yet
	Moment string  // by which Cluster knows it
}

// errBehind is returned where the newest commit is nowhere.
var errBehind = errors.New("its newest commit is on no manager that answers, as where a data directory was restored " +
	"from an older backup, so nothing can be changed: start the managers that have it; or, where they are gone for " +
	"good, go on from what is here with `docker config rm " + RegisterName + "`")

// errMoved is returned where the newest commit was another, which is taken over by then.
var errMoved = fmt.Errorf("the cluster's state is changed all the time: %w", ErrConflict)

// errUnsure is returned where a commit may have become the newest.
var errUnsure = errors.New("it is not known whether this was changed; look, and try again where it was not")

// share makes a commit of this node the newest of the cluster. keep keeps it here. The caller is in locked.
func (d *Disk) share(ctx context.Context, next snapshot, file []byte, keep func() error) error {
	if d.Cluster == nil {
		return keep()
	}
	ctx, cancel := context.WithTimeout(ctx, maxShare)
	defer cancel()
	was, err := d.offer(ctx, next, file, keep)
	if err != nil {
		_ = os.Remove(d.path(string(next.id))) // nobody made it the newest
		return err
	}
	d.step("put")
	err = d.Cluster.SetNewest(ctx, was, next.id)
	if err == nil {
		d.step("set")
		return nil
	}
	// It may have been done before the answer was lost, also where that says that another is the newest by now: Swarm's
	// managers ask each other again. And others may have gone on from there.
	again, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxShare/4)
	defer cancel()
	is, readErr := d.sync(again)
	switch {
	case readErr == nil && d.index(next.id) >= 0:
		return nil
	case readErr == nil && is != was && d.knows(next.Parent):
		_ = os.Remove(d.path(string(next.id)))
		return errMoved
	case errors.Is(err, ErrConflict):
		return fmt.Errorf("%w (%v)", errUnsure, readErr)
	}
	return fmt.Errorf("%w (%w)", errUnsure, err)
}

// knows reports whether what came after a commit is all in history.
func (d *Disk) knows(v Version) bool {
	return d.index(v) >= 0 || v == "" && len(d.history) > 0 && d.history[0].Parent == ""
}

// offer keeps a commit here and on a majority, and returns what is the newest: the one that it is on. It does all at
// once, as that is so most of the time, and what was in vain harms nobody. The error is errMoved where another is.
func (d *Disk) offer(ctx context.Context, next snapshot, file []byte, keep func() error) (mark Mark, err error) {
	all, together := errgroup.WithContext(ctx)
	all.Go(func() error { return d.Cluster.Put(together, next.id, file) })
	all.Go(func() (err error) {
		if mark, err = d.Cluster.Newest(together); err == nil && mark.Newest != next.Parent {
			err = errMoved
		}
		return err
	})
	err = keep()
	if wrong := all.Wait(); err != nil || !errors.Is(wrong, errMoved) {
		return mark, cmp.Or(err, wrong)
	}
	if mark, err = d.sync(ctx); err != nil {
		return mark, err
	}
	if d.head().id != next.Parent {
		return mark, errMoved
	}
	return mark, d.Cluster.Put(ctx, next.id, file) // it was ahead of what the cluster knew
}

// yield has another manager commit before this one does again, where that was faster the last time: it would lose
// again and again otherwise, as who made the newest commit knows first that it is.
func (d *Disk) yield(ctx context.Context) {
	wait := maxYield - time.Since(time.Unix(0, d.rival.Load()))
	if wait <= 0 || d.Sync(ctx) != nil {
		return
	}
	d.mu.Lock()
	changed, last := d.changed, d.head().id == d.own
	d.mu.Unlock()
	if !last {
		return
	}
	over := time.NewTimer(min(wait, maxYield))
	defer over.Stop()
	select {
	case <-changed:
	case <-over.C:
	case <-ctx.Done():
	}
}

// sync brings this node's newest commit and the cluster's together: the one that comes after the other
// is it. The caller is in locked.
func (d *Disk) sync(ctx context.Context) (Mark, error) {
	for range maxAttempts {
		mark, err := d.Cluster.Newest(ctx)
		if err != nil {
			return mark, err
		}
		head := d.head()
		switch {
		case mark.Newest == head.id:
			return mark, nil
		case mark.Newest == "" || d.index(mark.Newest) >= 0:
			// Commits of a version before, or Swarm was restored to what it was before them.
			file, err := os.ReadFile(d.path(string(head.id)))
			if err == nil {
				err = d.Cluster.Put(ctx, head.id, file)
			}
			if err == nil {
				err = d.Cluster.SetNewest(ctx, mark, head.id)
			}
			if err != nil && !errors.Is(err, ErrConflict) {
				return mark, err
			}
		default:
			return mark, d.adopt(ctx, mark.Newest)
		}
	}
	return Mark{}, ErrConflict
}

// adopt makes a commit of another manager the newest here. The caller is in locked.
func (d *Disk) adopt(ctx context.Context, v Version) error {
	next, err := d.obtain(ctx, v)
	if err != nil {
		return err
	}
	was := d.head()
	for name, b := range next.Tree {
		if was.Tree[name] == b {
			continue
		}
		if _, err := b.read(d.dir); err == nil {
			continue
		}
		if _, err := d.obtain(ctx, b.In); err != nil {
			return err
		}
		if _, err := b.read(d.dir); err != nil {
			return damaged(d.dir, err)
		}
	}
	// Older ones let changes on them be told from conflicts; without them they all are.
	for s, n := next, 1; s.Parent != "" && n < keepCommits && d.index(s.Parent) < 0; n++ {
		if s, err = d.obtain(ctx, s.Parent); err != nil {
			break
		}
	}
	history := append(slices.Clone(d.history), next)
	if next.Parent != was.id {
		if history, err = load(d.dir, string(v)); err != nil {
			return err
		}
	}
	if err := d.setHead(history); err != nil {
		return err
	}
	d.rival.Store(0)
	changed := Contents{}
	for _, name := range changedIn(was.Tree, next.Tree) {
		changed[name] = nil
	}
	d.export(changed)
	d.tidy()
	return nil
}

// obtain returns a commit, which another manager may have.
func (d *Disk) obtain(ctx context.Context, v Version) (snapshot, error) {
	if !isCommit(string(v)) {
		return snapshot{}, fmt.Errorf("%.70q is no commit", v)
	}
	if s, err := readCommit(d.path(string(v))); err == nil && s.id == v {
		return s, nil
	}
	file, err := d.Cluster.Get(ctx, v)
	if errors.Is(err, ErrNotFound) {
		return snapshot{}, errBehind
	}
	if err != nil {
		return snapshot{}, err
	}
	if err := d.keep(v, file); err != nil {
		return snapshot{}, err
	}
	return readCommit(d.path(string(v)))
}

// Keep keeps the file of a commit of another manager, which is not the newest for that. It waits for
// nobody who commits here, who may wait for the other.
func (d *Disk) Keep(v Version, file []byte) error {
	d.rival.Store(time.Now().UnixNano())
	return d.keep(v, file)
}

func (d *Disk) keep(v Version, file []byte) error {
	id, rest, _ := bytes.Cut(file, []byte("\n"))
	if !isCommit(string(v)) || string(id) != string(v) || len(file) > maxCommit || hashOf(rest) != string(id) {
		return fmt.Errorf("keep a commit of the cluster's state: this is not %.64s", v)
	}
	if err := durable.WriteFile(d.path(string(id)), file, secretFile); err != nil {
		return fmt.Errorf("keep a commit of the cluster's state: %w", explained(d.dir, err))
	}
	return nil
}

// File returns the file of a commit for another manager. The error is ErrNotFound where it is not here.
func (d *Disk) File(v Version) ([]byte, error) {
	if !isCommit(string(v)) {
		return nil, ErrNotFound
	}
	s, err := readCommit(d.path(string(v)))
	if err != nil || s.id != v {
		return nil, ErrNotFound
	}
	return os.ReadFile(d.path(string(v)))
}

// Sync brings what is the newest here and in the cluster together once.
func (d *Disk) Sync(ctx context.Context) error {
	return d.locked(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, maxShare)
		defer cancel()
		_, err := d.sync(ctx)
		return err
	})
}

// Told is called when another manager tells of a newer commit.
func (d *Disk) Told() {
	select {
	case d.told <- struct{}{}:
	default:
	}
}

// Problem returns what keeps this node from following others, to be shown until it is over.
func (d *Disk) Problem() string {
	if p := d.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Follow takes over what other managers commit, until ctx ends.
func (d *Disk) Follow(ctx context.Context) error {
	if d.Cluster == nil {
		return nil
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	said := ""
	for {
		err := d.Sync(ctx)
		problem := ""
		if errors.Is(err, errBehind) {
			problem = "the cluster's state is not the newest: " + err.Error()
		}
		d.problem.Store(&problem)
		switch {
		case ctx.Err() != nil, errors.Is(err, errGone):
			return nil
		case err != nil && said != err.Error():
			said = err.Error()
			d.Log.Warn("failed to follow the cluster's state; reads go on with what is here", "error", err)
		case err == nil && said != "":
			said = ""
			d.Log.Info("the cluster's state is followed again")
		}
		select {
		case <-tick.C:
		case <-d.told:
		case <-ctx.Done():
			return nil
		}
	}
}
