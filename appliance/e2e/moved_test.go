package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestMoved gives a worker another address over a reboot, as a provider does, and then its old
// one again: it goes on as the node that it was, is known where it is, and the registry lets its
// Docker in there, while another machine at the address that it had is nobody.
func TestMoved(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 2)
	for i := range 3 {
		c.push(fmt.Sprintf("localhost:8003/spider:%d", i+1))
	}
	c.run("deploy", "localhost:8003/spider:1", "--replicas", "3", "--max-per-node", "1",
		"--monitor", "1s")
	worker, nodes := c.hosts[1], c.nodeIDs()
	own, other := worker.IP(), netip.MustParseAddr("10.99.200.77")

	c.reboots(worker, other)
	c.isWhereItIs(worker, "spider:2")
	stranger := c.lab.AddHost()
	stranger.Renumber(own)
	stranger.WriteFile("/etc/docker/certs.d/"+c.manager.At(8003)+"/ca.crt", c.run("ca"))
	said := stranger.Exec(t.Context(), "docker", "pull", c.public("spider:2"))
	if said.Code == 0 {
		t.Error("a machine that has the old address of a node gets images")
	}
	contains(t, said.Stderr, "only nodes of the cluster read without a login", own.String())
	stranger.PowerOff()

	c.reboots(worker, own, "--join", c.token("worker"))
	c.isWhereItIs(worker, "spider:3")
	if now := c.nodeIDs(); now != nodes {
		t.Errorf("nodes were %s and are %s", nodes, now)
	}
}

// TestMoved_Running gives a worker another address while it runs, as a lease that ran out does:
// crawlbox ends, systemd starts it again, and it goes on as the node that it was.
func TestMoved_Running(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	hosts := []*lab.Host{l.AddHost(lab.Release("bookworm")), l.AddHost(lab.Release("bookworm"))}
	c := &cluster{T: t, lab: l, hosts: hosts, manager: hosts[0], agents: map[*lab.Host]*lab.Proc{}}
	worker, other := hosts[1], netip.MustParseAddr("10.99.200.77")
	c.manager.MustExec("crawlbox", "install", "manager")
	worker.MustExec("crawlbox", "install", "worker", "--join", c.token("worker"))
	c.awaitReady(2)
	nodes := c.nodeIDs()
	restarts := func() string {
		return worker.MustExec("systemctl", "show", "--property=NRestarts", "--value", "crawlbox")
	}
	if got := restarts(); got != "0" {
		t.Errorf("it was started again %s times before", got)
	}

	worker.Renumber(other)
	lab.WaitFor(t, 2*patience, "the worker to take its new address", func() error {
		status := worker.Exec(t.Context(), "crawlbox", "status").Stdout
		return want(strings.Contains(status, "(worker), "+other.String()), true)
	})
	c.awaitReady(2)
	lab.WaitFor(t, patience, "a certificate for "+other.String(), func() error { return c.certified(worker) })
	contains(t, worker.MustExec("journalctl", "-u", "crawlbox"), "this machine has the address 10.99.200.77 now")
	if got := restarts(); got != "1" {
		t.Errorf("it was started again %s times", got)
	}
	if now := c.nodeIDs(); now != nodes {
		t.Errorf("nodes were %s and are %s", nodes, now)
	}
}

// reboots gives a worker another address while it is off, and starts it with arguments.
func (c *cluster) reboots(h *lab.Host, to netip.Addr, args ...string) {
	c.Helper()
	h.PowerOff()
	h.Renumber(to)
	h.PowerOn()
	c.startWorker(h, args...)
	c.awaitReady(len(c.hosts))
}

// isWhereItIs wants all to know where a worker is, and it to have all that a worker has.
func (c *cluster) isWhereItIs(h *lab.Host, version string) {
	c.Helper()
	c.awaitGossip(h, "crawlbox", func(a fleet.Agent) bool { return a.State == fleet.AgentAlive })
	lab.WaitFor(c, patience, "a certificate for "+h.IP().String(), func() error { return c.certified(h) })
	lab.WaitFor(c, patience, "the worker to have no problem", func() error {
		status := h.MustExec("crawlbox", "status")
		if strings.Contains(status, "Problems") || !strings.Contains(status, "(worker), "+h.IP().String()) {
			return fmt.Errorf("its status is %s", status)
		}
		return nil
	})
	if log := c.agents[h].Logs(); strings.Contains(log, "no longer has the address") {
		c.Errorf("it says that it is not found: %s", log)
	}
	if told := h.Docker("info", "--format", "{{.Swarm.NodeAddr}}"); told != h.IP().String() {
		c.Errorf("its Docker tells others that it is at %s", told)
	}
	h.Docker("pull", "--quiet", c.public(version))
	h.Docker("image", "rm", c.public(version))
	c.fit(h)
	c.fit(c.hosts[2])
	contains(c.T, c.run("deploy", "localhost:8003/"+version, "--parallelism", "all"), "3/3 nodes have it", "3 running")
	c.awaitNoProblem()
}

// certified returns nil where a node shows a certificate for the address that it has, and for no
// other than that.
func (c *cluster) certified(h *lab.Host) error {
	conn, err := c.manager.DialContext(c.Context(), "tcp", h.At(7980))
	if err != nil {
		return err
	}
	defer conn.Close()
	shown := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // what it shows is looked at
	if err := shown.HandshakeContext(c.Context()); err != nil {
		return err
	}
	var addrs []net.IP
	for _, ip := range shown.ConnectionState().PeerCertificates[0].IPAddresses {
		if !ip.IsLoopback() {
			addrs = append(addrs, ip)
		}
	}
	return want(fmt.Sprint(addrs), fmt.Sprintf("[%s]", h.IP()))
}
