package e2e

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestPublicImages runs images of a registry that only the manager can reach, on a
// worker too, and then without that registry.
func TestPublicImages(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 1)
	worker := c.hosts[1]
	at := c.lab.AddHost()
	h := startHub(t, at, c.manager)
	worker.MustExec("ip", "route", "add", "blackhole", at.IP().String())
	image, copied := h.name+"/team/tiny:1", "mirror/example.com_5000/team/tiny:1"
	digest := h.push(image)
	if r := worker.Exec(t.Context(), "docker", "pull", image); r.Code == 0 {
		t.Fatal("the worker reaches the registry")
	}
	everywhere := []string{"--replicas", "2", "--max-per-node", "1", "--monitor", "1s"}
	deploy := func(image string, flags ...string) string {
		t.Helper()
		return c.run(append(append([]string{"deploy", image}, everywhere...), flags...)...)
	}

	contains(t, c.run("deploy", image, "--dry-run"), "copy: "+image+" (",
		") from example.com:5000 into the cluster's registry", "pull: bring "+image+" (")
	out := deploy(image)
	contains(t, out, " copied from example.com:5000", "2/2 nodes have it", "tiny: "+image+", 2 running")
	c.awaitSpread("tiny", 2)
	if n := h.pulls.Swap(0); n != 2 { // the index, and the image for these machines
		t.Errorf("the registry counts %d pulls", n)
	}
	if s := c.service("tiny"); s.Image != "localhost:8003/"+copied || s.Digest != digest {
		t.Errorf("the service runs %s@%s, want the digest %s", s.Image, s.Digest, digest)
	}
	contains(t, c.run("ls"), " "+image+" ")
	contains(t, c.run("ps", "tiny"), " "+image)
	contains(t, c.run("history", "tiny"), " "+image+" ")
	contains(t, c.fails(c.manager, 1, "images", "rm", copied), copied+" is what tiny runs; ", "--force")
	c.run("images", "rm", "--force", copied) // gc is to keep what runs, also without a tag
	c.run("images", "gc")
	deploy(image) // brings the tag back
	c.wantOn(copied, fleet.Holders{Have: 2, All: 2})
	if n := h.pulls.Swap(0); n != 0 {
		t.Errorf("the registry counts %d pulls of what is here", n)
	}

	c.configure("services:\n  filed:\n    image: " + image + "\n    deploy: {update_config: {monitor: 1s}}\n")
	c.awaitServices("filed", "tiny")
	c.awaitHistory("filed", "1 config done")
	newer := h.push(image)
	contains(t, c.run("deploy", "filed"), " copied from example.com:5000")
	if s := c.service("filed"); s.Digest != newer {
		t.Errorf("the tag has moved, and the service runs %s", s.Digest)
	}

	contains(t, c.fails(c.manager, 1, "deploy", h.name+"/team/tiny:2"),
		"image "+h.name+"/team/tiny:2: example.com:5000 answers MANIFEST_UNKNOWN: ", "check its name and tag")
	h.limit.Store(true)
	contains(t, c.fails(c.manager, 1, "deploy", h.name+"/team/tiny:2"),
		"answers TOOMANYREQUESTS: You have reached your pull rate limit.; try again later")
	contains(t, deploy(image, "--name", "limited", "--dry-run"),
		"note: image "+image+": example.com:5000 answers TOOMANYREQUESTS: ", "; the copy that is here is used")
	h.limit.Store(false)

	at.Cut()
	c.manager.MustExec("ip", "route", "add", "unreachable", at.IP().String())
	contains(t, deploy(image, "--name", "alone"), "example.com:5000 can't be reached: dial tcp ",
		"; the copy that is here is used", "2 running")
	contains(t, c.fails(c.manager, 1, "deploy", h.name+"/team/tiny:2"), "look up image "+h.name+"/team/tiny:2: ",
		"check its name, and that its registry is up")
	at.Heal()
	c.manager.MustExec("ip", "route", "del", "unreachable", at.IP().String())

	c.configure("registry:\n  public: false\n")
	c.restartManager()
	if plan := c.run("deploy", image, "--name", "own", "--dry-run"); strings.Contains(plan, "copy: ") {
		t.Errorf("with public: false the plan is %s", plan)
	}
	c.run("deploy", image, "--name", "own", "--monitor", "1s", "--constraint", "node.role==manager")
	if s := c.service("own"); s.Image != image || s.Digest != newer {
		t.Errorf("with public: false the service runs %s@%s", s.Image, s.Digest)
	}
}
