package appliance_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// asksForRoot matches what a test says that needs root.
var asksForRoot = regexp.MustCompile(`\btestenv\.(Root|RootForAll|Lacks|SmallDisk)\(|\bdisktest\.New\(`)

// TestNeedsRoot names the packages of whose tests root is needed, where there is none.
// It is the one test that fails then: the others are left out, in silence.
func TestNeedsRoot(t *testing.T) {
	t.Parallel()
	var partly []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if pkg := filepath.Dir(path); asksForRoot.Match(text) && !slices.Contains(partly, pkg) {
			partly = append(partly, pkg)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(partly) == 0 {
		t.Error("no package needs root")
	}
	if os.Geteuid() != 0 {
		t.Errorf("all that can pass without root is tested; not tested are parts or all of\n\t%s\nTo test them too "+
			"run `sudo make test`, `sudo make unit` for all but scenarios",
			strings.Join(partly, "\n\t"))
	}
}
