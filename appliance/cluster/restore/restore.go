// Package restore makes a bare machine the manager of a cluster that was backed up. It puts what the
// backup has of the cluster's state on the disk, in the next epoch, and what is to be made in the new
// swarm beside it (Pending). The machine then starts as any manager does, which makes its swarm; what is
// pending is for controller/restore.
package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
	"github.com/crawlbox/crawlbox/appliance/cluster/backup"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/setup"
	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/registry/archive"
)

// pendingFile is in the data directory while a restore is not over.
const pendingFile = "restore.json"

// Pending is what is left to do to restore a cluster.
type Pending struct {
	Begun   time.Time     `json:"begun"`
	Objects fleet.Objects `json:"objects"` // of the swarm
	Made    bool          `json:"made"`    // all of Objects are there
	Images  bool          `json:"images"`  // those that services use are there
	Nodes   []backup.Node `json:"nodes"`   // of the swarm before; those that have what they had there are left out
	// Before are the addresses of managers before, which have not heard yet that they are none.
	Before []netip.Addr `json:"before"`

	path string
}

// Bare returns why a machine is not one that a cluster can be restored on.
func Bare(cfg configs.Config) error {
	_, err := state.Look(state.Dir(cfg.DataDir))
	switch _, pending := os.Stat(filepath.Join(cfg.DataDir, pendingFile)); {
	case pending == nil:
		return errors.New("the cluster has been restored on this machine already; run the same command without " +
			"--restore")
	case setup.StateOf(cfg) != setup.None || !errors.Is(err, state.ErrNotFound):
		return errors.New("this machine is a node already, and nothing was changed; restore the cluster on a bare " +
			"one, or end what is here first with `crawlbox leave --force`")
	}
	return nil
}

// Prepare writes a cluster that was backed up into the data directory of a bare machine. A config file
// that is there stays. Cut off, it is done when it is run again.
func Prepare(cfg configs.Config, node string, c backup.Content) error {
	if err := Bare(cfg); err != nil {
		return err
	}
	docs, err := documents(c, time.Now())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w; choose another with data_dir in the config", err)
	}
	files := map[string]string{backup.QueuePassword: filepath.Join(cfg.DataDir, backup.QueuePassword)}
	if cfg.File != "" {
		files[backup.ConfigFile] = cfg.File
	}
	for _, path := range c.Paths() {
		files[path] = path
	}
	for name, path := range files {
		if err := write(path, ofHere(name, c.Files[name])); err != nil {
			return fmt.Errorf("restore %s: %w", path, err)
		}
	}
	if err := state.Restore(state.Dir(cfg.DataDir), node, c.Epoch+1, docs); err != nil {
		return err
	}
	p := PendingOf(c)
	p.Images = whole(cfg, c)
	return p.In(cfg.DataDir).Save()
}

// whole reports whether the registry's directory has all images that services use, as a backup may have brought.
func whole(cfg configs.Config, c backup.Content) bool {
	c.Documents = nil // which name those that may be gone back to
	list, err := c.Images(cfg.Registry.Port)
	for _, image := range list {
		if !archive.Has(cfg.RegistryDir(), image) {
			return false
		}
	}
	return err == nil
}

// PendingOf returns what is left to do for what a backup has.
func PendingOf(c backup.Content) Pending {
	p := Pending{Begun: time.Now().UTC(), Objects: c.Objects, Nodes: c.Nodes}
	for _, n := range c.Nodes {
		if addr, err := netip.ParseAddr(n.Addr); err == nil && n.Role == fleet.RoleManager {
			p.Before = append(p.Before, addr.Unmap())
		}
	}
	return p
}

// ofHere returns what is to be in a file on this machine, which has another address.
func ofHere(name string, data []byte) []byte {
	if name == backup.ConfigFile {
		return advertised.ReplaceAll(data, []byte("#$0"))
	}
	return data
}

var advertised = regexp.MustCompile(`(?m)^advertise_addr:`)

// write writes a file, unless there is one or nothing to write.
func write(path string, data []byte) error {
	_, err := os.Lstat(path)
	if data == nil || !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}

// documents returns those of the cluster's state as they begin anew.
func documents(c backup.Content, now time.Time) (state.Contents, error) {
	docs := state.Contents{}
	for name, data := range c.Documents {
		docs[name] = data
	}
	delete(docs, state.Replicas) // they are of the swarm before
	list, err := member.Restored(docs, now)
	if err != nil {
		return nil, fmt.Errorf("restore the list of nodes: %w", err)
	}
	for name, data := range list {
		docs[name] = data
	}
	return docs, nil
}

// Load returns what is pending in a data directory, nil where nothing is.
func Load(dataDir string) (*Pending, error) {
	p := &Pending{path: filepath.Join(dataDir, pendingFile)}
	found, err := durable.ReadJSON(p.path, p)
	if err != nil {
		return nil, fmt.Errorf("read what is left to restore: %w", err)
	}
	if !found {
		return nil, nil
	}
	return p, nil
}

// Save keeps what is pending. Where nothing is, the file goes.
func (p *Pending) Save() error {
	if p.Made && len(p.Nodes) == 0 && len(p.Before) == 0 {
		return durable.Remove(p.path)
	}
	if err := durable.WriteJSON(p.path, p); err != nil {
		return fmt.Errorf("keep what is left to restore: %w", err)
	}
	return nil
}

// Told notes that a manager before has heard that it is none. It reports whether there was one at the
// address.
func (p *Pending) Told(addr netip.Addr) bool {
	was := len(p.Before)
	p.Before = slices.DeleteFunc(p.Before, func(a netip.Addr) bool { return a == addr })
	return len(p.Before) < was
}

// In returns what is pending as it is kept in another data directory.
func (p *Pending) In(dataDir string) *Pending {
	other := *p
	other.path = filepath.Join(dataDir, pendingFile)
	return &other
}
