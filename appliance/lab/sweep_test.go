package lab_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
	"github.com/crawlbox/crawlbox/appliance/lab/frame"
)

// ownerEnv turns the test program into one that owns a lab, to be killed.
const ownerEnv = "CRAWLBOX_LAB_TEST_OWNER"

func TestCleanUp_LeavesNothing(t *testing.T) {
	t.Parallel()
	before := machineLinks(t)
	var dir string
	t.Run("a lab with a running container", func(t *testing.T) {
		l := lab.New(t)
		dir = l.Dir()
		h := l.AddHost()
		h.Load(artifact.TinyImage(t, "tiny:0.01", 0))
		h.Docker("run", "--detach", "tiny:0.01")
		h.KillDocker()
		if err := leftovers(dir); err == nil {
			t.Error("a lab in use is not seen as one: the check below would pass for nothing")
		}
	})
	if err := leftovers(dir); err != nil {
		t.Error(err)
	}
	if after := machineLinks(t); after != before {
		t.Errorf("network cards before:\n%s\nafter:\n%s", before, after)
	}
}

func TestSweep_AfterKilledOwner(t *testing.T) {
	t.Parallel()
	mine := lab.New(t) // two labs at once
	mine.AddHost(lab.WithoutDocker())

	dir, owner := startOwner(t)
	if removed, err := frame.Sweep(); err != nil || slices.Contains(removed, dir) {
		t.Fatalf("a sweep with the owner alive removed %v, %v", removed, err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait()
	lab.WaitFor(t, 10*time.Second, "the lab's processes to end with their owner",
		func() error { return processesIn(dir) })

	// Another test's New may sweep first, so the result counts, not who did it.
	if _, err := frame.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := leftovers(dir); err != nil {
		t.Error(err)
	}
	if got := mine.Hosts()[0].MustExec("hostname"); got != "h1" {
		t.Errorf("the other lab's host says %q", got)
	}
}

// startOwner starts a process with a lab in which a container runs.
func startOwner(t *testing.T) (dir string, owner *exec.Cmd) {
	owner = exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), ownerEnv+"=1")
	owner.Stderr = os.Stderr
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { owner.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the owner has ended before its lab was up: %v", err)
	}
	return strings.TrimSpace(line), owner
}

func ownLabUntilKilled() {
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "Owner",
		F: func(t *testing.T) {
			l := lab.New(t)
			h := l.AddHost()
			h.Load(artifact.TinyImage(t, "tiny:0.01", 0))
			h.Docker("run", "--detach", "tiny:0.01")
			fmt.Println(l.Dir())
			select {}
		},
	}}, nil, nil)
}

// leftovers says what there is of a lab: directory, cgroups, processes.
func leftovers(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return fmt.Errorf("directory %s is there", dir)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + filepath.Base(dir))
	if err != nil || len(groups) > 0 {
		return fmt.Errorf("cgroups are there: %v, %w", groups, err)
	}
	return processesIn(dir)
}

// processesIn looks for processes that see the lab's mounts: all that run on its
// hosts do, containers included.
func processesIn(dir string) error {
	tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		return err
	}
	for _, table := range tables {
		if text, err := os.ReadFile(table); err == nil && strings.Contains(string(text), dir) {
			return fmt.Errorf("%s still has mounts of %s", filepath.Dir(table), dir)
		}
	}
	return nil
}

func machineLinks(t *testing.T) string {
	t.Helper()
	output, err := exec.Command("ip", "-brief", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}
