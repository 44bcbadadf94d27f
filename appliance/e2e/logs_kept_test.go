package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestLogsKept reads what tasks wrote that are gone, on nodes that are away too, and has a task write more than its
// node's disk has room for.
func TestLogsKept(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	const image, diskSize = "localhost:8003/tiny:1", 64 << 20
	small := c.lab.AddHost(lab.StateLimit(fmt.Sprint(diskSize)))
	c.hosts = append(c.hosts, small)
	c.join(small)
	c.awaitReady(3)
	c.push(image)
	lost := c.hosts[1]
	create := func(name string, on *lab.Host, args ...string) {
		c.manager.Docker(append(append([]string{"service", "create", "--detach", "--name", name, "--network", "host",
			"--constraint", "node.hostname==" + on.Name()}, args...), image)...)
		c.awaitRunning(name, 1)
	}
	create("pinned", lost, "--env", "TINY_NAME=pinned", "--env", "TINY_LONG=30")
	create("term", lost, "--tty")
	kept := func(service string, lines int) {
		c.Helper()
		lab.WaitFor(c, patience, "the log of "+service, func() error {
			return want(len(c.logLines("--since", "1h", service)), lines)
		})
	}

	t.Run("of a run that is gone", func(t *testing.T) {
		c := c.sub(t)
		r := c.manager.Exec(t.Context(), "crawlbox", "run", "pinned", "--name", "failing", "--wait", "--retries", "0",
			"-e", "TINY_EXIT=3", "-e", "TINY_SAY=ValueError: out of luck", "-e", "TINY_LONG=5")
		if r.Code != 3 {
			t.Fatalf("exit code %d: %s", r.Code, r.Stderr)
		}
		lab.WaitFor(c, patience, "the end of its service", func() error {
			return want(strings.Contains(c.manager.Docker("service", "ls"), "failing"), false)
		})
		all := c.logLines("--run", "failing")
		if len(all) != 12 || all[0].Node != lost.Name() || all[0].Task != "failing.1" {
			t.Errorf("there are %d lines: %.300v", len(all), all)
		}
		if found := c.logLines("--run", "failing", "--grep", "Error"); len(found) != 1 {
			t.Errorf("%d lines match", len(found))
		}
		contains(t, c.fails(c.manager, 1, "logs", "--run", "unknown"), "no node keeps a log")
	})
	t.Run("over restarts of crawlbox", func(t *testing.T) {
		c := c.sub(t)
		kept("pinned", 61)
		for range 2 {
			c.agents[lost].Kill()
			c.startWorker(lost)
		}
		kept("pinned", 61)
		kept("term", 1)
		seen := map[string]bool{}
		for _, l := range c.logLines("--since", "1h", "pinned") {
			if seen[l.Text] {
				t.Errorf("%.80q is there twice", l.Text)
			}
			seen[l.Text] = true
			long := l.Stream == "stdout" && !strings.HasPrefix(l.Text, "tiny")
			if n := strings.Count(l.Text, "x"); long && n != 40_000 {
				t.Errorf("a line has %d of 40000 bytes: %.80q", n, l.Text)
			}
		}
	})
	t.Run("on a small disk", func(t *testing.T) {
		c := c.sub(t)
		const lines = 20_000 // of 1 kB
		create("noise", small, "--env", fmt.Sprint("TINY_NOISE=", lines))
		most := 0
		lab.WaitFor(c, patience, "its last line", func() error {
			used := small.Exec(t.Context(), "du", "-sk", "/var/lib/crawlbox/tasklogs")
			text, _, _ := strings.Cut(used.Stdout, "\t")
			size, err := strconv.Atoi(text)
			if err != nil { // a file went meanwhile
				return used.Err()
			}
			if most = max(most, size<<10); most > diskSize/20+64<<10 {
				t.Fatalf("the logs take %d bytes of a disk of %d", most, diskSize)
			}
			last := c.run("logs", "--since", "1h", "-n", "1", "noise")
			return want(strings.HasPrefix(last, fmt.Sprintf("noise.1@%s | noise %d ", small.Name(), lines-1)), true)
		})
		n := strings.Count(c.run("logs", "--since", "1h", "noise"), "\n")
		if n < 200 || n > lines/2 {
			t.Errorf("%d lines of %d are kept", n, lines)
		}
		t.Logf("%d bytes at the most, %d lines of %d are left", most, n, lines)
	})
	t.Run("of a node that is down", func(t *testing.T) {
		c := c.sub(t)
		for _, task := range []string{c.record("failing").Tasks[0].ID, c.tasks("term")[0].ID} {
			lab.WaitFor(c, patience, "the ends of logs on the manager", func() error {
				end := "/var/lib/crawlbox/tasklogs.ends/" + task + ".000001"
				return c.manager.Exec(t.Context(), "test", "-s", end).Err()
			})
		}
		lost.Cut()
		defer lost.Heal()
		down := "node " + lost.Name() + " is down"
		lab.WaitFor(c, patience, "a word on it", func() error {
			r := c.manager.Exec(t.Context(), "crawlbox", "logs", "--run", "failing")
			explained := strings.Contains(r.Stdout, "ValueError: out of luck")
			return want(r.Code == 0 && explained && strings.Contains(r.Stderr, down), true)
		})
		r := c.manager.Exec(t.Context(), "crawlbox", "logs", "--since", "1h", "term")
		contains(t, r.Stdout, "tiny from "+image)
		contains(t, r.Stderr, down, "but for the ends of 1 logs")
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if r := c.manager.Exec(ctx, "docker", "service", "logs", "term"); strings.Contains(r.Stdout, "tiny from") {
			t.Errorf("Docker's own command shows it too: %s", r.Stdout)
		}
	})
}
