package state_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
)

// BenchmarkCommit commits one document of 100 KiB, which has a file of versions before, and two
// small ones at once.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprintf("documents=%d", n), func(b *testing.B) {
			dir := b.TempDir()
			files := map[string]string{}
			for i := range n {
				files[fmt.Sprint(i)] = filepath.Join(dir, fmt.Sprint(i))
			}
			d := open(b, filepath.Join(dir, "state"), state.Options{Files: files})
			var v state.Version
			for i := 0; b.Loop(); i++ {
				changes := map[string][]byte{}
				for name := range files {
					changes[name] = fmt.Appendf(bytes.Repeat([]byte(name), 100<<10/n), "%d", i)
				}
				v = commit(b, d, v, changes)
			}
		})
	}
}
