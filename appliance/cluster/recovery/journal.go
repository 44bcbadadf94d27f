// Package recovery brings a cluster back on one of its managers, where no other can: its address is
// another one than Swarm knows, or most of the managers are gone. Nothing is brought back from elsewhere
// that is on this machine: the cluster's state, the images and the queue stay as they are.
//
// A person decides (Look, Situation.Decide), which is written down with all that it needs (Journal). The
// node does it at its next start, before it is anything, and one that runs begins anew for it (Begin).
// Killed at any moment, it goes on where it was: each step may be done twice.
//
//	the queue:  this manager is the home of it, with the copy that it has or empty
//	in place:   begin an epoch ─▶ this manager alone has Swarm's raft ─▶ its state is the newest
//	new swarm:  begin an epoch ─▶ leave the swarm ─▶ make another as after a restore, see package restore
//
// Other managers, when they wake up, hear of the higher epoch and stand down; see package notice.
package recovery

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/home/standby"
	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/cluster/restore"
)

// journalFile is in the data directory from when a recovery was decided on until it is done, as far as
// the node's start goes.
const journalFile = "recover.json"

// Journal is a recovery that was decided on.
type Journal struct {
	Begun time.Time  `json:"begun"`
	Epoch int        `json:"epoch"` // that begins with it
	Addr  netip.Addr `json:"addr"`  // of this manager from then on
	// InPlace has this manager keep its swarm; otherwise it makes another.
	InPlace bool `json:"in_place,omitempty"`
	// Queue has this manager be the home of the queue, and nothing else, and Copy is what it begins with; nil: it is
	// empty.
	Queue bool          `json:"queue,omitempty"`
	Copy  *standby.Copy `json:"copy,omitempty"`
	// Alone is set before this manager is made the only one, in place.
	Alone bool `json:"alone,omitempty"`
	// Own is this manager on the list of those that have the state, in place.
	Own replica.Replica `json:"own"`
	// Gone are Swarm's IDs of the other managers, in place.
	Gone []string `json:"gone,omitempty"`
	// Problem is why crawlbox could not do it when it tried last; empty: it has not failed.
	Problem string `json:"problem,omitempty"`
	// Pending is what is left to do once the node runs.
	Pending restore.Pending `json:"pending"`
}

func journalPath(dataDir string) string { return filepath.Join(dataDir, journalFile) }

// Load returns the journal in a data directory, nil where there is none.
func Load(dataDir string) (*Journal, error) {
	j := &Journal{}
	found, err := durable.ReadJSON(journalPath(dataDir), j)
	if err != nil {
		return nil, fmt.Errorf("read what is to be recovered: %w; remove %s and run `crawlbox recover` again", err,
			journalPath(dataDir))
	}
	if !found {
		return nil, nil
	}
	return j, nil
}

// freshEvery is how often the file of a journal is touched while it is done, and Fresh how long ago that may be.
const (
	freshEvery = 2 * time.Second
	Fresh      = 20 * time.Second
)

// refreshing shows that a journal in a file is being done, until stop is called.
func refreshing(path string) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(freshEvery)
		defer tick.Stop()
		for {
			now := time.Now()
			_ = os.Chtimes(path, now, now) // nothing where it is done
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// UnderWay reports whether a node does what is decided on at a data directory, or has a moment ago.
func UnderWay(dataDir string) bool {
	is, err := os.Stat(journalPath(dataDir))
	return err == nil && time.Since(is.ModTime()) < Fresh
}

// Save has the node at a data directory do it, now or at its next start.
func (j Journal) Save(dataDir string) error {
	if err := durable.WriteJSON(journalPath(dataDir), j); err != nil {
		return fmt.Errorf("keep what is to be recovered: %w", err)
	}
	return nil
}
