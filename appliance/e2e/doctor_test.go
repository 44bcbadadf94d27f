package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// shut keeps a host's new connections out of what is not named.
const shut = `add table inet guard
add chain inet guard in { type filter hook input priority 0; policy drop; }
add rule inet guard in ct state established,related accept
add rule inet guard in iifname lo accept
add rule inet guard in tcp dport { 22, 7946, 7981 } accept
add rule inet guard in meta l4proto udp accept`

// TestDoctor shows that the doctor finds what firewalls keep out, before and after a
// join, and that the commands it names mend it.
func TestDoctor(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	worker := c.lab.AddHost()
	c.hosts = append(c.hosts, worker)
	join := c.token("worker")

	contains(t, worker.MustExec("crawlbox", "doctor", "--join", join), "reached: "+c.manager.IP().String(),
		"be a worker")

	// The manager does not let the worker in.
	c.manager.MustExec("nft", shut)
	found := c.ill(worker, "ports there", "--join", join)
	contains(t, found.Text, c.manager.IP().String(), "2377/tcp", "7980/tcp", "no answer")
	c.cure(c.manager, c.ill(c.manager, "firewall"))
	c.fit(worker, "--join", join)
	c.join(worker)
	c.awaitReady(2)
	c.fit(worker)

	// The worker does not let the manager in.
	worker.MustExec("nft", shut)
	found = c.ill(worker, "ports there")
	contains(t, found.Text, c.manager.Name(), "does not reach this node at 7980/tcp")
	found = c.ill(worker, "firewall")
	contains(t, found.Text, "7980/tcp", "chain in of table inet guard, by its policy")
	c.cure(worker, found)
	c.fit(worker)
	c.fit(c.manager)

	t.Run("a port that Swarm needs", func(t *testing.T) {
		c := c.sub(t)
		third := c.lab.AddHost()
		third.Start("thief", "python3", "-c",
			"import socket,time; s=socket.create_server(('0.0.0.0', 7946)); time.sleep(600)")
		lab.WaitFor(t, patience, "the port to be taken",
			func() error { return want(third.Exec(t.Context(), "crawlbox", "doctor").Code, 1) })
		contains(t, c.ill(third, "ports here").Text, "7946/tcp, which Docker Swarm needs, is in use by python3")
		contains(t, c.fails(third, 1, "worker", "--join", join),
			"7946/tcp, which Docker Swarm needs, is in use by python3")
		if left := third.MustExec("sh", "-c", "ls /var/lib/crawlbox/node 2>/dev/null || true"); left != "" {
			t.Errorf("a refused start has left %q", left)
		}
	})
}

// ill wants the doctor to find something bad on a host, and returns the first such
// finding of the check.
func (c *cluster) ill(h *lab.Host, check string, args ...string) doctor.Finding {
	c.Helper()
	out := h.Exec(c.Context(), append([]string{"crawlbox", "doctor", "--json"}, args...)...)
	if out.Code != 1 || !strings.Contains(out.Stderr, check) {
		c.Fatalf("the doctor on %s: exit code %d: %s", h.Name(), out.Code, out.Stderr)
	}
	report := c.report(out.Stdout)
	i := slices.IndexFunc(report.Findings,
		func(f doctor.Finding) bool { return f.Check == check && f.Level == doctor.Bad })
	if report.OK || i < 0 {
		c.Fatalf("the doctor on %s finds no bad %s: %+v", h.Name(), check, report)
	}
	return report.Findings[i]
}

// fit wants the doctor to find nothing bad, and no fault of the network.
func (c *cluster) fit(h *lab.Host, args ...string) {
	c.Helper()
	report := c.report(h.MustExec(append([]string{"crawlbox", "doctor", "--json"}, args...)...))
	for _, f := range report.Findings {
		if f.Level != doctor.OK && slices.Contains(
			[]string{"firewall", "ports there", "ports here", "swarm", "docker", "mtu", "address"}, f.Check) ||
			!report.OK {
			c.Errorf("the doctor on %s: %+v", h.Name(), f)
		}
	}
}

func (c *cluster) report(text string) (r doctor.Report) {
	c.Helper()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		c.Fatalf("read the doctor's report: %v in %q", err, text)
	}
	return r
}

// cure runs the commands of a finding as they stand.
func (c *cluster) cure(h *lab.Host, f doctor.Finding) {
	c.Helper()
	if len(f.Commands) == 0 {
		c.Fatalf("no command cures %+v", f)
	}
	for _, command := range f.Commands {
		c.Logf("%s: %s", h.Name(), command)
		h.MustExec("sh", "-c", command)
	}
}
