package join

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// secretFile is the mode of all files with secrets.
const secretFile = 0o600

// replaceFile puts data in the place of path, such that a power cut leaves the
// old file or the new one, and the new one once it has returned.
func replaceFile(path string, data []byte, perm fs.FileMode) error {
	dir := filepath.Dir(path)
	// WithTempDir keeps a secret out of TMPDIR, where renameio would try first.
	err := renameio.WriteFile(path, data, perm, renameio.WithTempDir(dir), renameio.WithStaticPermissions(perm))
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// createFile writes a file that must not be there yet; where it is, the error is
// fs.ErrExist and the file is as it was. As with replaceFile, it is never there
// in part.
func createFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what is there.
	if err := os.Link(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// loadOrCreate returns the content of a file, which make provides when there is
// none. Of two processes that create it at the same time, both get one content.
func loadOrCreate(path string, make func() ([]byte, error)) ([]byte, error) {
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = make(); err != nil {
		return nil, err
	}
	err = createFile(path, data)
	if errors.Is(err, fs.ErrExist) {
		return os.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// syncDir makes the names in a folder survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// damaged is the error for a file that is there but cannot be used. Nothing is
// made anew in its place: that would cut off every node that relies on it.
func damaged(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a backup", path, err)
}
