package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// secretFile and secretDir are the modes of all files and directories.
const (
	secretFile = 0o600
	secretDir  = 0o700
)

// objects are blobs, trees and commits: files that are named by the SHA-256 of their content.
type objects struct{ dir string }

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (o objects) path(hash string) string { return filepath.Join(o.dir, hash) }

// maxWrites bounds how many files are written at a time: those that are synced at the same
// time cost a disk little more than one.
const maxWrites = 16

// put writes objects, by their hashes, but for those that are there. They survive a power cut
// once it has returned. step is called after each.
func (o objects) put(list map[string][]byte, step func()) error {
	done := make(chan struct{}, len(list))
	var writing errgroup.Group
	writing.SetLimit(maxWrites)
	for hash, data := range list {
		writing.Go(func() error {
			defer func() { done <- struct{}{} }()
			return o.putOne(hash, data)
		})
	}
	for range list {
		<-done
		step()
	}
	return errors.Join(writing.Wait(), durable.SyncDir(o.dir))
}

func (o objects) putOne(hash string, data []byte) error {
	// What is there may be from before a power cut, with a size and no content.
	if have, err := o.get(hash); err == nil && have != nil {
		return nil
	}
	f, err := durable.Create(o.path(hash), secretFile)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what was not kept
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// get returns an object that is what its name says.
func (o objects) get(hash string) ([]byte, error) {
	if len(hash) != 2*sha256.Size || strings.Trim(hash, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%.80q names no object", hash)
	}
	data, err := os.ReadFile(o.path(hash))
	if err != nil {
		return nil, err
	}
	if hashOf(data) != hash {
		return nil, fmt.Errorf("%s does not hold what it should", o.path(hash))
	}
	return data, nil
}

func (o objects) getJSON(hash string, v any) error {
	data, err := o.get(hash)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", o.path(hash), err)
	}
	return nil
}

// sweep removes the objects that are not kept, and what a power cut left of others.
func (o objects) sweep(kept map[string]bool) error {
	list, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if kept[e.Name()] {
			continue
		}
		if err := os.Remove(filepath.Join(o.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
