package state

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Restore makes a state of documents, of an epoch, in a directory that has none.
func Restore(dir, author string, epoch int, docs Contents) error {
	fail := func(err error) error { return fmt.Errorf("restore the cluster's state: %w", explained(dir, err)) }
	if err := check(docs); err != nil {
		return fail(err)
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) > 0 {
		return fmt.Errorf("restore the cluster's state: %s is there already, so this machine is a node; end that "+
			"first with `crawlbox leave --force`", dir)
	}
	if err := os.MkdirAll(dir, secretDir); err != nil {
		return fail(err)
	}
	before := snapshot{record: record{Commit: Commit{Epoch: epoch}}}
	about := Commit{Author: author, Time: time.Now().UTC(), Message: "restored from a backup"}
	first, file, err := before.next(about, docs)
	if err != nil {
		return fail(err)
	}
	path := filepath.Join(dir, string(first.id))
	if err := durable.WriteFile(path, file, secretFile); err != nil {
		return fail(err)
	}
	if err := durable.Link(filepath.Join(dir, headFile), path); err != nil {
		return fail(err)
	}
	return nil
}

// Begin has an epoch begin, with a commit here alone, which the cluster is told of later: its documents are
// what change makes of those that there are. Where the epoch has begun, nothing is done. It returns the
// newest commit.
func (d *Disk) Begin(epoch int, message string, change func(Contents) (Contents, error)) (v Version, err error) {
	err = d.locked(context.Background(), func() error {
		head := d.head()
		if v = head.id; v == "" {
			return ErrNotFound
		}
		if head.Epoch >= epoch {
			return nil
		}
		docs := Contents{}
		for name, b := range head.Tree {
			if docs[name], err = b.read(d.dir); err != nil {
				return damaged(d.dir, err)
			}
		}
		changes, err := change(docs)
		if err == nil {
			err = check(changes)
		}
		if err != nil {
			return err
		}
		d.epoch = epoch
		err = d.commitHere(changes, message)
		v = d.head().id
		return err
	})
	if err != nil {
		return "", fmt.Errorf("begin an epoch of the cluster's state: %w", explained(d.dir, err))
	}
	return v, nil
}

// Epoch returns how often the cluster was restored.
func (d *Disk) Epoch() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.newest()
	if err != nil {
		s = d.head()
	}
	return s.Epoch
}
