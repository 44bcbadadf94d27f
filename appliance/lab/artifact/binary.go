// Package artifact builds what tests bring onto hosts: the program in its variants,
// images of spiders, and the bare systems that hosts with systemd boot.
//
// Each is made once for all tests of a process, or once for all on this machine, as
// hosts are many and a build takes minutes.
package artifact

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// Binary returns the path of the crawlbox program: $CRAWLBOX_BIN if that is set,
// otherwise one built from this module, once in a process.
func Binary(t frame.TB) string {
	t.Helper()
	if path := os.Getenv("CRAWLBOX_BIN"); path != "" {
		return path
	}
	path, err := buildOnce("crawlbox", ".", "-tags=grpcnotrace")
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

// BinaryWithFailpoints returns the path of a crawlbox program that can end itself
// where package failpoint says, and is the same otherwise. It is built once in a
// process.
func BinaryWithFailpoints(t frame.TB) string {
	t.Helper()
	path, err := buildOnce("failpoints/crawlbox", ".", "-tags=grpcnotrace,failpoints")
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

// BinaryOfVersion returns the path of a crawlbox program, crawlbox-VERSION, that is as
// BinaryWithFailpoints and says another version.
func BinaryOfVersion(t frame.TB, version string) string {
	t.Helper()
	path, err := buildOnce("crawlbox-"+version, ".", "-tags=grpcnotrace,failpoints",
		"-ldflags=-s -w -X github.com/crawlbox/crawlbox/appliance/cli.version="+version)
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

// BrokenBinary returns the path of a program, broken, that passes for a crawlbox until
// it is to run a node.
func BrokenBinary(t frame.TB) string {
	t.Helper()
	path, err := buildOnce("broken", "testdata/broken")
	if err != nil {
		t.Fatalf("lab: %v", err)
	}
	return path
}

var compilerFlag = regexp.MustCompile(`-gcflags='([^']+)'`)

// compilerFlags returns those of the Makefile: what crawlbox is made of has been compiled with them already.
func compilerFlags(root string) (flags []string, err error) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return nil, err
	}
	for _, match := range compilerFlag.FindAllStringSubmatch(string(text), -1) {
		flags = append(flags, "-gcflags="+match[1])
	}
	return flags, nil
}

var builds sync.Map // program → func() (string, error)

// buildOnce builds a program from a directory below this module's root.
func buildOnce(program, directory string, flags ...string) (string, error) {
	build, _ := builds.LoadOrStore(program, sync.OnceValues(func() (string, error) {
		path, err := build(program, directory, flags)
		if err != nil {
			return "", fmt.Errorf("build %s: %w", program, err)
		}
		return path, nil
	}))
	return build.(func() (string, error))()
}

// build puts the program into the cache. go build leaves a file there that is up
// to date alone, so it costs little when nothing has changed.
func build(program, directory string, flags []string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, program)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	unlock, err := frame.LockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	compiler, err := compilerFlags(root)
	if err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path}
	args = append(append(args, compiler...), flags...)
	cmd := exec.Command("go", append(args, ".")...)
	cmd.Dir = filepath.Join(root, directory)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output)
	}
	return path, nil
}

func moduleRoot() (string, error) {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	file := string(bytes.TrimSpace(output))
	if filepath.Base(file) != "go.mod" {
		return "", fmt.Errorf("find module: no go.mod here or above")
	}
	return filepath.Dir(file), nil
}
