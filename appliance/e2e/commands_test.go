package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestCommands looks at services, and changes two of them at once.
func TestCommands(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	c.push("localhost:8003/tiny:1")
	for _, name := range []string{"a", "b"} {
		c.manager.Docker("service", "create", "--detach", "--name", name, "--network", "host", "localhost:8003/tiny:1")
	}
	c.awaitRunning("a", 1)
	c.awaitRunning("b", 1)

	t.Run("scale two services", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("scale", "a=3", "b=5"), "a: ", "3 running", "b: ", "5 running")
		for name, n := range map[string]int{"a": 3, "b": 5} {
			if got := c.manager.Docker("service", "ps", "--quiet", "--filter", "desired-state=running",
				name); strings.Count(got, "\n")+1 != n {
				t.Errorf("docker says of %s: %s", name, got)
			}
		}
		contains(t, c.fails(c.manager, 1, "scale", "a=1", "nobody=2"), `unknown service "nobody"`)
		if n := len(c.tasks("a")); n != 3 {
			t.Errorf("a was scaled to %d though b is unknown", n)
		}
	})
	t.Run("ps", func(t *testing.T) {
		c := c.sub(t)
		c.awaitSpread("b", 2)
		contains(t, c.run("ps"), "a.3", "b.5", "h1", "h2", "localhost:8003/tiny:1")
		if one := c.run("ps", "a"); strings.Contains(one, "b.1") {
			t.Errorf("ps of a shows b: %s", one)
		}
	})
	t.Run("logs of one task", func(t *testing.T) { c.sub(t).logOfTasks("b") })
	t.Run("exec", func(t *testing.T) { c.sub(t).programs() })
	t.Run("inspect", func(t *testing.T) {
		c := c.sub(t)
		var v api.Inspect
		if err := json.Unmarshal([]byte(c.run("inspect", "a")), &v); err != nil {
			t.Fatal(err)
		}
		if v.Name != "a" || v.Running != 3 || v.Image != "localhost:8003/tiny:1" || v.Digest == "" {
			t.Errorf("a is %+v", v.Service)
		}
		contains(t, fmt.Sprint(v.Spec), "TaskTemplate")
	})
	t.Run("JSON", func(t *testing.T) {
		c := c.sub(t)
		var status api.Status
		if c.read(&status, "status"); status.Nodes != (api.Count{Have: 2, Want: 2}) ||
			status.Tasks != (api.Count{Have: 8, Want: 8}) || len(wrong(status)) > 0 {
			t.Errorf("status is %+v", status)
		}
		for _, cmd := range []string{
			"nodes", "node ls", "ls", "ps", "ps --all a", "images", "queue len", "queue url", "token", "logs a",
			"scale a=2", "update b --image localhost:8003/tiny:1", "stop a", "rm a",
		} {
			out := c.run(append(strings.Fields(cmd), "--json")...)
			for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
				var v any
				if err := dec.Decode(&v); err != nil {
					t.Fatalf("crawlbox %s --json: %v in %s", cmd, err, out)
				}
			}
			if out == "" {
				t.Errorf("crawlbox %s --json says nothing", cmd)
			}
		}
	})
}

// logOfTasks asks for the logs of single tasks, whatever node they run on.
func (c *cluster) logOfTasks(service string) {
	c.Helper()
	seen := map[string]fleet.Task{}
	for _, t := range c.tasks(service) {
		seen[t.Node] = t
	}
	for node, task := range seen {
		for _, ref := range []string{task.Name(), task.ID} {
			var line api.LogLine
			lab.WaitFor(c, patience, "log of "+ref, func() error {
				return json.NewDecoder(strings.NewReader(c.run("logs", "--json", "--tail", "1", ref))).Decode(&line)
			})
			if line.Task != task.Name() || line.TaskID != task.ID || line.Node != node || line.Text == "" {
				c.Errorf("%s on %s wrote %+v", task.Name(), node, line)
			}
		}
	}
	contains(c.T, c.fails(c.manager, 1, "logs", service+".99"), service+".99")
}

// programs runs one in a task of each host, as `docker exec` does on one.
func (c *cluster) programs() {
	c.Helper()
	asked := map[string]bool{}
	for _, task := range c.tasks("b") {
		if asked[task.Node] || task.State != fleet.TaskRunning {
			continue
		}
		asked[task.Node] = true
		r := c.manager.Exec(c.Context(), "crawlbox", "exec", "-e", "TINY_EXIT=5", task.Name(), "/tiny")
		if r.Code != 5 || !strings.HasPrefix(r.Stdout, "tiny from ") {
			c.Errorf("in %s on %s: %d, %q, %q", task.Name(), task.Node, r.Code, r.Stdout, r.Stderr)
		}
		r = c.manager.Exec(c.Context(), "crawlbox", "exec", task.Name(), "/nowhere")
		if said := r.Stdout + r.Stderr; r.Code == 0 || !strings.Contains(said, "/nowhere") {
			c.Errorf("a program that is not there, on %s: %d, %q", task.Node, r.Code, said)
		}
	}
	if len(asked) != 2 {
		c.Errorf("tasks were asked on %v", asked)
	}
	contains(c.T, c.fails(c.manager, 1, "exec", "b", "/tiny"), "b has 5 tasks; name one of b.1")
	contains(c.T, c.fails(c.manager, 1, "exec", "nobody.1", "/tiny"), "unknown service")
}
