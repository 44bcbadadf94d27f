package e2e

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// quick bounds what Docker has to be told at once: it would retry a failed push
// for a minute and more.
const quick = 20 * time.Second

// TestRegistry pushes and pulls with docker itself, on a manager whose disk
// holds one large image and not two.
func TestRegistry(t *testing.T) {
	t.Parallel()
	c := newRegistry(t)
	engines := c.engines()

	t.Run("pushed and pulled by both names", func(t *testing.T) { c.sub(t).bothNames() })
	t.Run("refused elsewhere", func(t *testing.T) { c.sub(t).pushElsewhere() })
	t.Run("listed", func(t *testing.T) { c.sub(t).listed() })
	t.Run("collected", func(t *testing.T) { c.sub(t).keptForService() })
	t.Run("full disk", func(t *testing.T) { c.sub(t).registryFull() })
	t.Run("restart", func(t *testing.T) {
		c := c.sub(t)
		c.restartManager()
		c.pull(c.hosts[1], "localhost:8003/large:2")
	})

	if now := c.engines(); now != engines {
		t.Errorf("the engines were\n%s\nand are\n%s", engines, now)
	}
}

func newRegistry(t *testing.T) *cluster {
	l := newLab(t)
	l.Install(artifact.Binary(t))
	c := &cluster{T: t, lab: l, agents: map[*lab.Host]*lab.Proc{}}
	c.manager = l.AddHost(lab.StateLimit("64m"))
	c.hosts = []*lab.Host{c.manager, l.AddHost()}
	c.configure("registry: {min_free: 4MB}\n")
	c.startManager()
	c.join(c.hosts[1])
	c.awaitReady(2)
	return c
}

// engines tells one run of each dockerd, and its configuration, from others.
func (c *cluster) engines() string {
	c.Helper()
	var all []string
	for _, h := range c.hosts {
		all = append(all, h.MustExec("sh", "-c", "cat /run/docker.pid; ls /etc/docker/daemon.json 2>&1; true"))
	}
	return strings.Join(all, "\n")
}

// pull pulls an image that the host does not have.
func (c *cluster) pull(h *lab.Host, ref string) {
	c.Helper()
	h.Exec(c.Context(), "docker", "image", "rm", "--force", ref)
	h.Docker("pull", "--quiet", ref)
}

func (c *cluster) bothNames() {
	c.push("localhost:8003/a:1")
	c.manager.Docker("image", "rm", "localhost:8003/a:1")
	for _, h := range c.hosts {
		c.pull(h, "localhost:8003/a:1")
		h.Docker("image", "rm", "localhost:8003/a:1")
		c.pull(h, c.manager.At(8003)+"/a:1")
		h.Docker("image", "rm", c.manager.At(8003)+"/a:1")
	}
}

// pushElsewhere gets an answer that says where to push instead.
func (c *cluster) pushElsewhere() {
	worker := c.hosts[1]
	public := c.manager.At(8003) + "/b:1"
	worker.Load(artifact.TinyImage(c, "localhost:8003/b:1", 0))
	worker.Docker("tag", "localhost:8003/b:1", public)
	contains(c.T, c.pushFails(worker, "localhost:8003/b:1"), "read-only", "push on the manager",
		c.manager.IP().String())
	c.saysRefused(worker, c.pushFails(worker, public), "may only read", "docker login", "crawlbox registry login")
}

func (c *cluster) pushFails(h *lab.Host, ref string) (message string) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), quick)
	defer cancel()
	begun := time.Now()
	r := h.Exec(ctx, "docker", "push", ref)
	message = strings.TrimSpace(r.Stderr)
	c.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), message)
	if r.Code != 1 {
		c.Errorf("docker push %s ends with %d: %s%s", ref, r.Code, r.Stdout, r.Stderr)
	}
	return message
}

// listed images have a size and the services that use them.
func (c *cluster) listed() {
	c.manager.Docker("service", "create", "--detach", "--name", "spider", "--network", "host", "--replicas", "2",
		"--replicas-max-per-node", "1", "localhost:8003/a:1")
	c.awaitRunning("spider", 2)
	image := c.image("a", "1")
	if image.Size < 500_000 || image.Size > 5_000_000 || !strings.HasPrefix(image.Digest, "sha256:") ||
		len(image.Used) != 1 || image.Used[0] != "spider" {
		c.Errorf("the image is %+v", image)
	}
	contains(c.T, c.run("images"), "a:1", "kB", "spider")
}

func (c *cluster) image(repository, tag string) fleet.Image {
	c.Helper()
	var images []fleet.Image
	c.read(&images, "images")
	for _, i := range images {
		if i.Repository == repository && i.Tag == tag {
			return i
		}
	}
	c.Fatalf("no image %s:%s in %+v", repository, tag, images)
	return fleet.Image{}
}

// keptForService removes the tag of an image that a service runs by its digest.
func (c *cluster) keptForService() {
	contains(c.T, c.fails(c.manager, 1, "images", "rm", "a:1"), "a:1 is what spider runs", "--force")
	c.run("images", "rm", "--force", "a:1")
	contains(c.T, c.run("images", "gc"), "freed 0B")
	image := at(c.spec("spider"), "TaskTemplate", "ContainerSpec", "Image").(string)
	c.run("stop", "spider")
	for _, h := range c.hosts {
		h.Docker("container", "prune", "--force")
		h.Docker("image", "prune", "--all", "--force")
	}
	c.run("scale", "spider=2")
	for _, task := range c.tasks("spider") {
		if task.Image+"@"+task.Digest != image {
			c.Errorf("a task runs %s@%s, want %s", task.Image, task.Digest, image)
		}
	}
	c.run("rm", "spider")
	lab.WaitFor(c, patience, "the image of no tag and no service to be of no use", func() error {
		var report api.GCReport
		c.read(&report, "images", "gc")
		return want(report.Bytes+report.Held > 0, true) // Swarm forgets its tasks a moment later
	})
}

// registryFull fills the disk with docker push, and makes room as its error says.
func (c *cluster) registryFull() {
	const large = 32 << 20
	push := func(ref string) lab.Result {
		c.manager.Load(artifact.TinyImage(c, ref, large))
		return c.manager.Exec(c.Context(), "docker", "push", "--quiet", ref)
	}
	if err := push("localhost:8003/large:1").Err(); err != nil {
		c.Fatal(err)
	}
	c.manager.Load(artifact.TinyImage(c, "localhost:8003/large:2", large))
	contains(c.T, c.pushFails(c.manager, "localhost:8003/large:2"), "registry disk is full",
		"/var/lib/crawlbox/registry", "crawlbox images gc")
	data := make([]byte, large) // that does not get smaller when packed
	_, _ = rand.Read(data)      // never fails
	directory := filesIn(c.T, map[string]string{"Dockerfile": "FROM scratch\nCOPY data /\n", "data": string(data)})
	contains(c.T, c.fails(c.manager, 1, "deploy", directory, "--name", "full"),
		"crawlbox: push localhost:8003/full:0.01: registry disk is full: ", "; free space or run `crawlbox images gc`")

	c.pull(c.hosts[1], "localhost:8003/large:1")
	c.pull(c.hosts[1], c.manager.At(8003)+"/large:1")
	if size := c.image("large", "1").Size; size < large {
		c.Errorf("large:1 has %d bytes", size)
	}
	c.run("images", "rm", "large:1")
	contains(c.T, c.run("images", "gc"), "freed 3")
	c.manager.Docker("push", "--quiet", "localhost:8003/large:2")
	c.pull(c.hosts[1], "localhost:8003/large:2")
}
