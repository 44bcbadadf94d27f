package appliance_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// noAddresses are the files in which a format has a colon between two values that are no host
// and port, with what they are.
var noAddresses = map[string]string{
	"appliance/addresses_test.go":           "examples",
	"appliance/rooms_test.go":               "a file and a line",
	"appliance/e2e/config_services_test.go": "a file and a line",
	"appliance/image/source/list.go":        "a file and a line",
	"configs/document/errors.go":            "a file and a line",
	"embedded/queue/compare_script_test.go": "a file and a line",
	"embedded/queue/info.go":                "a name and a number",
}

var (
	// hostPort finds what puts a host before a port, in a format.
	hostPort = regexp.MustCompile(`%[+#]?[svq]:(%d|[0-9]{2})`)
	// port finds the same in a text that follows a host, and host in what that is called.
	port = regexp.MustCompile(`^:([0-9]|$)`)
	host = regexp.MustCompile(`(?i)(ip|addr|address|host)$`)
)

// TestAddresses: a host and a port are put together by who knows brackets, netip.AddrPort or
// net.JoinHostPort, also in tests: [fd00::1]:8003 is an address, fd00::1:8003 is another one.
func TestAddresses(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	eachGoFile(t, func(path string) {
		path = filepath.ToSlash(path)
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range joinedByHand(file) {
			if noAddresses[path] != "" {
				used[path] = true
				continue
			}
			t.Errorf("%s:%d puts a host before a port without brackets; use netip.AddrPort or net.JoinHostPort", path,
				set.Position(at).Line)
		}
	})
	for path := range noAddresses {
		if !used[path] {
			t.Errorf("%s has no such format: take it off the list", path)
		}
	}
}

// joinedByHand returns where a file puts a host before a port by a format, or with +.
func joinedByHand(file *ast.File) (found []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if text, _ := strconv.Unquote(n.Value); n.Kind == token.STRING && hostPort.MatchString(text) {
				found = append(found, n.Pos())
			}
		case *ast.BinaryExpr:
			if text, known := literal(n.Y); known && port.MatchString(text) && isHost(n.X) {
				found = append(found, n.Pos())
			}
		}
		return true
	})
	return found
}

// isHost reports whether an expression ends in what is called an address, as h.IP().String() does.
func isHost(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return isHost(e.Y)
	case *ast.CallExpr:
		method, ok := e.Fun.(*ast.SelectorExpr)
		return ok && (method.Sel.Name == "String" && isHost(method.X) || host.MatchString(method.Sel.Name))
	case *ast.SelectorExpr:
		return host.MatchString(e.Sel.Name)
	case *ast.Ident:
		return host.MatchString(e.Name)
	}
	return false
}

// TestJoinedByHand wants the ways to be found in which it was done.
func TestJoinedByHand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`fmt.Sprintf("%s:%d", ip, 8003)`:             1,
		`fmt.Sprintf("https://%v:8003/v2/", a)`:      1,
		`m.IP().String() + ":8003/a:1"`:              1,
		`"https://" + ip + ":7980" + path`:           1,
		`n.Addr + ":" + strconv.Itoa(8003)`:          1,
		`net.JoinHostPort(m.IP().String(), "8003")`:  0,
		`"localhost:8003/" + q.Repository + ":" + t`: 0,
		`fmt.Sprintf("localhost:%d", port)`:          0,
		`fmt.Errorf("look at %s:%s: %w", a, b, err)`: 0,
	} {
		e, err := parser.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		file := &ast.File{Name: ast.NewIdent("x"), Decls: []ast.Decl{&ast.GenDecl{Tok: token.VAR, Specs: []ast.Spec{
			&ast.ValueSpec{Names: []*ast.Ident{ast.NewIdent("_")}, Values: []ast.Expr{e}},
		}}}}
		if got := joinedByHand(file); len(got) != want {
			t.Errorf("%s: found %d times, want %d", text, len(got), want)
		}
	}
}
