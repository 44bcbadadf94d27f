package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestInstalled_Outlives has a cluster whose nodes are run by systemd outlive its managers: one hands over to a
// worker, the next is destroyed and restored on a bare server, which comes back with another address. What was
// lost stands down when it wakes up.
func TestInstalled_Outlives(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	bookworm := lab.Release("bookworm")
	hosts := l.AddHosts(3, bookworm)
	c := &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}
	first, second, worker := hosts[0], hosts[1], hosts[2]
	c.manager.MustExec("crawlbox", "install", "manager", "--queue")
	for _, h := range hosts[1:] {
		h.MustExec("crawlbox", "install", "worker", "--join", c.token("worker"))
	}
	c.awaitReady(3)
	c.push("localhost:8003/s:1")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "3", "--monitor", "1s")
	c.awaitRunning("s", 3)
	c.run("queue", "push", "urls", "a", "b", "c")

	contains(t, c.run("move", second.Name(), "--yes"), second.Name()+" has the queue and the manager's duties")
	c.manager = second
	contains(t, c.run("queue", "len", "urls"), "3")
	lab.WaitFor(t, patience, "the first to be a worker", func() error {
		status := first.Exec(t.Context(), "crawlbox", "status").Stdout
		return want(strings.Contains(status, first.Name()+" (worker)"), true)
	})
	c.push("localhost:8003/s:2")
	c.run("deploy", "localhost:8003/s:2", "--name", "s", "--monitor", "1s")

	c.run("backup")
	key := c.run("recovery-key")
	second.PowerOff()
	bare := l.AddHost(bookworm)
	bare.WriteFile("/run/key", key)
	restore := []string{"install", "manager", "--restore", worker.IP().String(), "--recovery-key-file"}
	contains(t, c.fails(bare, 1, append(restore, "/run/none")...), "/run/none")
	contains(t, bare.MustExec(append(append([]string{"crawlbox"}, restore...), "/run/key")...), "manager is ready")
	c.manager = bare
	c.awaitReady(3)
	lab.WaitFor(t, patience, "the service", func() error {
		return bare.Exec(t.Context(), "crawlbox", "inspect", "s").Err()
	})
	c.awaitRunning("s", 3)
	contains(t, c.run("history", "s"), "s:2")
	if unit := bare.MustExec("systemctl", "cat", "crawlbox"); strings.Contains(unit, "--restore") {
		t.Errorf("it would restore again at each start: %s", unit)
	}

	bare.PowerOff()
	bare.Renumber(netip.MustParseAddr("10.99.200.201"))
	bare.PowerOn()
	lab.WaitFor(t, patience, "crawlbox after the boot", func() error {
		return bare.Exec(t.Context(), "crawlbox", "status").Err()
	})
	c.awaitProblem(api.AddressGone, "no longer has the address", "crawlbox recover")
	contains(t, c.run("recover", "--yes"), "3 of 3 nodes are ready")
	c.awaitReady(3)
	c.awaitRunning("s", 3)
	c.push("localhost:8003/s:3")
	c.run("deploy", "localhost:8003/s:3", "--name", "s", "--monitor", "1s")

	second.PowerOn()
	lab.WaitFor(t, patience, "the second to stand down", func() error {
		said := second.Exec(t.Context(), "crawlbox", "status")
		return want(strings.Contains(said.Stderr, "restored on another machine"), true)
	})
	if left := second.Docker("ps", "--quiet"); left != "" {
		t.Errorf("containers run there: %s", left)
	}
}
