package restore

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/registry/archive"
)

// Images are those of a backup. They are beside the registry's directory until the backup has come to its end: only
// then is it known that nothing of it was altered.
type Images struct{ dir, temp string }

// NewImages returns the images that come for the registry of a bare machine.
func NewImages(cfg configs.Config) Images {
	return Images{dir: cfg.RegistryDir(), temp: cfg.RegistryDir() + ".restoring"}
}

// Take takes a file of a backup, if it is one of images.
func (i Images) Take(h *tar.Header, from io.Reader) error {
	err := archive.Restore(i.temp, h, from)
	if disk.IsFull(err) {
		return fmt.Errorf("the disk of %s is full, make room on it for the images: %w", i.dir, err)
	}
	return err
}

// Keep has the images be in the registry's directory, beside what is there.
func (i Images) Keep() error {
	err := archive.Move(i.temp, i.dir)
	if errors.Is(err, os.ErrNotExist) { // there are none
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore the images: %w", err)
	}
	return nil
}

// Drop removes them.
func (i Images) Drop() error { return os.RemoveAll(i.temp) }
