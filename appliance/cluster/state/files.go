package state

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// Dir returns where the state is, in a data directory.
func Dir(dataDir string) string { return filepath.Join(dataDir, "state") }

// Files returns where versions before have the documents, in a data directory.
func Files(dataDir string) map[string]string {
	return map[string]string{
		CA:         filepath.Join(dataDir, "ca", "ca.pem"),
		Tokens:     filepath.Join(dataDir, "ca", "tokens.json"),
		Members:    filepath.Join(dataDir, "ca", "members.json"),
		Removals:   filepath.Join(dataDir, "ca", "removals.json"),
		Accounts:   filepath.Join(dataDir, "ca", "accounts.json"),
		GossipKeys: filepath.Join(dataDir, "gossip.json"),
	}
}

// Dirs returns the directories of files in which versions before have documents, in a data
// directory.
func Dirs(dataDir string) map[string]string {
	return map[string]string{History: filepath.Join(dataDir, "deploys")}
}

const extension = ".json"

// file returns the file of a document, which not all have.
func (d *Disk) file(name string) (path string, ok bool) {
	for prefix, dir := range d.Dirs {
		if rest, ok := strings.CutPrefix(name, prefix); ok && !strings.Contains(rest, "/") {
			return filepath.Join(dir, rest+extension), true
		}
	}
	path, ok = d.Files[name]
	return path, ok
}

// filed returns the names of the documents that have files, or should have. In directories it
// removes what a power cut has left of files that were being written, and leaves alone what has
// another name, such as a damaged file that an operator moved out of the way.
func (d *Disk) filed() ([]string, error) {
	names := map[string]bool{}
	for name := range d.Files {
		names[name] = true
	}
	for name := range d.head().Tree {
		if _, ok := d.file(name); ok {
			names[name] = true
		}
	}
	for prefix, dir := range d.Dirs {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, f := range list {
			if f.Type().IsRegular() && durable.Leftover(f.Name()) {
				_ = os.Remove(filepath.Join(dir, f.Name()))
			}
			if name, ok := strings.CutSuffix(f.Name(), extension); ok && check(Contents{prefix + name: nil}) == nil {
				names[prefix+name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// reconcile takes over what versions before have written to their files, and puts right what
// a power cut kept from being exported. The caller holds mu, and the lock.
func (d *Disk) reconcile() error {
	names, err := d.filed()
	if err != nil {
		return err
	}
	changes, stale, there, known := map[string][]byte{}, []string{}, 0, 0
	other := d.otherCluster()
	for _, name := range names {
		path, _ := d.file(name)
		_, single := d.Files[name]
		b, ok := d.head().Tree[name]
		if ok && single {
			known++
		}
		data, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && single && other:
			changes[name] = nil
			continue
		case errors.Is(err, fs.ErrNotExist):
			stale = append(stale, name)
			continue
		case err != nil:
			return err
		}
		if single {
			there++
		}
		switch hash := hashOf(data); {
		case ok && hash == b.Hash:
		case single && other && whole(path, data):
			changes[name] = data
		case ok && (d.had(name, hash) || !whole(path, data)), !ok && d.had(name, hash):
			stale = append(stale, name)
		case !single && !whole(path, data):
			return fmt.Errorf("%s is damaged: move it away and start again; only the record of earlier deployments is "+
				"lost with it", path)
		default:
			changes[name] = data
		}
	}
	if there == 0 && known > 0 && (d.Left == nil || d.Left()) { // a version before has left its cluster
		for name := range d.Files { // it leaves the directories
			changes[name] = nil
		}
		return d.commit(changes, "left by a version before")
	}
	if len(changes) > 0 {
		if err := errors.Join(check(changes), d.commit(changes, "taken over from a version before")); err != nil {
			return err
		}
	}
	return d.export(stale...)
}

// otherCluster reports whether a version before has made another cluster since: with a CA
// that none of the commits has. What was kept of the one before is not for that.
func (d *Disk) otherCluster() bool {
	path, ok := d.Files[CA]
	if _, known := d.head().Tree[CA]; !ok || !known {
		return false
	}
	data, err := os.ReadFile(path)
	return err == nil && whole(path, data) && !d.had(CA, hashOf(data))
}

// whole reports whether a file can be what its name says. One that a disk has damaged must
// not take the place of a document that is good.
func whole(path string, data []byte) bool {
	switch filepath.Ext(path) {
	case ".json":
		return json.Valid(data)
	case ".pem":
		block, _ := pem.Decode(data)
		return block != nil
	}
	return true
}

// had reports whether a document had a content before.
func (d *Disk) had(name, hash string) bool {
	return slices.ContainsFunc(d.history, func(s snapshot) bool { return s.Tree[name].Hash == hash })
}

// export writes documents to the files of versions before, and syncs each directory once.
func (d *Disk) export(names ...string) error {
	slices.Sort(names)
	dirs := map[string]bool{}
	for _, name := range names {
		path, ok := d.file(name)
		if !ok {
			continue
		}
		if err := d.exportOne(name, path); err != nil {
			return fmt.Errorf("write %s for versions before: %w", path, err)
		}
		dirs[filepath.Dir(path)] = true
		d.step("file")
	}
	for dir := range dirs {
		if err := durable.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("write %s for versions before: %w", dir, err)
		}
	}
	return nil
}

// exportOne writes the file of a document, whose name is on the disk once its directory is synced.
func (d *Disk) exportOne(name, path string) error {
	b, ok := d.head().Tree[name]
	if !ok {
		return durable.Remove(path)
	}
	data, err := d.objects.get(b.Hash)
	if err != nil {
		return damaged(d.dir, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), secretDir); err != nil {
		return err
	}
	f, err := durable.Create(path, secretFile)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what was not kept
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
