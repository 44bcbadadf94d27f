// Package testenv answers what tests ask of the machine that they run on, and of chance. It
// is for tests only.
//
// Without root `go test ./...` passes what can pass: each test that needs root is left
// out, and TestNeedsRoot in package appliance fails once, with a list of them all and
// what to run instead. Where all tests are wanted, as make test does with
// CRAWLBOX_TEST_ALL=1, nothing is left out: what can't run fails.
package testenv

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// All in the environment makes tests fail that can't run here.
	All = "CRAWLBOX_TEST_ALL"
	// SeedVariable in the environment is the seed of all random tests.
	SeedVariable = "CRAWLBOX_SEED"
)

const needsRoot = "this needs root: run `sudo make test`"

// Root leaves a test out that needs root where it has none, or fails it where all tests
// are wanted.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		SkipOrFail(t, needsRoot)
	}
}

// SkipOrFail leaves a test out for what this machine lacks, or fails it where all tests are
// wanted: as root, or with CRAWLBOX_TEST_ALL=1.
func SkipOrFail(t testing.TB, what any) {
	t.Helper()
	if wantsAll() {
		t.Fatal(what)
	}
	t.Skip(what)
}

// RootForAll is for a package of whose tests each needs root: without it the process
// ends.
func RootForAll() {
	switch {
	case os.Geteuid() == 0:
	case wantsAll():
		fmt.Fprintln(os.Stderr, needsRoot)
		os.Exit(1)
	default:
		fmt.Println(needsRoot)
		os.Exit(0)
	}
}

func wantsAll() bool { return os.Geteuid() == 0 || os.Getenv(All) != "" }

// Seed returns the seed for what a test does at random, another one each time, and
// prints how to run the test again with the same.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	t.Logf("again with %s=%d", SeedVariable, seed)
	return seed
}

// WantMode wants a file to be there with permissions.
func WantMode(t testing.TB, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
	}
}

// SmallDisk mounts a file system of its own, with the options of a tmpfs such as
// size=64k, until the test ends. It needs root.
func SmallDisk(t testing.TB, options string) string {
	t.Helper()
	Root(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		SkipOrFail(t, fmt.Errorf("mount a small disk: %w", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
