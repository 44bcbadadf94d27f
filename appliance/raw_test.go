package appliance_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	raw "github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// TestGolden_NoRawWords: nothing that is shown to people has words that only who wrote the programs
// knows, nor IDs of Swarm, which has names for all things.
func TestGolden_NoRawWords(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".golden") && filepath.Dir(path) != "appliance/help",
			strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for n, line := range strings.Split(string(text), "\n") {
			// The swarm itself has no name.
			line = strings.TrimPrefix(line, "Cluster:   q6sk1k9w2n7m4x0c8v5b3z1l0")
			if found := append(raw.Raw(line), raw.RawIDs(line)...); len(found) > 0 {
				t.Errorf("%s, line %d has %q: %s", path, n+1, found, line)
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatal(files, err)
	}
}
