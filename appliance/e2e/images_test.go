package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestImages counts the nodes that have an image: as it is pushed, deployed and too
// old to be gone back to.
func TestImages(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	worker := c.hosts[1]
	const versions = 6 // one more than are kept
	for i := range versions {
		c.push(fmt.Sprintf("localhost:8003/tiny:%d", i+1))
	}
	c.wantOn("tiny:1", fleet.Holders{Have: 1, All: 3})

	for i := range versions {
		for _, h := range c.hosts { // what has ended holds its image
			h.Docker("container", "prune", "--force")
		}
		c.run("deploy", fmt.Sprintf("localhost:8003/tiny:%d", i+1), "--replicas", "3", "--monitor", "1s")
		if i == 0 {
			c.wantOn("tiny:1", fleet.Holders{Have: 3, All: 3})
			contains(t, c.run("images"), "3/3")
		}
	}
	lab.WaitFor(t, patience, "the first version to leave the nodes",
		func() error { return want(c.on("tiny:1"), fleet.Holders{All: 3}) })
	for i := range versions - 1 {
		c.wantOn(fmt.Sprintf("tiny:%d", i+2), fleet.Holders{Have: 3, All: 3})
	}
	c.wantPinned(worker, versions-1)
	c.wantTraffic(worker)

	worker.SignalDocker(syscall.SIGSTOP)
	defer worker.SignalDocker(syscall.SIGCONT)
	began := time.Now()
	c.wantOn("tiny:6", fleet.Holders{Have: 2, All: 3, Unknown: 1})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a Docker that hangs keeps crawlbox images for %v", took)
	}
}

// on is on how many nodes an image of the registry is.
func (c *cluster) on(image string) fleet.Holders {
	c.Helper()
	var images []fleet.Image
	c.read(&images, "images")
	for _, i := range images {
		if i.Repository+":"+i.Tag == image && i.Nodes != nil {
			return *i.Nodes
		}
	}
	c.Fatalf("nothing is said of %s in %+v", image, images)
	return fleet.Holders{}
}

func (c *cluster) wantOn(image string, nodes fleet.Holders) {
	c.Helper()
	if err := want(c.on(image), nodes); err != nil {
		c.Errorf("%s: %v", image, err)
	}
}

// wantPinned looks at what a worker's mirror keeps, which outlives its crawlbox.
func (c *cluster) wantPinned(worker *lab.Host, images int) {
	c.Helper()
	pinned := func() (pins struct{ Images []string }) {
		c.Helper()
		if err := json.Unmarshal([]byte(worker.ReadFile("/var/lib/crawlbox/mirror/pins.json")), &pins); err != nil {
			c.Fatal(err)
		}
		return pins
	}
	before := pinned().Images
	if len(before) != images {
		c.Errorf("pinned are %v", before)
	}
	for _, digest := range before {
		worker.MustExec("test", "-s", "/var/lib/crawlbox/mirror/manifests/"+strings.Replace(digest, ":", "/", 1))
	}
	if n := strings.Fields(worker.MustExec("sh", "-c", "ls /var/lib/crawlbox/mirror/manifests/sha256")); len(
		n) != images {
		c.Errorf("%d manifests are kept, want %d", len(n), images)
	}
	c.agents[worker].Kill()
	c.startWorker(worker)
	c.awaitAgents("alive")
	if after := pinned().Images; strings.Join(after, " ") != strings.Join(before, " ") {
		c.Errorf("after a kill, pinned are %v and not %v", after, before)
	}
}

// wantTraffic reads where images came from. A worker was started anew and got
// nothing since.
func (c *cluster) wantTraffic(worker *lab.Host) {
	c.Helper()
	var status api.Status
	if c.read(&status, "status"); status.Registry.Traffic.Sent < 1<<20 {
		c.Errorf("the manager has sent %+v", status.Registry.Traffic)
	}
	contains(c.T, c.run("status"), "of images to other nodes")
	contains(c.T, worker.MustExec("crawlbox", "status"),
		"Pulled:    0B from the manager, 0B from nodes, 0B from the cache")
	contains(c.T, c.hosts[2].MustExec("crawlbox", "status"), "Pulled:    ", "kB from the manager, ")
}
