package state

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/durable/disktest"
)

var legacy = func(dir string) map[string]string {
	return map[string]string{"a": filepath.Join(dir, "a.json"), "b": filepath.Join(dir, "b.json")}
}

// wantWhole opens the store, and wants all documents to be of one commit, which is one of two.
func wantWhole(t *testing.T, what, dir string, was, next int) {
	t.Helper()
	d, err := Open(filepath.Join(dir, "state"),
		Options{Files: legacy(dir), Dirs: map[string]string{"dir/": filepath.Join(dir, "dir")}})
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	defer d.Close()
	var got [3]string
	for i, name := range []string{"a", "b", "dir/c"} {
		data, _, err := d.Read(name)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		got[i] = string(data)
	}
	if got[0] != got[1] || got[1] != got[2] || got[0] != fmt.Sprint(was) && got[0] != fmt.Sprint(next) {
		t.Errorf("%s: the documents are %v, want %d or %d", what, got, was, next)
	}
	files := legacy(dir)
	files["dir/c"] = filepath.Join(dir, "dir", "c.json")
	for name, path := range files {
		if data, err := os.ReadFile(path); err != nil || string(data) != got[0] {
			t.Errorf("%s: the file of %s has %q, %v; the document has %s", what, name, data, err, got[0])
		}
	}
}

func number(n int) map[string][]byte {
	data := fmt.Append(nil, n)
	return map[string][]byte{"a": data, "b": data, "dir/c": data}
}

// TestCommit_PowerCut cuts the power after each write of a commit.
func TestCommit_PowerCut(t *testing.T) {
	disk := disktest.New(t, 32)
	d, err := Open(filepath.Join(disk.Dir, "state"),
		Options{Files: legacy(disk.Dir), Dirs: map[string]string{"dir/": filepath.Join(disk.Dir, "dir")}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := d.Commit(t.Context(), "", number(1), "first")
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	d.step = func(step string) {
		steps++
		was := 1
		if step == "head" || step == "file" {
			was = 2
		}
		wantWhole(t, "power cut after "+step, disk.Cut().Dir, was, 2)
	}
	if v, err = d.Commit(t.Context(), v, number(2), "second"); err != nil || steps != 5 {
		t.Fatalf("%d steps, %v", steps, err)
	}
	wantWhole(t, "power cut at the end", disk.Cut().Dir, 2, 2)
	n := 3
	d.step = func(step string) {
		if n == maxLate+1 && step != "commit" { // the files are written to the disk itself
			wantWhole(t, "power cut at a flush after "+step, disk.Cut().Dir, n, n)
		}
	}
	for ; n < 3+2*maxLate; n++ {
		if v, err = d.Commit(t.Context(), v, number(n), "more"); err != nil {
			t.Fatal(err)
		}
		if n%5 == 0 || n == maxLate+1 {
			wantWhole(t, "power cut later", disk.Cut().Dir, n, n)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	after := disk.Cut().Dir
	for name, path := range legacy(after) {
		if data, err := os.ReadFile(path); err != nil || string(data) != fmt.Sprint(2+2*maxLate) {
			t.Errorf("power cut after a stop: the file of %s has %q, %v", name, data, err)
		}
	}
}

// TestCommit_Killed kills a process that commits, again and again.
func TestCommit_Killed(t *testing.T) {
	if dir := os.Getenv("STATE_TEST_DIR"); dir != "" {
		count(dir)
	}
	t.Parallel()
	dir := t.TempDir()
	for range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCommit_Killed$")
		cmd.Env = append(os.Environ(), "STATE_TEST_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, last := bufio.NewScanner(out), 0
		kill := time.AfterFunc(100*time.Millisecond+rand.N(100*time.Millisecond), func() { _ = cmd.Process.Kill() })
		for lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "%d", &last); err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		kill.Stop()
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatal(err)
		}
		if last > 0 {
			wantWhole(t, "killed", dir, last, last+1)
		}
	}
}

// count commits numbers, and says which one it has committed, until it is killed.
func count(dir string) {
	d, err := Open(filepath.Join(dir, "state"),
		Options{Files: legacy(dir), Dirs: map[string]string{"dir/": filepath.Join(dir, "dir")}})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	n := 0
	if data, _, err := d.Read("a"); err == nil {
		_, _ = fmt.Sscan(string(data), &n)
	}
	for {
		n++
		_, v, _ := d.List("")
		if _, err := d.Commit(context.Background(), v, number(n), "count"); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}
