package frame

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// removeCgroups removes the cgroups with the given name in all hierarchies.
func removeCgroups(name string) error {
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // cgroups come and go
			return nil
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == name:
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	for _, path := range found {
		err = errors.Join(err, removeTree(path))
	}
	return err
}

// removeTree removes cgroups bottom up. The kernel needs a moment to let go of
// one whose last process has just ended.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		err := Poll(5*time.Second, func() error {
			if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}
