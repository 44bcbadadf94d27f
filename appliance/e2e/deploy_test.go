package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestDeploy deploys versions of a static program, good ones and bad ones, and goes
// back.
func TestDeploy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	program := artifact.TinyProgram(t)

	t.Run("a program", func(t *testing.T) {
		c := c.sub(t)
		out := c.run("deploy", program, "--replicas", "6", "--monitor", "1s")
		contains(t, out, "built localhost:8003/tiny:0.01", "tiny: 3/3 nodes have it",
			"tiny: localhost:8003/tiny:0.01, 6 running in ")
		for _, h := range c.hosts {
			h.Docker("image", "inspect", "localhost:8003/tiny@"+c.service("tiny").Digest)
		}
		c.wantHistory("tiny", "1 deploy done")
	})
	t.Run("the next version", func(t *testing.T) {
		c := c.sub(t)
		least, out := c.leastRunning("tiny", "deploy", program, "--env", "A=b")
		if least < 4 {
			t.Errorf("only %d of 6 replicas ran while it was deployed", least)
		}
		contains(t, out, "built localhost:8003/tiny:0.02")
		c.awaitVersion("tiny", "localhost:8003/tiny:0.02", 6)
		c.wantHistory("tiny", "2 deploy done", "1 deploy done")
	})
	t.Run("a bad version", func(t *testing.T) {
		c := c.sub(t)
		r := c.manager.Exec(t.Context(), "crawlbox", "deploy", program, "--env", "TINY_EXIT=3", "--monitor", "5s")
		if r.Code != 1 || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("exit code %d and %q", r.Code, r.Stderr)
		}
		contains(t, r.Stderr, "tiny: the update failed and the old version runs again: exit code 3 on h")
		contains(t, r.Stdout, "tiny: log: tiny from")
		c.awaitVersion("tiny", "localhost:8003/tiny:0.02", 6)
		c.wantHistory("tiny", "3 deploy rolled-back", "2 deploy done", "1 deploy done")
	})
	t.Run("back", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("rollback", "tiny"), "tiny: back to version 1, localhost:8003/tiny:0.01, 6 running")
		c.awaitVersion("tiny", "localhost:8003/tiny:0.01", 6)
		contains(t, c.fails(c.manager, 1, "rollback", "tiny"), "no earlier version")
		c.run("rollback", "tiny", "2")
		c.awaitVersion("tiny", "localhost:8003/tiny:0.02", 6)
		var list []history.Entry
		if c.read(&list, "history", "tiny"); list[0].From != 2 || list[1].From != 1 || list[0].By != "root" {
			t.Errorf("the rollbacks are %+v and %+v", list[0], list[1])
		}
	})
	t.Run("refused", func(t *testing.T) {
		c := c.sub(t)
		image := "localhost:8003/tiny:0.02"
		contains(t, c.fails(c.manager, 1, "deploy", image, "--constraint", "node.labels.zone==mars"),
			"no node can run it: constraint node.labels.zone==mars excludes 3 of 3 nodes")
		contains(t, c.fails(c.manager, 2, "deploy", image, "--constraint", "zone=mars"),
			`--constraint "zone=mars": it is not`)
		contains(t, c.fails(c.manager, 1, "deploy", program, "--tag", "0.02"), "tiny:0.02 is there already")
		contains(t, c.fails(c.manager, 1, "deploy", "localhost:8003/tiny:9"), "no image localhost:8003/tiny:9")
		contains(t, c.fails(c.manager, 2, "deploy", image, "--name", "no/name"), `"no/name" cannot name a service`)
		contains(t, c.fails(c.manager, 1, "deploy", "./nowhere"), "there is no directory or file")
		contains(t, c.fails(c.manager, 2, "deploy", image, "--parallelism", "half"), "half")
		contains(t, c.fails(c.manager, 1, "rollback", "tiny", "99"), "no version 99")
		contains(t, c.fails(c.hosts[1], 1, "deploy", image), "run the command")
		if plan := c.run("deploy", image, "--replicas", "9", "--dry-run"); strings.Count(plan, "\n") != 3 {
			t.Errorf("the plan is %q", plan)
		}
		c.wantHistory("tiny", "5 rollback done", "4 rollback done")
		if n := c.service("tiny").Desired; n != 6 {
			t.Errorf("%d replicas after what was refused", n)
		}
	})
	t.Run("the first is a bad one", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.fails(c.manager, 1, "deploy", "localhost:8003/tiny:0.02", "--name", "bad", "--env",
			"TINY_EXIT=5"), "exit code 5", "there is no older version")
		c.wantHistory("bad", "1 deploy failed")
	})
	t.Run("restart", func(t *testing.T) {
		c := c.sub(t)
		before := map[string]bool{}
		for _, task := range c.tasks("tiny") {
			before[task.ID] = true
		}
		contains(t, c.run("restart", "tiny"), "tiny: restarted, 6 running")
		for _, task := range c.tasks("tiny") {
			if before[task.ID] {
				t.Errorf("%s was not restarted", task.Name())
			}
		}
	})
	t.Run("one that ends", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.run("deploy", "localhost:8003/tiny:0.02", "--name", "ends", "--replicas", "2", "--monitor",
			"1s", "--env", "TINY_EXIT=0"), "ends: localhost:8003/tiny:0.02, 2 complete in ")
		contains(t, c.run("ls"), "finished in ")
		contains(t, c.run("ps", "ends"), "complete ")
		// Swarm would take the end of the new tasks for a failure, or let bad ones be.
		c.run("deploy", "localhost:8003/tiny:0.01", "--name", "ends")
		contains(t, c.fails(c.manager, 1, "deploy", "localhost:8003/tiny:0.02", "--name", "ends", "--env",
			"TINY_EXIT=6", "--monitor", "5s"),
			"ends: the update failed and the old version runs again: exit code 6")
		c.awaitHistory("ends", "3 deploy rolled-back", "2 deploy done", "1 deploy done")
	})
	t.Run("limits", func(t *testing.T) {
		c := c.sub(t)
		c.run("deploy", "localhost:8003/tiny:0.02", "--replicas", "2", "--limit-memory", "64MB", "--limit-cpu", "0.5",
			"--max-per-node", "1", "--constraint", "node.role==worker")
		got := c.manager.Docker("service", "inspect", "--format",
			"{{.Spec.TaskTemplate.Resources.Limits.MemoryBytes}} {{.Spec.TaskTemplate.Resources.Limits.NanoCPUs}} "+
				"{{.Spec.TaskTemplate.Placement.MaxReplicas}} {{.Spec.TaskTemplate.Placement.Constraints}} "+
				"{{.Spec.TaskTemplate.ContainerSpec.Env}}", "tiny")
		if got != "67108864 500000000 1 [node.role==worker] [A=b]" {
			t.Errorf("the service has %s", got)
		}
	})
	t.Run("the bad one fails again", func(t *testing.T) {
		c := c.sub(t)
		lab.WaitFor(t, patience, "a crash loop in the status", func() error {
			return want(strings.Contains(strings.Join(strings.Fields(c.run("status")), " "),
				"service bad: bad.1 fails again and again"), true)
		})
		contains(t, strings.Join(strings.Fields(c.run("status")), " "), "exit code 5 (it wrote \"tiny from",
			"Swarm starts it again 30s after each")
	})
}

// TestDeployCutOff kills the manager in the stages of a deploy: afterwards the
// history tells the truth and one version runs.
func TestDeployCutOff(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker := c.hosts[1]
	c.push("localhost:8003/tiny:1")
	c.push("localhost:8003/tiny:2")
	c.run("deploy", "localhost:8003/tiny:1", "--replicas", "4", "--name", "tiny", "--monitor", "1s")
	c.awaitSpread("tiny", 2)
	killed := func(t *testing.T, until func(), command ...string) {
		t.Helper()
		deploy := c.manager.Start("deploy", append([]string{"crawlbox"}, command...)...)
		until()
		c.agents[c.manager].Kill()
		if code, err := deploy.Wait(t.Context()); err != nil || code != 1 {
			t.Errorf("the deploy whose crawlbox was killed ended with %d, %v; want 1", code, err)
		}
	}

	t.Run("in the pull", func(t *testing.T) {
		c := c.sub(t)
		worker.SignalDocker(syscall.SIGSTOP)
		killed(t, func() { c.awaitStage("tiny", history.StagePull) }, "deploy", "localhost:8003/tiny:2")
		worker.SignalDocker(syscall.SIGCONT)
		c.startManager()
		c.awaitHistory("tiny", "2 deploy interrupted", "1 deploy done")
		c.awaitVersion("tiny", "localhost:8003/tiny:1", 4)
	})
	t.Run("in the watch", func(t *testing.T) {
		c := c.sub(t)
		killed(t, func() { c.awaitStage("tiny", history.StageWatch) }, "deploy", "localhost:8003/tiny:2", "--monitor",
			"8s")
		c.startManager()
		c.awaitHistory("tiny", "3 deploy done", "2 deploy interrupted")
		c.awaitVersion("tiny", "localhost:8003/tiny:2", 4)
	})
	t.Run("two at once", func(t *testing.T) {
		c := c.sub(t)
		first := c.manager.Start("first", "crawlbox", "deploy", "localhost:8003/tiny:1", "--name", "tiny",
			"--monitor", "2s")
		c.awaitStage("tiny", history.StageWatch)
		contains(t, c.fails(c.manager, 1, "deploy", "localhost:8003/tiny:2"), "service tiny is being changed already")
		c.run("deploy", "localhost:8003/tiny:2", "--name", "other", "--monitor", "1s")
		if code, err := first.Wait(t.Context()); err != nil || code != 0 {
			t.Errorf("the first deploy ended with %d, %v", code, err)
		}
	})
	t.Run("interrupted by its user", func(t *testing.T) {
		c := c.sub(t)
		c.push("localhost:8003/tiny:3")
		worker.SignalDocker(syscall.SIGSTOP) // Swarm takes it for down soon, and it is not waited for then
		defer worker.SignalDocker(syscall.SIGCONT)
		deploy := c.manager.Start("broken-off", "crawlbox", "deploy", "localhost:8003/tiny:3")
		c.awaitStage("tiny", history.StagePull)
		if err := deploy.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if code, err := deploy.Wait(t.Context()); err != nil || code != 1 {
			t.Errorf("it ended with %d, %v", code, err)
		}
		contains(t, deploy.Logs(), "interrupted; nothing was changed")
		c.awaitHistory("tiny", "5 deploy interrupted", "4 deploy done")
	})
}

func (c *cluster) service(name string) fleet.Service {
	c.Helper()
	for _, s := range c.services() {
		if s.Name == name {
			return s
		}
	}
	c.Fatalf("no service %s", name)
	return fleet.Service{}
}

// leastRunning runs crawlbox on the manager. It returns how many replicas ran at
// the worst moment of that, and what it said.
func (c *cluster) leastRunning(service string, command ...string) (least int, said string) {
	c.Helper()
	p := c.manager.Start(command[0], append([]string{"crawlbox"}, command...)...)
	least = len(c.tasks(service))
	for {
		select {
		case <-p.Done():
			return least, p.Logs()
		default:
			least = min(least, len(c.tasks(service)))
		}
	}
}

// past is the history of a service in short, newest first.
func (c *cluster) past(service string) []history.Entry {
	c.Helper()
	var list []history.Entry
	c.read(&list, "history", service)
	return list
}

func (c *cluster) awaitStage(service string, stage history.Stage) {
	c.Helper()
	lab.WaitFor(c, patience, "stage "+string(stage), func() error {
		e := c.past(service)[0]
		return want(string(e.Result)+" "+string(e.Stage), "running "+string(stage))
	})
}

// wantHistory compares the newest entries: version, kind and result.
func (c *cluster) wantHistory(service string, entries ...string) {
	c.Helper()
	if err := c.sameHistory(service, entries); err != nil {
		c.Error(err)
	}
}

func (c *cluster) awaitHistory(service string, entries ...string) {
	c.Helper()
	lab.WaitFor(c, patience, "the history", func() error { return c.sameHistory(service, entries) })
}

func (c *cluster) sameHistory(service string, entries []string) error {
	var got []string
	for _, e := range c.past(service) {
		got = append(got, fmt.Sprintf("%d %s %s", e.Version, e.Kind, e.Result))
	}
	return want(strings.Join(got[:min(len(got), len(entries))], ", "), strings.Join(entries, ", "))
}
