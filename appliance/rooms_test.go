package appliance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	maxFiles   = 15    // of a package, tests apart
	maxColumns = 120   // of a line, with tabs of four
	maxNode    = 1_000 // lines of the composition root, tests apart
)

// TestRooms: a package has as many files as one can look over, and a line is as long as one can
// read. Texts that are written as they come out may have longer ones.
func TestRooms(t *testing.T) {
	t.Parallel()
	files, lines := map[string]int{}, map[string]int{}
	eachGoFile(t, func(path string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		if !strings.HasSuffix(path, "_test.go") {
			files[dir]++
			lines[dir] += strings.Count(string(text), "\n")
		}
		raw := rawLines(t, path, text)
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			line = strings.TrimSuffix(strings.ReplaceAll(line, "\t", "    "), "\n")
			if columns := len([]rune(line)); columns > maxColumns && !raw[n] {
				t.Errorf("%s:%d has %d columns, more than %d", path, n, columns, maxColumns)
			}
		}
	})
	for dir, n := range files {
		if n > maxFiles {
			t.Errorf("%s has %d files, more than %d: it is more than one subject, or small files are one", dir, n,
				maxFiles)
		}
	}
	if n := lines["appliance/node"]; n == 0 || n > maxNode {
		t.Errorf("the composition root has %d lines, want %d at most", n, maxNode)
	}
}

// rawLines returns the lines that texts in back quotes are on.
func rawLines(t *testing.T, path string, text []byte) map[int]bool {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	raw := map[int]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, "`") {
			for line := set.Position(lit.Pos()).Line; line <= set.Position(lit.End()).Line; line++ {
				raw[line] = true
			}
		}
		return true
	})
	return raw
}
