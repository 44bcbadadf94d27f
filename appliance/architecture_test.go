// Package appliance_test holds the architecture of the whole tree.
package appliance_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestMain runs the tests in the module's directory.
func TestMain(m *testing.M) {
	if err := os.Chdir(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const module = "github.com/crawlbox/crawlbox/"

// base are the leaves that everybody may import, what is embedded too.
const base = module + "appliance/base"

// testenv helps tests.
const testenv = base + "/testenv"

// bans say which imports a part of the tree must not have, and why. The most
// specific part of an exception wins.
var bans = []struct {
	in     string // directory, with all below it
	except []string
	ban    string // import path, with all below it
	why    string
}{
	{
		"", []string{"appliance/swarm", "appliance/image", "appliance/lab"}, "github.com/docker/docker",
		"only these speak to the Docker Engine",
	},
	{"", []string{"appliance/image"}, "github.com/moby/buildkit", "builds are one package's business"},
	{"", []string{"embedded/gossip"}, "github.com/hashicorp/memberlist", "membership is gossip's business"},
	{
		"", []string{"embedded/registry"}, "github.com/distribution/distribution",
		"the registry is one package's business",
	},
	{
		"", []string{"embedded/queue/engine"}, "github.com/alicebob/miniredis",
		"data structures are the engine's business",
	},
	{
		"", []string{"appliance/cli", "appliance/release/cmd/man"}, "github.com/spf13/cobra",
		"flags end at the command line",
	},
	{
		"", []string{"appliance/release/cmd/man"}, "github.com/spf13/cobra/doc",
		"man pages are for packages, not for the binary",
	},
	{"embedded", nil, module + "appliance", "what is embedded stands alone and gets options"},
	{"embedded", nil, module + "configs", "what is embedded stands alone and gets options"},
	{"embedded/queue", nil, module + "embedded/registry", "no embedded server knows another"},
	{"embedded/queue", nil, module + "embedded/mirror", "no embedded server knows another"},
	{"embedded/queue", nil, module + "embedded/gossip", "no embedded server knows another"},
	{
		"embedded/registry/layout", nil, "github.com/distribution/distribution",
		"files are read beside distribution, which would touch them",
	},
	{
		"embedded/registry/collect", nil, "github.com/distribution/distribution",
		"files are read beside distribution, which would touch them",
	},
	{"embedded/registry", nil, module + "embedded/queue", "no embedded server knows another"},
	{"embedded/registry", nil, module + "embedded/mirror", "no embedded server knows another"},
	{"embedded/registry", nil, module + "embedded/gossip", "no embedded server knows another"},
	{"embedded/mirror", nil, module + "embedded/queue", "no embedded server knows another"},
	{"embedded/mirror", nil, module + "embedded/registry", "no embedded server knows another"},
	{"embedded/mirror", nil, module + "embedded/gossip", "no embedded server knows another"},
	{
		"embedded/mirror/exchange", []string{"embedded/mirror/exchange/wire"}, module + "embedded/mirror/exchange/wire",
		"who decides does not know who carries",
	},
	{
		"embedded/mirror/exchange", []string{"embedded/mirror/exchange/wire"}, "net/http",
		"who decides does not know who carries",
	},
	{"embedded/gossip", nil, module + "embedded/queue", "no embedded server knows another"},
	{"embedded/gossip", nil, module + "embedded/registry", "no embedded server knows another"},
	{"embedded/gossip", nil, module + "embedded/mirror", "no embedded server knows another"},
	{
		"", []string{"systemd"}, "github.com/coreos/go-systemd/v22/daemon",
		"what systemd hears is one package's business",
	},
	{
		"", []string{"systemd"}, "github.com/coreos/go-systemd/v22/journal",
		"what systemd hears is one package's business",
	},
	{"systemd", nil, module + "appliance", "units and who installs them know nothing of what runs"},
	{"systemd", nil, module + "embedded", "units and who installs them know nothing of what runs"},
	{"systemd", nil, module + "configs", "units and who installs them know nothing of what runs"},
	{"", []string{"appliance/cli/tui"}, "golang.org/x/term", "one package knows terminals"},
	{"", []string{"appliance/base/durable/disktest"}, testenv, "it is for tests"},
	{"", []string{"appliance/cli/clitest"}, module + "appliance/cli/clitest", "it is for tests"},
	{"appliance/cli/tui", nil, module + "appliance/cli", "it draws whatever it is given"},
	{"appliance/cli/command", nil, module + "appliance/node", "what commands share runs no node"},
	{"appliance", []string{"appliance/cli"}, module + "systemd", "a node does not know who runs it"},
	{"configs", nil, module + "appliance", "the config knows nothing of who reads it"},
	{"configs", nil, module + "embedded", "the config knows nothing of who reads it"},
	{"configs/document", nil, module, "it reads YAML, whatever it says"},
	{
		"", []string{"configs/compose", "appliance/swarm/servicespec"}, "github.com/compose-spec",
		"Compose's types end where services are mapped to Swarm",
	},
	{"", []string{"configs"}, "github.com/spf13/viper", "the layers of settings are the config's business"},
	{"appliance/base", nil, module + "appliance", "leaves know nobody"},
	{"appliance/base", nil, module + "embedded", "leaves know nobody"},
	{"appliance/base", nil, module + "configs", "leaves know nobody"},
	{"appliance/fleet", nil, module, "plain values know nobody"},
	{"appliance/lifecycle", nil, module, "it runs whatever it is given"},
	{"appliance/guard", nil, module, "it guards whatever it is given"},
	{"appliance/audit", nil, module, "it writes down whatever it is told"},
	{"appliance/deploy/history", nil, module, "it keeps what it is told"},
	{"appliance/sockowner", nil, module, "it knows the kernel and nobody else"},
	{"appliance/sandbox", nil, module, "it knows the kernel and nobody else"},
	{"appliance/holder/ask", nil, module, "it is in the process without rights, which asks and knows nobody"},
	{"appliance/swarm/containers", nil, module, "it knows the engine and nobody else"},
	{"", []string{"appliance/sandbox"}, "github.com/elastic/go-seccomp-bpf", "the sandbox is one package's business"},
	{
		"appliance", []string{"appliance/queueproc"}, module + "embedded/queue",
		"the queue runs in a process of its own and nowhere else",
	},
	{"appliance/failpoint", nil, module, "everybody may call it"},
	{"", []string{"appliance/base/durable/disktest"}, module + "appliance/base/durable/disktest", "it is for tests"},
	{"appliance/bootstrap", nil, module, "a line and a script know nobody"},
	{"", []string{"appliance/release"}, module + "appliance/release", "it is for those who build"},
	{"appliance/agent", nil, module + "appliance/api", "who answers a node does not know who reports"},
	{"appliance/agent", nil, module + "appliance/control", "who answers a node does not know who reports"},
	{"appliance/upgrade", nil, module + "appliance/api", "who acts does not know who reports"},
	{"appliance/upgrade", nil, module + "systemd", "a node does not know who runs it"},
	{"appliance/deploy", nil, module + "appliance/api", "who decides does not know who reports"},
	{"appliance/deploy", nil, module + "appliance/controller", "who is asked does not know who asks"},
	{"appliance/deploy", nil, module + "embedded", "it is given a registry"},
	{"appliance/controller", nil, module + "appliance/api", "who decides does not know who reports"},
	{"appliance/controller", nil, module + "appliance/control", "loops run without anybody who asks"},
	{"appliance/controller", nil, module + "embedded", "loops know the swarm and the history"},
	{"appliance/tasklog", nil, module + "appliance/api", "who reads does not know who shows"},
	{"appliance/swarm", nil, module + "appliance/tasklog", "it opens what others read"},
	{"appliance/swarm", nil, module + "appliance/api", "who acts does not know who reports"},
	{"appliance/swarm", nil, module + "appliance/deploy", "who acts does not know who decides"},
	{
		"appliance/swarm/servicespec", nil, "github.com/docker/docker/client",
		"specs are made and compared without an engine",
	},
	{
		"appliance/cluster/state", []string{"appliance/cluster/state/statetest"}, module + "appliance",
		"it keeps what it is told",
	},
	{
		"", []string{"appliance/cluster/state/statetest"}, module + "appliance/cluster/state/statetest",
		"it is for tests",
	},
	{"appliance/cluster/pki", nil, module + "appliance/cluster/token", "certificates know nobody of the cluster"},
	{"appliance/cluster/pki", nil, module + "appliance/cluster/member", "certificates know nobody of the cluster"},
	{"appliance/cluster/pki", nil, module + "appliance/cluster/enroll", "certificates know nobody of the cluster"},
	{"appliance/cluster/token", nil, module + "appliance/cluster/member", "tokens know only whose CA they name"},
	{"appliance/cluster/token", nil, module + "appliance/cluster/enroll", "tokens know only whose CA they name"},
	{"appliance/cluster/member", nil, module + "appliance/cluster/token", "the list does not know who asks"},
	{"appliance/cluster/member", nil, module + "appliance/cluster/enroll", "the list does not know who asks"},
	{
		"appliance/cluster",
		[]string{
			"appliance/cluster/setup", "appliance/cluster/authority", "appliance/cluster/recovery",
			"appliance/cluster/home",
		},
		module + "appliance/swarm", "the cluster is told what Swarm says, but by those that create, join, change and " +
			"recover the swarm",
	},
	{
		"appliance", []string{"appliance/cli", "appliance/demo", "appliance/node"}, module + "appliance/node",
		"only the command line and the demo know the whole node",
	},
	{
		"appliance", []string{"appliance/node", "appliance/control"}, module + "appliance/control",
		"use cases are the node's to build, and reached over the API",
	},
	{
		"appliance", []string{"appliance/cli", "appliance/release/cmd/man"}, module + "appliance/cli",
		"nothing stands on the command line",
	},
	{"appliance", []string{"appliance/e2e", "appliance/lab"}, module + "appliance/lab", "the lab is for tests"},
	{"appliance/lab/frame", nil, "github.com/docker/docker", "a frame holds whatever runs in it"},
	{"appliance/lab/artifact", nil, "github.com/docker/docker", "what is built needs no host"},
}

// TestImports holds the one-way imports of the tree, in the code that is built
// into the binary; tests may look further.
func TestImports(t *testing.T) {
	t.Parallel()
	checked := 0
	eachFile(t, func(path string) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			checked++
			for _, b := range bans {
				if applies(filepath.Dir(path), b.in, b.except) && below(imported, b.ban) && !self(path, imported) &&
					(b.ban == testenv || !below(imported, base)) {
					t.Errorf("%s imports %s: %s", path, imported, b.why)
				}
			}
		}
	})
	if checked == 0 {
		t.Fatal("no imports found")
	}
}

// sentenceEnd matches the end of a sentence, within a comment's text or at its end.
var sentenceEnd = regexp.MustCompile(`[.!?][)"]?(\s|$)`)

// TestPackageDocs wants one doc comment for each package, which says what it is and,
// in a second sentence at least, why it is there or as it is.
func TestPackageDocs(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{}
	eachFile(t, func(path string) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(path)
		docs[dir] = append(docs[dir], file.Doc.Text())
	})
	for dir, all := range docs {
		found := slices.DeleteFunc(all, func(doc string) bool { return doc == "" })
		if len(found) != 1 {
			t.Errorf("%s has %d package comments, want one", dir, len(found))
		} else if n := len(sentenceEnd.FindAllString(found[0], -1)); n < 2 {
			t.Errorf("%s: its package comment has %d sentences; say in another why the package is there", dir, n)
		}
	}
}

// TestTopLevel holds the tree's top level.
func TestTopLevel(t *testing.T) {
	t.Parallel()
	allowed := " main.go appliance embedded configs systemd testdata go.mod go.sum README.md LICENSE CONTRIBUTING.md " +
		"SECURITY.md Makefile .ci .github .editorconfig .gitignore CHANGELOG.md "
	ignored := " .git .cache bin dist "
	entries, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(".[a-z]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range append(entries, hidden...) {
		if !strings.Contains(allowed+ignored, " "+e+" ") {
			t.Errorf("%s does not belong at the top level", e)
		}
	}
}

// eachFile calls fn with each Go file but tests.
func eachFile(t *testing.T, fn func(path string)) {
	t.Helper()
	eachGoFile(t, func(path string) {
		if !strings.HasSuffix(path, "_test.go") {
			fn(path)
		}
	})
}

func eachGoFile(t *testing.T, fn func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == ".ci" || d.Name() == ".cache" || d.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".go"):
			fn(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func applies(dir, in string, except []string) bool {
	for _, e := range except {
		if below(dir, e) {
			return false
		}
	}
	return in == "" || below(dir, in)
}

func below(path, parent string) bool {
	parent = strings.TrimSuffix(parent, "/")
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// self reports whether a file imports from below its own directory.
func self(path, imported string) bool {
	return below(imported, module+filepath.ToSlash(filepath.Dir(path)))
}
