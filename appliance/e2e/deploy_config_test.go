package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// definedServices is a config of two services: one is built of a directory, whose
// replicas don't hear when they are asked to stop, and one takes an image.
func definedServices(directory, version string, more ...string) string {
	return fmt.Sprintf(`services:
  built:
    build: %s
    stop_signal: SIGWINCH
    deploy: {replicas: 2}
  taken:
    image: localhost:8003/a:1
    environment: {VERSION: %q%s}
    deploy: {replicas: 3, update_config: {monitor: 2s}}
`, directory, version, strings.Join(append([]string{""}, more...), ", "))
}

// TestDeployConfig deploys the services of the config file, changes them there, for
// better and for worse, and stops them at once.
func TestDeployConfig(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	c.push("localhost:8003/a:1")
	directory := tinyDirectory(t)

	t.Run("nothing is built at the start", func(t *testing.T) {
		c := c.sub(t)
		c.configure(definedServices(directory, "1"))
		c.awaitServices("taken")
		c.awaitRunning("taken", 3)
		c.awaitHistory("taken", "1 config done")
		c.awaitLog("service built: not deployed yet: run `crawlbox deploy built`")
		contains(t, strings.Join(strings.Fields(c.run("status")), " "),
			"service built: not deployed yet: run `crawlbox deploy built`")
		plan := c.run("deploy", "--dry-run")
		contains(t, plan, "create built\n  build: "+directory+" as localhost:8003/built:0.01, and push it",
			"\n  pull: bring localhost:8003/built:0.01 onto 2 nodes",
			"\n  update: create service built with 2 replicas", "\nunchanged taken")
	})
	t.Run("without arguments", func(t *testing.T) {
		c := c.sub(t)
		out := c.run("deploy")
		contains(t, out, "built localhost:8003/built:0.01 in ", "built: 2/2 nodes have it",
			"built: localhost:8003/built:0.01, 2 running in ", "taken: unchanged, 3 running")
		c.wantHistory("built", "1 deploy done")
		c.wantHistory("taken", "1 config done")
		if plan := c.run("deploy", "taken", "--dry-run"); plan != "unchanged taken" {
			t.Errorf("the plan is %q", plan)
		}
	})
	t.Run("the file changes", func(t *testing.T) {
		c := c.sub(t)
		c.configure(definedServices(directory, "2"))
		// Whoever is first, the file's own change or this, there is one.
		c.run("deploy", "taken")
		c.awaitSpec("taken", "2", 3)
		if list := c.past("taken"); len(list) != 2 || list[0].Result != "done" || list[0].Definition == "" {
			t.Errorf("the history is %+v", list)
		}
		c.configure(definedServices(directory, "3"))
		c.awaitSpec("taken", "3", 3)
		c.awaitHistory("taken", "3 config done")
		if by := c.past("taken")[0].By; by != "crawlbox.yaml" {
			t.Errorf("it was changed by %q", by)
		}
		c.wantHistory("built", "1 deploy done")
	})
	t.Run("for the worse", func(t *testing.T) {
		c := c.sub(t)
		c.configure(definedServices(directory, "4", "TINY_EXIT: 3"))
		c.awaitHistory("taken", "4 config rolled-back", "3 config done")
		c.awaitSpec("taken", "3", 3)
		told := "service taken: what crawlbox.yaml says was tried and the version before is back: "
		c.awaitLog(told, "exit code 3")
		contains(t, strings.Join(strings.Fields(c.run("status")), " "), told,
			"change it there, or try it again with `crawlbox deploy taken`")
		contains(t, c.run("deploy", "taken", "--dry-run"), "change taken: environment.TINY_EXIT, environment.VERSION\n")

		// Neither a push nor a new start tries it again.
		c.push("localhost:8003/b:1")
		c.restartManager()
		lab.WaitFor(t, patience, "a word on it", func() error {
			return want(strings.Contains(strings.Join(strings.Fields(c.run("status")), " "), told), true)
		})
		c.wantHistory("taken", "4 config rolled-back", "3 config done")
		c.awaitVersion("taken", "localhost:8003/a:1", 3)
	})
	t.Run("and back", func(t *testing.T) {
		c := c.sub(t)
		c.configure(definedServices(directory, "5"))
		c.awaitSpec("taken", "5", 3)
		c.awaitHistory("taken", "5 config done")
		if out := c.run("status"); strings.Contains(out, "was tried") {
			t.Errorf("the status still says\n%s", out)
		}
		c.run("rollback", "taken")
		c.awaitSpec("taken", "3", 3)
		lab.WaitFor(t, patience, "a word on it", func() error {
			return want(strings.Contains(strings.Join(strings.Fields(c.run("status")), " "),
				"service taken: another version than crawlbox.yaml says was deployed since"), true)
		})
		c.run("deploy", "taken")
		c.awaitSpec("taken", "5", 3)
	})
	t.Run("stopped at once", func(t *testing.T) {
		c := c.sub(t)
		if plan := c.run("stop", "built", "--now",
			"--dry-run"); plan != "stop: service built, all 2 replicas; killed, without their grace time" {
			t.Errorf("the plan is %q", plan)
		}
		before := c.spec("built")
		begun := time.Now()
		said := c.run("stop", "built", "--now")
		contains(t, said, "stopped, 2 containers gone in ")
		t.Log(said)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("it took %s, and the grace time is 10s", took)
		}
		for _, h := range c.hosts {
			if left := h.Docker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=built"); left != "" {
				t.Errorf("%s still has containers %s", h.Name(), left)
			}
		}
		for _, d := range differences("built", at(before, "TaskTemplate"), at(c.spec("built"), "TaskTemplate")) {
			t.Error(d)
		}
		// what was stopped starts again
		contains(t, c.run("deploy", "built"), "built: localhost:8003/built:0.02, 2 running")
	})
}

// tinyFolder has the tiny program and a Dockerfile for it.
func tinyDirectory(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile(artifact.TinyProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	directory := filesIn(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY tiny /tiny\nENTRYPOINT [\"/tiny\"]\n"})
	if err := os.WriteFile(filepath.Join(directory, "tiny"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	return directory
}
