package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestLogs reads what Docker's own command mixes, or does not read to its end.
func TestLogs(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	const image, next = "localhost:8003/tiny:1", "localhost:8003/tiny:2"
	c.push(image)
	c.push(next)

	t.Run("long lines of many on a node", func(t *testing.T) {
		c := c.sub(t)
		const replicas, each = 6, 30
		c.run("deploy", image, "--name", "long", "--replicas", fmt.Sprint(replicas), "--monitor", "1s",
			"--env", "TINY_NAME={{.Task.Name}}", "--env", fmt.Sprint("TINY_LONG=", each))
		begun := time.Now()
		all := c.logLines("long")
		if took := time.Since(begun); took > 30*time.Second || len(all) != replicas*(1+2*each) {
			t.Errorf("%d lines in %s", len(all), took)
		}
		last := c.logLines("long.1", "--tail", "2")
		if len(last) != 2 {
			t.Errorf("the last two lines are %d", len(last))
		}
		for _, l := range append(all, last...) {
			head, text, _ := strings.Cut(l.Text, " ")
			switch {
			case strings.HasPrefix(l.Text, "tiny from "):
			case head != l.Task+"."+l.TaskID:
				t.Fatalf("%s is said to have written %.80q", l.Task, l.Text)
			case strings.HasSuffix(text, " short") && l.Stream == "stderr":
			case l.Stream != "stdout" || strings.Count(text, "x") != 40_000 || !strings.HasSuffix(text, "x."):
				t.Fatalf("%s wrote %d bytes to %s: %.80q", l.Task, len(l.Text), l.Stream, l.Text)
			}
		}
	})
	t.Run("on a terminal", func(t *testing.T) {
		c := c.sub(t)
		c.manager.Docker("service", "create", "--detach", "--tty", "--name", "term", "--network", "host", image)
		c.awaitRunning("term", 1)
		lab.WaitFor(t, patience, "its first line", func() error {
			all := c.logLines("term")
			said := len(all) == 1 && strings.HasPrefix(all[0].Text, "tiny from "+image) && all[0].Stream == "stdout"
			return want(said, true)
		})
		contains(t, c.fails(c.manager, 1, "deploy", next, "--name", "term", "--env", "TINY_EXIT=3"),
			"the update failed and the old version runs again")
	})
	t.Run("a first version that fails, twice", func(t *testing.T) {
		c := c.sub(t)
		failing := []string{"deploy", image, "--name", "bad", "--env", "TINY_EXIT=3"}
		r := c.manager.Exec(t.Context(), append([]string{"crawlbox"}, failing...)...)
		contains(t, r.Stdout+r.Stderr, "bad: log: tiny from "+image, "there is no older version")
		contains(t, c.fails(c.manager, 1, append(failing, "--env", "ROUND=2")...),
			"the version before never worked either, so it does not come back")
		c.wantHistory("bad", "2 deploy failed", "1 deploy failed")
	})
	t.Run("of a node that is down", func(t *testing.T) {
		c := c.sub(t)
		lost := c.hosts[1]
		c.awaitSpread("long", 2)
		lost.Cut()
		defer lost.Heal()
		lab.WaitFor(t, patience, "a word on it", func() error {
			r := c.manager.Exec(t.Context(), "crawlbox", "logs", "--tail", "3", "long")
			said := "crawlbox: node " + lost.Name() + " is down: what its tasks wrote is missing"
			return want(r.Code == 0 && strings.Contains(r.Stderr, said) && strings.Contains(r.Stderr, " short"), true)
		})
	})
}

// logLines returns the lines of a service or task.
func (c *cluster) logLines(args ...string) (all []api.LogLine) {
	c.Helper()
	out := c.run(append([]string{"logs", "--json"}, args...)...)
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var l api.LogLine
		if err := dec.Decode(&l); err != nil {
			c.Fatal(err)
		}
		if l.Task == "" {
			c.Errorf("it says %q", l.Text)
		}
		all = append(all, l)
	}
	return all
}
