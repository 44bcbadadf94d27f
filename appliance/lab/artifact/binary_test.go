package artifact

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Programs of tests are compiled as the Makefile compiles crawlbox: what they are made of is compiled
// once.
func TestCompilerFlags_AreThoseOfTheMakefile(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	makefile := strings.ReplaceAll(string(text), "'", "")
	for _, flag := range append(compilerFlags, "-tags grpcnotrace") {
		if !strings.Contains(makefile, flag) {
			t.Errorf("the Makefile does not have %s", flag)
		}
	}
	if got, want := strings.Count(makefile, "-gcflags="), len(compilerFlags); got != want {
		t.Errorf("the Makefile has %d -gcflags, and programs of tests %d", got, want)
	}
}
