// Package statetest has the cluster's state for tests of what keeps documents in it. It is a
// package of its own so that those of several packages can use it.
package statetest

import (
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// Open opens the state below a directory, with the files of versions before in the directory
// itself, where a test can look at them, or change them before it opens the state again.
func Open(t testing.TB, dir string) *state.Disk {
	t.Helper()
	files := map[string]string{}
	for name, path := range state.Files(dir) {
		files[name] = filepath.Join(dir, filepath.Base(path))
	}
	d, err := state.Open(filepath.Join(dir, "state"), state.Options{Files: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}
