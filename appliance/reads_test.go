package appliance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// unbounded read until the other end stops, into memory.
var unbounded = map[string]bool{
	"json.NewDecoder": true, "io.ReadAll": true, "ioutil.ReadAll": true, "bufio.NewScanner": true,
	".ReadString": true, ".ReadBytes": true, ".ReadFrom": true,
}

// mayRead are the files that read so all the same, and why nobody else than root of this
// machine says how much.
var mayRead = map[string]string{
	"appliance/base/bound/read.go": "it is what bounds",

	"appliance/api/build.go":             "the head of a build, within io.LimitedReader",
	"appliance/cli/join.go":              "a file, within io.LimitReader",
	"appliance/cli/queue.go":             "what a person types",
	"appliance/cli/queue_push.go":        "what a person pipes, line by line",
	"appliance/doctor/kernel.go":         "a file, within io.LimitReader",
	"appliance/doctor/port.go":           "a table of the kernel, line by line",
	"appliance/image/stream.go":          "the Docker Engine of this machine, which is root here",
	"appliance/lab":                      "for tests",
	"appliance/sockowner/procnet.go":     "a table of the kernel, within io.LimitReader",
	"appliance/swarm/pull.go":            "the Docker Engine of this machine, which is root here",
	"configs":                            "a file, within io.LimitReader",
	"embedded/mirror/load.go":            "a file of the cache, whose first line was written here",
	"embedded/mirror/exchange/answer.go": "it copies, and keeps nothing",
}

// TestReads: what comes from the network is read through appliance/base/bound, or not
// into memory.
func TestReads(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	eachFile(t, func(path string) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := calls(call)
			if name == "" {
				return true
			}
			for dir := path; dir != "."; dir = filepath.Dir(dir) {
				if _, ok := mayRead[dir]; ok {
					used[dir] = true
					return true
				}
			}
			t.Errorf("%s calls %s: read with appliance/base/bound", path, name)
			return true
		})
	})
	for path := range mayRead {
		if !used[path] {
			t.Errorf("%s reads nothing without a bound any more: take it off the list", path)
		}
	}
}

// calls names what is called if it is unbounded.
func calls(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	name := "." + f.Sel.Name
	if unbounded[name] {
		return name
	}
	if pkg, ok := f.X.(*ast.Ident); ok && unbounded[pkg.Name+name] {
		return pkg.Name + name
	}
	return ""
}
