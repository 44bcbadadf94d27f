// Package historytest has a place for histories of deploys: a directory. Tests of several packages need one, and a
// history does not know the cluster's state, in which it is kept.
package historytest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Dir keeps documents in files of a directory.
type Dir struct {
	dir string
	mu  sync.Mutex
}

// In returns the documents in a directory.
func In(dir string) *Dir { return &Dir{dir: dir} }

func (d *Dir) path(service string) string { return filepath.Join(d.dir, service+".json") }

// Hashes implements history.Documents.
func (d *Dir) Hashes() (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths, err := filepath.Glob(d.path("*"))
	hashes := map[string]string{}
	for _, path := range paths {
		data, readErr := os.ReadFile(path)
		err = errors.Join(err, readErr)
		sum := sha256.Sum256(data)
		hashes[strings.TrimSuffix(filepath.Base(path), ".json")] = hex.EncodeToString(sum[:])
	}
	return hashes, err
}

// Load implements history.Documents.
func (d *Dir) Load(service string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return os.ReadFile(d.path(service))
}

// Update implements history.Documents.
func (d *Dir) Update(service, _ string, fn func([]byte) ([]byte, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, err := os.ReadFile(d.path(service))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch data, err = fn(data); {
	case err != nil:
		return err
	case data == nil:
		return os.RemoveAll(d.path(service))
	}
	return os.WriteFile(d.path(service), data, 0o600)
}

// Changed implements history.Documents: nobody else changes them.
func (d *Dir) Changed() <-chan struct{} { return nil }
