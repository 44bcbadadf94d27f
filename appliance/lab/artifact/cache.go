package artifact

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// cacheDir holds what takes long to make and is the same for all labs:
// $CRAWLBOX_LAB_CACHE, or crawlbox-lab in the user's cache directory.
func cacheDir() (string, error) {
	dir := os.Getenv("CRAWLBOX_LAB_CACHE")
	if dir == "" {
		parent, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find cache directory: %w", err)
		}
		dir = filepath.Join(parent, "crawlbox-lab")
	}
	return filepath.Abs(dir)
}

// cached returns the path of a file or directory in the cache. If it is not there,
// build makes it under another name; processes that want it at the same time
// wait for the one that builds.
func cached(name string, build func(path string) error) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	unlock, err := frame.LockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	partial := filepath.Join(dir, "partial-"+name) // the suffix of name tells mmdebstrap the format
	if err := os.RemoveAll(partial); err != nil {  // of one that was killed
		return "", err
	}
	if err := build(partial); err != nil {
		return "", fmt.Errorf("make %s: %w", name, err)
	}
	return path, os.Rename(partial, path)
}

// debian makes a root file system of Debian 12 with some packages, as a tar file.
// Other arguments make another file.
func debian(t frame.TB, name string, args ...string) (string, error) {
	recipe := sha256.Sum256([]byte(strings.Join(args, "\n")))
	return cached(fmt.Sprintf("%s-%x.tar", name, recipe[:4]), func(path string) error {
		return bootstrap(t, DefaultRelease, path, args)
	})
}

// bootstrap makes a root file system of a release, as a tar file or a directory, depending
// on the suffix of path. It needs the distribution's servers.
func bootstrap(t frame.TB, release, path string, args []string) error {
	if err := frame.CheckTools("mmdebstrap"); err != nil {
		return err
	}
	t.Logf("lab: fetching packages of %s into %s; this happens once", release, path)
	args = append([]string{"--variant=minbase",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*"}, args...)
	cmd := exec.Command("mmdebstrap", append(args, release, path)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make release %s (its packages come from the distribution's servers): %w\n%s", release, err,
			output)
	}
	return nil
}
