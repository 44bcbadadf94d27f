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

	"appliance/api/images.go":                 "the head of a build, within io.LimitedReader",
	"appliance/cli/run/join.go":               "a file, within io.LimitReader",
	"appliance/cli/command/ask.go":            "what a person types",
	"appliance/cli/data/push.go":              "what a person pipes, line by line",
	"appliance/doctor/kernel.go":              "a file, within io.LimitReader",
	"appliance/image/stream.go":               "the Docker Engine of this machine, which is root here",
	"appliance/lab":                           "for tests",
	"appliance/sockowner/among.go":            "tables of the kernel, within io.LimitReader",
	"appliance/sockowner/procnet.go":          "a table of the kernel, within io.LimitReader",
	"appliance/swarm/pull.go":                 "the Docker Engine of this machine, which is root here",
	"configs":                                 "a file, within io.LimitReader",
	"embedded/mirror/cache/load.go":           "a file of the cache, whose first line was written here",
	"embedded/mirror/exchange/wire/answer.go": "it copies, and keeps nothing",
}

// TestReads: what comes from the network is read through appliance/base/bound, or not
// into memory.
func TestReads(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	eachFile(t, func(path string) {
		eachCall(t, path, func(call *ast.CallExpr) {
			name := calls(call)
			if name == "" {
				return
			}
			for dir := path; dir != "."; dir = filepath.Dir(dir) {
				if _, ok := mayRead[dir]; ok {
					used[dir] = true
					return
				}
			}
			t.Errorf("%s calls %s: read with appliance/base/bound", path, name)
		})
	})
	for path := range mayRead {
		if !used[path] {
			t.Errorf("%s reads nothing without a bound any more: take it off the list", path)
		}
	}
}

// eachCall calls fn with all calls in a file.
func eachCall(t *testing.T, path string, fn func(*ast.CallExpr)) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			fn(call)
		}
		return true
	})
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

// connects are calls and values by which a connection is made.
var connects = map[string]bool{
	"net.Dial":              true,
	"net.DialTimeout":       true,
	"net.DialTCP":           true,
	"net.DialUDP":           true,
	"net.DialUnix":          true,
	"tls.Dial":              true,
	"tls.DialWithDialer":    true,
	"net.Dialer":            true,
	"tls.Dialer":            true,
	"http.Client":           true,
	"http.Transport":        true,
	"http.DefaultClient":    true,
	"http.DefaultTransport": true,
	"http.Get":              true,
	"http.Post":             true,
	"http.Head":             true,
	"http.PostForm":         true,
}

// mayConnect are the files that make connections, and who says where to. To other nodes
// that is what managers know: never gossip, and never what another node says.
var mayConnect = map[string]string{
	"appliance/alerts/channels":          "to where root says in the config; redirects are not followed",
	"appliance/agent/copies/fetch.go":    "to where a person says, for what only the recovery key opens",
	"appliance/agent/client.go":          "to nodes: where isNode says that they are",
	"embedded/gossip/transport.go":       "to nodes: where Options.Known says that they are, which is isNode",
	"appliance/cluster/home/relay.go":    "to where a person has moved the queue",
	"appliance/cluster/enroll/dial.go":   "to managers, by a join token or by what managers say",
	"appliance/cluster/enroll/follow.go": "to managers, by what managers say",
	"appliance/doctor/reach.go": "to nodes, where isNode says that they are, and back to who asks, at the " +
		"address from which he does",
	"appliance/doctor/address.go":  "to nobody: it sends nothing",
	"appliance/server/server.go":   "to this machine's own socket",
	"appliance/health/health.go":   "to this node itself",
	"appliance/queueproc/dials.go": "to the Redis that root names in the config",
	"appliance/api":                "to this machine's own socket",
	"appliance/swarm":              "to this machine's Docker Engine",
	"appliance/image":              "to registries that root of the cluster names",
	"appliance/registries":         "to managers, by the client that it is given, and to handlers in this process",
	"appliance/lab":                "for tests",
	"appliance/base/testenv":       "for tests",
	"systemd":                      "to Docker's own package repository, and to systemd",
}

// TestConnects: each place that makes connections is on a list that says where to.
func TestConnects(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	eachFile(t, func(path string) {
		if below(path, "embedded/queue") {
			return // the engine's own, to what the config names
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		types := typesOnly(file)
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || types[sel] {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || !connects[pkg.Name+"."+sel.Sel.Name] {
				return true
			}
			for dir := path; dir != "."; dir = filepath.Dir(dir) {
				if _, ok := mayConnect[dir]; ok {
					used[dir] = true
					return true
				}
			}
			t.Errorf("%s uses %s.%s: say in mayConnect who decides where it connects to", path, pkg.Name, sel.Sel.Name)
			return true
		})
	})
	for path := range mayConnect {
		if !used[path] {
			t.Errorf("%s makes no connection any more: take it off the list", path)
		}
	}
}

// typesOnly are the pointers to types, such as *http.Client, which make nothing.
func typesOnly(file *ast.File) map[*ast.SelectorExpr]bool {
	types := map[*ast.SelectorExpr]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if star, ok := n.(*ast.StarExpr); ok {
			if sel, ok := star.X.(*ast.SelectorExpr); ok {
				types[sel] = true
			}
		}
		return true
	})
	return types
}
