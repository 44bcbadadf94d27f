package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestDeployBad deploys versions that can't work, each in another way: the old one
// runs again by itself, and the report says by what the new one failed.
func TestDeployBad(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	const image, silent, foreign = "localhost:8003/tiny:good", "localhost:8003/tiny:silent", "localhost:8003/tiny:arm"
	c.push(image, artifact.HealthCheck(time.Second))
	c.push(silent, artifact.HealthCheck(time.Hour))
	c.push(foreign, artifact.Architecture("arm64"))
	c.run("deploy", image, "--replicas", "6", "--monitor", "1s")
	entries := []string{"1 deploy done"}

	// bad deploys an image that fails by the cause given, or by the second where Docker missed the first.
	bad := func(t *testing.T, causes []string, image string, flags ...string) {
		t.Helper()
		c := c.sub(t)
		begun := time.Now()
		said := c.fails(c.manager, 1, append([]string{"deploy", image}, flags...)...)
		t.Logf("after %s: %s", time.Since(begun).Round(time.Second), said)
		cause := causes[0]
		if !strings.Contains(said, cause) {
			cause = causes[len(causes)-1]
		}
		contains(t, said, "tiny: the update failed and the old version runs again: "+cause, "on h")
		entries = append([]string{fmt.Sprintf("%d deploy rolled-back", len(entries)+1)}, entries...)
		c.wantHistory("tiny", entries...)
		contains(t, c.past("tiny")[0].Why, cause)
		c.awaitSpread("tiny", 3)
		// Swarm counts a task as failed while Docker still stops its container.
		lab.WaitFor(t, patience, "the containers of the bad version to be gone", func() error {
			for _, env := range c.environments("tiny") {
				if strings.Contains(env, "TINY_") {
					return fmt.Errorf("one runs with %s", env)
				}
			}
			return nil
		})
	}
	t.Run("its health check fails", func(t *testing.T) {
		bad(t, []string{`never became healthy: its health check failed, last with "no queue"`}, image, "--env",
			"TINY_SICK=no queue")
	})
	t.Run("its health check gives no answer", func(t *testing.T) {
		bad(t, []string{"never became healthy: it has been starting for 4s, and its health check has not answered yet"},
			silent, "--start-timeout", "4s")
	})
	t.Run("it takes too much memory", func(t *testing.T) {
		const limit = " memory (limit 16 MiB)"
		bad(t, []string{"out of" + limit, "killed (exit code 137), perhaps for its" + limit}, image, "--env",
			"TINY_EAT=64", "--limit-memory", "16MB")
	})
	t.Run("it is for other processors", func(t *testing.T) {
		c := c.sub(t)
		for _, flags := range [][]string{{"--name", "tiny"}, {"--name", "new"}, {"--name", "tiny", "--dry-run"}} {
			contains(t, c.fails(c.manager, 1, append([]string{"deploy", foreign}, flags...)...),
				"no node can run it: image for linux/arm64 (nodes are linux/amd64) excludes 3 of 3 nodes")
		}
		c.wantHistory("tiny", entries...)
	})
	t.Run("the first one is never healthy", func(t *testing.T) {
		c := c.sub(t)
		contains(t, c.fails(c.manager, 1, "deploy", image, "--name", "sick", "--env", "TINY_SICK=no queue"),
			`sick: its tasks fail: never became healthy: its health check failed, last with "no queue"`,
			"there is no older version")
		c.wantHistory("sick", "1 deploy failed")
		// It ended well when Docker stopped it: Swarm takes it for finished.
		contains(t, strings.Join(strings.Fields(c.run("status")), " "),
			"service sick: its last deploy failed: its tasks fail: never became healthy")
		delay := func() string {
			return c.manager.Docker("service", "inspect", "--format", "{{.Spec.TaskTemplate.RestartPolicy.Delay}}",
				"sick")
		}
		if got := delay(); got != "30s" {
			t.Errorf("it is tried again after %s", got)
		}
		c.run("deploy", image, "--name", "sick", "--env", "TINY_SICK=", "--monitor", "1s")
		if got := delay(); got != "5s" {
			t.Errorf("the good one is tried again after %s", got)
		}
	})
}

// environments are those of a service's containers that run, on all hosts.
func (c *cluster) environments(service string) (list []string) {
	c.Helper()
	for _, h := range c.hosts {
		for _, id := range strings.Fields(
			h.Docker("ps", "--quiet", "--filter", "label=com.docker.swarm.service.name="+service)) {
			// it may be gone meanwhile
			if r := h.Exec(c.Context(), "docker", "inspect", "--format", "{{.Config.Env}}", id); r.Code == 0 {
				list = append(list, r.Stdout)
			}
		}
	}
	return list
}

// TestDeployKept deploys seven versions: the images of five stay on the nodes, and
// are enough to go back.
func TestDeployKept(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	var digests []string
	for v := range 7 {
		ref := fmt.Sprintf("localhost:8003/tiny:%d", v+1)
		c.push(ref)
		c.run("deploy", ref, "--replicas", "3", "--monitor", "1s", "--parallelism", "all")
		digests = append(digests, c.service("tiny").Digest)
	}
	kept := slices.Sorted(slices.Values(digests[2:]))
	lab.WaitFor(t, patience, "the images of five versions", func() error {
		for _, h := range c.hosts {
			have := strings.Fields(h.Docker("image", "ls", "--all", "--digests", "--format", "{{.Digest}}",
				"localhost:8003/tiny"))
			slices.Sort(have)
			if !slices.Equal(have, kept) {
				return fmt.Errorf("%s has %v, want %v", h.Name(), have, kept)
			}
		}
		return nil
	})
	c.run("images", "gc")
	since := c.manager.Docker("info", "--format", "{{.SystemTime}}")
	c.run("rollback", "tiny", "3")
	c.awaitVersion("tiny", "localhost:8003/tiny:3", 3)
	for _, h := range c.hosts {
		until := h.Docker("info", "--format", "{{.SystemTime}}")
		if pulls := h.Docker("events", "--since", since, "--until", until, "--filter", "event=pull"); pulls != "" {
			t.Errorf("%s pulled for the way back: %s", h.Name(), pulls)
		}
	}
	// And one that is not kept comes from the registry, as long as it has it.
	c.run("rollback", "tiny", "1")
	c.awaitVersion("tiny", "localhost:8003/tiny:1", 3)
}
