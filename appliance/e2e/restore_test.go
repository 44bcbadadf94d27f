package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestRestore destroys the only manager, and restores its cluster on a server with another address, from what
// a worker keeps: the workers follow without a login, and what ran runs. The manager of before, when it
// wakes up, stands down.
func TestRestore(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 2)
	c.push("localhost:8003/s:1")
	c.manager.WriteFile("/run/data", "of a config")
	c.manager.Docker("config", "create", "conf", "/run/data")
	c.manager.Docker("network", "create", "--driver", "overlay", "--attachable", "net")
	c.run("deploy", "localhost:8003/s:1", "--name", "s", "--replicas", "4")
	c.manager.Docker("service", "create", "--detach", "--name", "own", "--replicas", "2", "--config", "conf",
		"--network", "host", "localhost:8003/s:1")
	c.awaitRunning("s", 4)
	c.awaitRunning("own", 2)
	c.run("node", "label", "h2", "zone=eu")
	c.run("registry", "login", "ci")
	c.run("backup")
	key, ca, token := c.run("recovery-key"), c.run("ca"), c.token("worker")
	kept := c.hosts[1].MustExec("sh", "-c", "ls /var/lib/crawlbox/backups/* | tail -1")

	before := c.manager
	before.PowerOff()
	h := c.lab.AddHost()
	c.refusesRestore(h, key, kept)

	begun := time.Now()
	c.manager = h
	h.WriteFile("/run/key", key)
	c.startManager("--restore", c.hosts[1].IP().String(), "--recovery-key-file", "/run/key")
	c.awaitReady(3)
	t.Logf("all workers are ready after %s", time.Since(begun))
	for name, replicas := range map[string]int{"s": 4, "own": 2} {
		lab.WaitFor(c, patience, "service "+name, func() error {
			return h.Exec(c.Context(), "crawlbox", "inspect", name).Err()
		})
		c.awaitRunning(name, replicas)
	}
	t.Logf("the services run after %s", time.Since(begun))

	if c.run("ca") != ca {
		t.Error("the CA is another one")
	}
	contains(t, c.run("registry", "ls"), "ci")
	contains(t, c.run("history", "s"), "s:1")
	contains(t, h.Docker("config", "ls"), "conf")
	contains(t, h.Docker("network", "ls"), "net")
	lab.WaitFor(c, patience, "the label of h2", func() error {
		return want(h.Docker("node", "inspect", "--format", "{{.Spec.Labels.zone}}", "h2"), "eu")
	})
	running := 0
	for _, h := range append(c.hosts[1:], h) {
		running += len(strings.Fields(h.Docker("ps", "--quiet")))
	}
	if running != 6 {
		t.Errorf("%d containers run, want 6", running)
	}
	lab.WaitFor(c, patience, "the image in the registry", func() error {
		return h.Exec(c.Context(), "docker", "pull", "localhost:8003/s@"+c.service("s").Digest).Err()
	})
	contains(t, h.MustExec("cat", "/etc/crawlbox/crawlbox.yaml"), password)
	lab.WaitFor(c, patience, "a backup of the next epoch", func() error {
		var list []api.BackupHolder
		c.read(&list, "backup", "ls")
		for _, h := range list {
			if len(h.Copies) == 0 || h.Copies[0].Epoch != 1 {
				return fmt.Errorf("the nodes keep %+v", list)
			}
		}
		return want(len(list), 2)
	})
	c.run("scale", "s=6")
	c.awaitRunning("s", 6)

	// A join token of before does for who is pointed to the new manager by a new one.
	if token == c.token("worker") {
		t.Error("the join token names the manager that is gone")
	}
	c.standsDown(before)
	c.run("status")
}

// refusesRestore wants what is no good to be refused, and nothing to be changed.
func (c *cluster) refusesRestore(h *lab.Host, key, kept string) {
	c.Helper()
	worker := c.hosts[1]
	sealed := worker.ReadFile(kept)
	other := "CBR1-" + strings.Repeat("0", 35)
	for name, tc := range map[string]struct{ file, key, want string }{
		"cut":     {sealed[:len(sealed)-1], key, "cut or altered"},
		"altered": {sealed[:len(sealed)-9] + "altered!!", key, "cut or altered"},
		"typo":    {sealed, other, "typing error in group 1"},
		"nothing": {"nothing", key, "not a backup"},
	} {
		h.WriteFile("/run/file", tc.file)
		h.WriteFile("/run/other", tc.key)
		refused := c.fails(h, 1, "manager", "--restore", "/run/file", "--recovery-key-file", "/run/other")
		contains(c.T, refused, tc.want)
		if left := h.MustExec("sh", "-c", "ls /var/lib/crawlbox/state 2>/dev/null | wc -l"); left != "0" {
			c.Errorf("%s: something was changed: %s", name, left)
		}
	}
	contains(c.T, c.fails(worker, 1, "manager", "--restore", kept, "--recovery-key-file", "/run/other"),
		"this machine is a node already")
}

// standsDown wakes up the manager of before, and wants it to end being one.
func (c *cluster) standsDown(before *lab.Host) {
	c.Helper()
	before.PowerOn()
	agent := before.Start("crawlbox", "crawlbox", "manager")
	lab.WaitFor(c, patience, "the manager of before to stand down", func() error {
		select {
		case <-agent.Done():
			return nil
		default:
			return fmt.Errorf("it runs:\n%s", agent.Logs())
		}
	})
	contains(c.T, agent.Logs(), "restored on another machine", c.manager.IP().String())
	if got := before.Docker("info", "--format", "{{.Swarm.LocalNodeState}}"); got != "inactive" {
		c.Errorf("its Docker is %s in the swarm", got)
	}
	if left := before.Docker("ps", "--quiet"); left != "" {
		c.Errorf("containers run: %s", left)
	}
	contains(c.T, c.fails(before, 1, "status"), "restored on another machine", c.manager.IP().String())
	contains(c.T, c.fails(before, 1, "manager"), "restored on another machine")
	before.MustExec("crawlbox", "leave", "--force")
	c.join(before)
	c.awaitReady(4)
}
