// Package durable puts files in their place such that a power cut leaves the old one
// or the new one, and the new one once it was said to be there. Also its name is on
// the disk by then, which a rename alone does not see to, and which is easily
// forgotten where each caller writes files by itself.
package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// WriteFile puts data in the place of path, whose directory must be there.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	//lint:ignore errcheck it removes what was not kept
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Replace()
}

// File is one that is being written, beside the one that it will replace.
type File struct {
	*renameio.PendingFile
	dir string
}

// ReadJSON reads a file that WriteJSON wrote into v, and reports whether there is one.
func ReadJSON(path string, v any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	return err == nil, err
}

// WriteJSON puts v in the place of path, for its owner alone to read.
func WriteJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return WriteFile(path, append(data, '\n'), 0o600)
}

// Create begins a file that is to be in the place of path. Replace or Cleanup ends it.
func Create(path string, mode fs.FileMode) (*File, error) {
	dir := filepath.Dir(path)
	// WithTempDir keeps a secret out of TMPDIR, where renameio would try first.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(mode))
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, &fs.PathError{Op: e.Op, Path: path, Err: e.Err} // not by the name that it has for now
	}
	if err != nil {
		return nil, err
	}
	return &File{f, dir}, nil
}

// Replace puts the file in its place.
func (f *File) Replace() error {
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncDir(f.dir)
}

// Link puts another name of the file at from in the place of path.
func Link(path, from string) error {
	temp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s%d", filepath.Base(path), os.Getpid()))
	if err := os.Link(from, temp); err != nil {
		return err
	}
	defer os.Remove(temp) // does nothing once it has got its name
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// Remove removes files and returns when they stay away. One that is not there is no
// error.
func Remove(paths ...string) error {
	dirs := map[string]bool{}
	for _, path := range paths {
		switch err := os.Remove(path); {
		case err == nil:
			dirs[filepath.Dir(path)] = true
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	for dir := range dirs {
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// Mkdir makes a directory in one that is there, unless it is there too.
func Mkdir(dir string, mode fs.FileMode) error {
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(filepath.Dir(dir))
}

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes the leftovers of path. Nobody may be writing one meanwhile.
func Sweep(path string) error {
	left, err := Leftovers(path)
	if err != nil {
		return err
	}
	return Remove(left...)
}

// Leftovers lists what a power cut has left of files that were to be at path.
func Leftovers(path string) (paths []string, err error) {
	dir, base := filepath.Split(path)
	files, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), "."+base)
		if ok && number != "" && strings.Trim(number, digits) == "" && f.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, f.Name()))
		}
	}
	return paths, nil
}

// Leftover reports whether a file with this name may be a leftover, of whatever path.
func Leftover(name string) bool {
	return strings.HasPrefix(name, ".") && strings.TrimRight(name, digits) != name
}

const digits = "0123456789"
