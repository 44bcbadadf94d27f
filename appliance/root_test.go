package appliance_test

import (
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
	eachGoFile(t, func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.Dir(path)
		if strings.HasSuffix(path, "_test.go") && asksForRoot.Match(text) && !slices.Contains(partly, pkg) {
			partly = append(partly, pkg)
		}
	})
	if len(partly) == 0 {
		t.Error("no package needs root")
	}
	if os.Geteuid() != 0 {
		t.Errorf("all that can pass without root is tested; not tested are parts or all of\n\t%s\nTo test them too "+
			"run `sudo make test`, `sudo make unit` for all but scenarios",
			strings.Join(partly, "\n\t"))
	}
}
