package state

import (
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
