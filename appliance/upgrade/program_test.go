package upgrade

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMain makes the test program one that can pass for crawlbox.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "version" {
		name := filepath.Base(os.Args[0])
		os.Stdout.WriteString(map[string]string{
			"good":     `{"version":"9.9.9"}`,
			"crawlbox": `{"version":"9.9.9"}`,
			"odd":      `{"version":"9 \u001b[31m"}`,
			"mute":     "",
		}[name])
		os.Exit(map[string]int{"crash": 3}[name])
	}
	os.Exit(m.Run())
}

// copyOfSelf returns this program under another name, with a change.
func copyOfSelf(t *testing.T, name string, change func([]byte)) string {
	t.Helper()
	self, err := os.ReadFile(SelfPath)
	if err != nil {
		t.Fatal(err)
	}
	change(self)
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// cutOff returns the start of this program.
func cutOff(t *testing.T, size int64) string {
	t.Helper()
	path := copyOfSelf(t, "good", func([]byte) {})
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspect(t *testing.T) {
	t.Parallel()
	same := func([]byte) {}
	path := copyOfSelf(t, "good", same)
	o, err := Inspect(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	sum, size, err := Sum(path)
	if want := (Offer{Version: "9.9.9", Arch: runtime.GOARCH, SHA256: sum, Size: size}); err != nil || o != want ||
		len(sum) != 64 {
		t.Errorf("got %+v, want %+v", o, want)
	}

	other := map[string]elf.Machine{"amd64": machines["arm64"], "arm64": machines["amd64"]}[runtime.GOARCH]
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho '{\"version\":\"1\"}'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	closed := copyOfSelf(t, "good", same)
	if err := os.Chmod(closed, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, says string }{
		"another architecture": {copyOfSelf(t, "good",
			func(b []byte) { binary.LittleEndian.PutUint16(b[18:], uint16(other)) }),
			"this machine is " + runtime.GOARCH},
		"an odd processor": {copyOfSelf(t, "good",
			func(b []byte) { binary.LittleEndian.PutUint16(b[18:], 8) }), "another processor"},
		"a script":             {script, "not a program for 64-bit Linux"},
		"another program":      {tool, "does not say its version"},
		"one that says oddly":  {copyOfSelf(t, "odd", same), "does not say its version as crawlbox does"},
		"one that says nought": {copyOfSelf(t, "mute", same), "does not say its version as crawlbox does"},
		"one that crashes":     {copyOfSelf(t, "crash", same), "exit status 3"},
		"not executable":       {closed, "make it executable"},
		"emptied": {copyOfSelf(t, "good",
			func(b []byte) { clear(b[1:]) }), "not a program for 64-bit Linux"},
		"cut off early":      {cutOff(t, 64), "cut off or damaged"},
		"cut off half":       {cutOff(t, size/2), "cut off"},
		"cut off at the end": {cutOff(t, size-1), "cut off"},
	} {
		if _, err := Inspect(t.Context(),
			c.path); !errors.Is(err, ErrNotCrawlbox) || !strings.Contains(err.Error(), c.says) ||
			!strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestInspect_BareName wants the program to be run that was looked at, and not another
// one of the name.
func TestInspect_BareName(t *testing.T) {
	path := copyOfSelf(t, "good", func([]byte) {})
	t.Chdir(filepath.Dir(path))
	t.Setenv("PATH", "/nowhere")
	if o, err := Inspect(t.Context(), "good"); err != nil || o.Version != "9.9.9" {
		t.Errorf("got %+v, %v", o, err)
	}
}
