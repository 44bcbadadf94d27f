package audit

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFile_KeepsTheNewest(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := openFile(path, 20, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for n := range 7 {
		if err := f.write(fmt.Appendf(nil, "line %d..\n", n)); err != nil { // two to a file
			t.Fatal(err)
		}
	}
	wantFiles(t, path, map[string]string{"": "line 6..\n", ".1": "line 4..\nline 5..\n", ".2": "line 2..\nline 3..\n"})
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the new file: %v, %v", info.Mode(), err)
	}
}

// TestFile_KilledInRotation begins with what each moment of a rotation leaves.
func TestFile_KilledInRotation(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]map[string]string{
		"before":       {"": "d\n", ".1": "c\n", ".2": "b\n", ".3": "a\n"},
		"first moved":  {"": "d\n", ".1": "c\n", ".3": "b\n"},
		"second moved": {"": "d\n", ".2": "c\n", ".3": "b\n"},
		"all moved":    {".1": "d\n", ".2": "c\n", ".3": "b\n"},
	} {
		path := filepath.Join(t.TempDir(), "audit.log")
		for suffix, text := range left {
			if err := os.WriteFile(path+suffix, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f, err := openFile(path, 3, 3)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		if err := f.write([]byte("e\n")); err != nil {
			t.Fatal(err)
		}
		t.Log(name)
		wantFiles(t, path, map[string]string{"": "e\n", ".1": "d\n", ".2": "c\n", ".3": "b\n"})
	}
}

func TestFile_TornLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte("whole\nto"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path, 100, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for range 2 {
		if err := f.write([]byte("next\n")); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, path, map[string]string{"": "whole\nto\nnext\nnext\n"})
}

func wantFiles(t *testing.T, path string, want map[string]string) {
	t.Helper()
	found, err := filepath.Glob(path + "*")
	if err != nil || len(found) != len(want) {
		t.Errorf("files %v, %v; want %d", found, err, len(want))
	}
	for suffix, text := range want {
		if got, err := os.ReadFile(path + suffix); string(got) != text {
			t.Errorf("%q has %q, %v; want %q", suffix, got, err, text)
		}
	}
}

// writeUntilKilled is the process that TestRecord_Killed kills: it goes on from
// the number of the last record, in files so small that it rotates all the time.
func writeUntilKilled(path string) {
	f, err := openFile(path, 2000, keep)
	if err != nil {
		panic(err)
	}
	l := start(f, slog.New(slog.DiscardHandler))
	var n int
	_, _ = fmt.Sscan(os.Getenv("AUDIT_TEST_FROM"), &n)
	for ; ; n++ {
		l.Record("local-api", slog.Int("n", n))
		fmt.Println(n)
	}
}

func TestRecord_Killed(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "audit.log")
	next := 0
	for round := range 10 {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITER="+path, fmt.Sprint("AUDIT_TEST_FROM=", next))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() }) // where it says nothing
		last := next - 1
		for last < next+40+7*round {
			if _, err := fmt.Fscan(out, &last); err != nil {
				t.Fatalf("the writer ended: %v", err)
			}
		}
		kill.Stop()
		_ = cmd.Process.Kill()
		for {
			if _, err := fmt.Fscan(out, &last); err != nil {
				break
			}
		}
		_ = cmd.Wait()
		next = last + 1
		wantUnbroken(t, path, last)
	}
}

// wantUnbroken wants every record that was reported as written, without a gap;
// the one after it may be there too, whole or torn.
func wantUnbroken(t *testing.T, path string, last int) {
	t.Helper()
	var text strings.Builder
	for n := keep; n >= 0; n-- {
		name := fmt.Sprintf("%s.%d", path, n)
		if n == 0 {
			name = path
		}
		b, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		text.Write(b)
	}
	have := -1
	for line := range strings.Lines(text.String()) {
		_, number, ok := strings.Cut(line, `"n":`)
		var n int
		if _, err := fmt.Sscanf(number, "%d}\n", &n); !ok || err != nil {
			continue // torn
		}
		if have >= 0 && n != have+1 && n != have {
			t.Fatalf("record %d follows %d", n, have)
		}
		have = n
	}
	if have < last {
		t.Errorf("the last record is %d, want %d", have, last)
	}
}
