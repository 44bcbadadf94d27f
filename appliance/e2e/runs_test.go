package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/runs"
)

// TestRuns begins runs that end in each way there is, and has the leader's crawlbox killed while they do: there is one
// record of each, with what it ended by.
func TestRuns(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	const image = "localhost:8003/tiny:1"
	c.push(image)
	c.run("deploy", image, "--name", "spider", "--monitor", "1s", "--env", "TINY_NAME=kept")

	t.Run("done", func(t *testing.T) {
		c := c.sub(t)
		r := c.manager.Exec(t.Context(), "crawlbox", "run", "spider", "--name", "good", "--wait", "--replicas", "2",
			"-a", "site=shop", "-e", "TINY_EXIT=0", "-e", "TINY_SAY=crawlbox: items=5 pages=7 errors=1",
			"-e", "API_TOKEN=hush")
		if r.Code != 0 {
			t.Errorf("exit code %d", r.Code)
		}
		contains(t, r.Stdout, "tiny: with --site=shop", "items=5")
		contains(t, r.Stderr, "run good is done", "10 items, 14 pages, 2 errors")
		is := c.record("good")
		if is.State != runs.Done || len(is.Tasks) != 2 || is.By == "" || is.Digest == "" || is.Service != "spider" {
			t.Errorf("the record is %+v", is)
		}
		if is.Variables["API_TOKEN"] == "hush" || is.Variables["TINY_EXIT"] != "0" || is.Args["site"] != "shop" {
			t.Errorf("its parameters are %v, %v", is.Args, is.Variables)
		}
		contains(t, c.fails(c.manager, 1, "run", "spider", "--name", "good"), "already")
	})
	t.Run("what it took", func(t *testing.T) {
		c := c.sub(t)
		c.run("run", "spider", "--name", "eats", "--timeout", "5s", "-e", "TINY_EAT=100")
		is := c.record("eats")
		if is.State != runs.TimedOut || len(is.Tasks) != 1 {
			t.Fatalf("the record is %+v", is)
		}
		task := is.Tasks[0]
		if task.Memory == nil || *task.Memory < 90<<20 || *task.Memory > 200<<20 || task.CPU == nil || *task.CPU > 4 {
			text, _ := json.Marshal(task)
			t.Errorf("of what it took is known %s", text)
		}
		contains(t, c.run("run", "show", "eats"), "MEMORY")
	})
	t.Run("again", func(t *testing.T) {
		c := c.sub(t)
		var again runs.Record
		c.read(&again, "rerun", "good", "--wait")
		if again.State != runs.Done || *again.Items != 10 || again.ID == "good" || again.Digest == "" {
			t.Errorf("once more it is %+v", again)
		}
		if is := again.Usual; is == nil || is.Runs != 1 || *is.Pages != 14 || is.Took <= 0 {
			t.Errorf("it is compared with %+v", is)
		}
		contains(t, c.run("run", "show", again.ID), "MEDIAN OF 1", "log of task", "tiny: with --site=shop", "items=5")
	})
	t.Run("failed", func(t *testing.T) {
		c := c.sub(t)
		r := c.manager.Exec(t.Context(), "crawlbox", "run", "spider", "--name", "bad", "--wait", "-e", "TINY_EXIT=3")
		if r.Code != 3 {
			t.Errorf("exit code %d of %s%s", r.Code, r.Stdout, r.Stderr)
		}
		is := c.record("bad")
		if is.State != runs.Failed || is.Attempts != 3 || is.ExitCode != 3 || !strings.Contains(is.Why, "3 attempts") {
			t.Errorf("the record is %+v", is)
		}
		if is.Log == nil || is.Log.Node == "" || len(is.Log.First) == 0 {
			t.Errorf("of its log are %+v", is.Log)
		}
		contains(t, c.run("runs", "spider", "--failed"), "bad", "failed")
	})
	t.Run("while the leader is away", func(t *testing.T) {
		c := c.sub(t)
		begun := time.Now()
		c.run("run", image, "--name", "deaf", "--timeout", "5s", "-e", "TINY_DEAF=1")
		c.run("run", "spider", "--name", "ended", "--retries", "0")
		c.run("run", "spider", "--name", "short", "-e", "TINY_EXIT=0")
		c.run("run", image, "--name", "two", "--retries", "0", "--replicas", "2", "-e", "TINY_EXIT=4")
		c.awaitRunning("ended", 1)
		c.run("run", "stop", "ended")
		waited := make(chan lab.Result, 1)
		go func() {
			waited <- c.manager.Exec(c.Context(), "crawlbox", "run", "spider", "--name", "waited", "--wait",
				"--timeout", "10s")
		}()
		lab.WaitFor(c, patience, "one that is waited for", func() error {
			return want(strings.Contains(c.run("runs"), "waited"), true)
		})
		c.agents[c.manager].Kill()
		lab.WaitFor(c, patience, "the end of one meanwhile", func() error {
			list := c.manager.Docker("service", "ps", "short", "--format", "{{.CurrentState}}")
			return want(strings.HasPrefix(list, "Complete"), true)
		})
		c.startManager()
		for name, state := range map[string]string{
			"deaf": runs.TimedOut, "ended": runs.Stopped, "short": runs.Done, "two": runs.Failed,
		} {
			is := c.record(name)
			if is.State != state || len(is.Tasks) == 0 {
				t.Errorf("%s is %+v", name, is)
			}
		}
		if is := c.record("deaf"); is.ExitCode != 124 || is.Tasks[0].ExitCode != 137 {
			t.Errorf("what is deaf: %+v", is)
		}
		t.Logf("all ended after %s", time.Since(begun))
		if r := <-waited; r.Code != 124 || !strings.Contains(r.Stdout, "tiny: asked to stop") {
			t.Errorf("who waited has exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
	t.Run("nothing is left", func(t *testing.T) {
		c := c.sub(t)
		lab.WaitFor(c, patience, "no service of a run", func() error {
			return want(strings.TrimSpace(c.manager.Docker("service", "ls", "--format", "{{.Name}}")), "spider")
		})
		var all []runs.Record
		c.read(&all, "runs")
		ids := map[string]int{}
		for _, is := range all {
			ids[is.ID]++
		}
		for _, name := range []string{"good", "bad", "deaf", "ended", "short", "two"} {
			if ids[name] != 1 {
				t.Errorf("%d records of %s", ids[name], name)
			}
		}
		c.run("run", "rm", "bad")
		if list := c.run("runs"); slices.Contains(strings.Fields(list), "bad") {
			t.Errorf("bad is still there:\n%s", list)
		}
		contains(t, c.fails(c.manager, 1, "run", "show", "bad"), "unknown run")
	})
}

// record waits until a run has ended, and returns what is known of it.
func (c *cluster) record(id string) (is runs.Record) {
	c.Helper()
	lab.WaitFor(c, patience, "the end of "+id, func() error {
		is = runs.Record{}
		if c.read(&is, "run", "show", id); is.Ended.IsZero() {
			return fmt.Errorf("it is %s: %s", is.State, is.Why)
		}
		return nil
	})
	return is
}
