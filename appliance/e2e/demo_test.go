package e2e

import (
	"strings"
	"syscall"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// traces is what the demo could leave on a machine.
func traces(h *lab.Host) string {
	return strings.Join([]string{
		h.Docker("info", "--format", "{{.Swarm.LocalNodeState}}"),
		h.Docker("ps", "--all", "--quiet"),
		h.Docker("images", "--all", "--quiet"),
		h.Docker("network", "ls", "--format", "{{.Name}}"),
		h.Docker("volume", "ls", "--quiet"),
		h.MustExec("sh", "-c", "find /etc/docker /etc/crawlbox /var/lib/crawlbox /run/crawlbox* -not -name key.json "+
			"2>/dev/null; ls -d /tmp/crawlbox-demo-* 2>/dev/null; true"),
	}, "\n")
}

func TestDemo(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Install(artifact.Binary(t))
	h := l.AddHost()
	before := traces(h)

	out := h.MustExec("crawlbox", "demo")
	contains(t, out, "all 30 items were crawled by 3 replicas", "machine is as it was")
	if after := traces(h); after != before {
		t.Errorf("the machine was\n%s\nand is\n%s", before, after)
	}

	t.Run("interrupted", func(t *testing.T) {
		for _, until := range []string{"manager is ready", "service is created"} {
			demo := h.Start("demo-"+until[:7], "crawlbox", "demo")
			lab.WaitFor(t, patience, until, func() error { return want(strings.Contains(demo.Logs(), until), true) })
			if err := demo.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if code, err := demo.Wait(t.Context()); err != nil || code != 1 {
				t.Errorf("exit code %d, %v; want 1", code, err)
			}
			if after := traces(h); after != before {
				t.Errorf("interrupted after %q: the machine was\n%s\nand is\n%s", until, before, after)
			}
		}
	})

	t.Run("usual ports are taken", func(t *testing.T) {
		for _, port := range []string{"8003", "7891", "7980", "7981"} {
			h.Start("port"+port, "python3", "-m", "http.server", port)
			lab.WaitFor(t, patience, "port "+port, func() error {
				return h.Exec(t.Context(), "sh", "-c", "grep -q $(printf :%04X "+port+") /proc/net/tcp").Err()
			})
		}
		contains(t, h.MustExec("crawlbox", "demo"), "all 30 items", "machine is as it was")
	})

	t.Run("in a swarm that was there", func(t *testing.T) {
		h.Docker("swarm", "init", "--advertise-addr", h.IP().String())
		id := h.Docker("info", "--format", "{{.Swarm.Cluster.ID}}")
		contains(t, h.MustExec("crawlbox", "demo"), "all 30 items", "machine is as it was")
		if now := h.Docker("info", "--format", "{{.Swarm.Cluster.ID}}"); now != id {
			t.Errorf("the swarm was %s and is %s", id, now)
		}
		if left := h.Docker("service", "ls", "--quiet"); left != "" {
			t.Errorf("services are left: %s", left)
		}
	})
}
