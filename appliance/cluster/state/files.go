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

// reconcile takes over what versions before have written to their files, and puts right what
// a power cut kept from being exported. The caller holds mu, and the lock.
func (d *Disk) reconcile() error {
	names := slices.Sorted(maps.Keys(d.Files))
	changes, stale, there, known := map[string][]byte{}, []string{}, 0, 0
	for _, name := range names {
		b, ok := d.head().tree[name]
		if ok {
			known++
		}
		data, err := os.ReadFile(d.Files[name])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			stale = append(stale, name)
			continue
		case err != nil:
			return err
		}
		there++
		switch hash := hashOf(data); {
		case ok && hash == b.Hash:
		case ok && (d.had(name, hash) || !whole(d.Files[name], data)), !ok && d.had(name, hash):
			stale = append(stale, name)
		default:
			changes[name] = data
		}
	}
	if there == 0 && known > 0 { // a version before has left its cluster
		for _, name := range names {
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
	return slices.ContainsFunc(d.history, func(s snapshot) bool { return s.tree[name].Hash == hash })
}

// export writes documents to the files of versions before.
func (d *Disk) export(names ...string) error {
	slices.Sort(names)
	for _, name := range names {
		path, ok := d.Files[name]
		if !ok {
			continue
		}
		if err := d.exportOne(name, path); err != nil {
			return fmt.Errorf("write %s for versions before: %w", path, err)
		}
		d.step("file")
	}
	return nil
}

func (d *Disk) exportOne(name, path string) error {
	b, ok := d.head().tree[name]
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
	return durable.WriteFile(path, data, secretFile)
}
