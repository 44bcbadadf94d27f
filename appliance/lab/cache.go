package lab

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cacheDir holds what takes long to make and is the same for all labs:
// $CRAWLBOX_LAB_CACHE, or crawlbox-lab in the user's cache folder.
func cacheDir() (string, error) {
	dir := os.Getenv("CRAWLBOX_LAB_CACHE")
	if dir == "" {
		parent, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find cache folder: %w", err)
		}
		dir = filepath.Join(parent, "crawlbox-lab")
	}
	return filepath.Abs(dir)
}

// cached returns the path of a file or folder in the cache. If it is not there,
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
	unlock, err := lockFile(path + ".lock")
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

// debian makes a root file system of Debian 12 with some packages, as a tar file
// or a folder, depending on ext (".tar" or ""). Other arguments make another
// file.
func debian(t TB, name, ext string, args ...string) (string, error) {
	args = append([]string{"--variant=minbase",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/locale/*"}, args...)
	recipe := sha256.Sum256([]byte(strings.Join(args, "\n")))
	return cached(fmt.Sprintf("%s-%x%s", name, recipe[:4], ext), func(path string) error {
		if err := checkTools("mmdebstrap"); err != nil {
			return err
		}
		t.Logf("lab: fetching Debian packages for %s; this happens once", name)
		cmd := exec.Command("mmdebstrap", append(args, "bookworm", path)...)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("mmdebstrap: %w\n%s", err, output)
		}
		return nil
	})
}
