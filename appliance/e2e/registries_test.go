package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestRegistries has three managers and a worker: what is pushed to any of the managers is pulled from all, also
// when any one has lost its power, and a new manager and one that was away get what they lack.
func TestRegistries(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker := c.hosts[1]
	managers := c.addManagers(2)
	pulled := func(t *testing.T, images ...string) {
		t.Helper()
		c := c.sub(t)
		for _, h := range append([]*lab.Host{worker}, managers...) {
			for _, image := range images {
				c.pull(h, image)
			}
		}
	}
	push := func(h *lab.Host, ref string) {
		t.Helper()
		h.Load(artifact.TinyImage(t, ref, 300_000))
		h.Docker("push", "--quiet", ref)
	}
	var images []string
	for i, h := range managers {
		ref := fmt.Sprintf("localhost:8003/from%d:1", i+1)
		push(h, ref)
		images = append(images, ref)
		pinned := strings.TrimSpace(h.Docker("image", "inspect", "--format", "{{index .RepoDigests 0}}", ref))
		images = append(images, pinned)
	}
	t.Run("from each", func(t *testing.T) {
		pulled(t, images...)
		c := c.sub(t)
		for _, h := range managers {
			contains(c.T, h.MustExec("crawlbox", "images"), "from1:1", "from2:1", "from3:1")
		}
		c.pull(worker, managers[2].At(8003)+"/from1:1")
	})
	t.Run("removed everywhere", func(t *testing.T) {
		c := c.sub(t)
		push(managers[1], "localhost:8003/gone:1")
		managers[2].MustExec("crawlbox", "images", "rm", "gone:1")
		for _, h := range append([]*lab.Host{worker}, managers...) {
			h.Exec(c.Context(), "docker", "image", "rm", "--force", "localhost:8003/gone:1")
			if r := h.Exec(c.Context(), "docker", "pull", "localhost:8003/gone:1"); r.Code == 0 {
				c.Errorf("%s still has it: %s", h.Name(), r.Stdout)
			}
		}
		contains(c.T, managers[0].MustExec("crawlbox", "images", "gc"), "freed")
	})
	t.Run("without any one", func(t *testing.T) {
		for i, lost := range managers[1:] {
			c := c.sub(t)
			lost.PowerOff()
			ref := fmt.Sprintf("localhost:8003/while%d:1", i+1)
			push(managers[0], ref)
			images = append(images, ref)
			left := append([]*lab.Host{worker, managers[0]}, managers[2-i])
			for _, h := range left {
				for _, image := range images {
					c.pull(h, image)
				}
			}
			lost.PowerOn()
			c.agents[lost] = lost.Start("crawlbox", "crawlbox", "manager")
			c.awaitAgent(lost)
			c.awaitFilled(lost)
			c.pull(lost, ref)
		}
	})
	t.Run("a new one fills up", func(t *testing.T) {
		c := c.sub(t)
		h := c.lab.AddHost()
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
		c.awaitFilled(h)
		count := "find /var/lib/crawlbox/registry -path '*/_manifests/tags/*/current/link' | wc -l"
		if n := strings.TrimSpace(h.MustExec("sh", "-c", count)); n != "5" {
			c.Errorf("it has %s tags on its disk, want 5", n)
		}
	})
}

// awaitFilled waits until a manager counts as one that has all images.
func (c *cluster) awaitFilled(h *lab.Host) {
	c.Helper()
	lab.WaitFor(c, patience, h.Name()+" to have all images", func() error {
		shown := h.Exec(c.Context(), "crawlbox", "state", "show", "replicas")
		if err := shown.Err(); err != nil {
			return err
		}
		list := strings.ReplaceAll(shown.Stdout, "\n", "")
		for _, part := range strings.Split(list, "}") {
			if strings.Contains(part, h.IP().String()) && strings.Contains(part, `"full"`) {
				if said := h.MustExec("crawlbox", "status"); !strings.Contains(said, "this manager has ") {
					return nil
				}
			}
		}
		return fmt.Errorf("it is not: %s", list)
	})
}
