package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompilerFlags: programs of tests are compiled as the Makefile compiles crawlbox, so what they are made of is
// compiled once.
func TestCompilerFlags(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	flags, err := compilerFlags(root)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Count(string(text), "-gcflags="); len(flags) != all || all == 0 {
		t.Errorf("%d of the Makefile's %d -gcflags were read: %q", len(flags), all, flags)
	}
	if !strings.Contains(string(text), "-tags grpcnotrace") {
		t.Error("the Makefile builds without the tag of these programs")
	}
}
