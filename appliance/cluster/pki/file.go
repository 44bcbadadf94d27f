package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/crawlbox/crawlbox/appliance/base/durable"
)

// SecretFile is the mode of all files with secrets.
const SecretFile = 0o600

// createFile writes a file that must not be there yet; where it is, the error is
// fs.ErrExist and the file is as it was. It is never there in part.
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
	return durable.SyncDir(dir)
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

// Damaged returns the error for a file that is there but cannot be used. Nothing is
// made again in its place: that would cut off every node that relies on it.
func Damaged(path string, err error) error {
	return fmt.Errorf("%s is damaged (%w): restore it from a backup", path, err)
}
