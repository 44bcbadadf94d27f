package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

const (
	// follows is how soon after Swarm has another leader the cluster has one too, and commands work.
	follows = 10 * time.Second
	// elects is how long Swarm takes at the most to have another leader after the last one has lost its power.
	elects = 40 * time.Second
)

// fileOfLeader has a service for a manager that is not the first.
const fileOfLeader = `
services:
  keeper:
    image: localhost:8003/tiny:1
    deploy:
      replicas: 1
      restart_policy:
        condition: any
`

// TestLeader has three managers, of which the one that leads loses its power: the others do what it did, as soon as
// Swarm has another leader.
func TestLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	for range 2 {
		h := c.lab.AddHost()
		c.hosts = append(c.hosts, h)
		c.agents[h] = h.Start("crawlbox", "crawlbox", "manager", "--join", c.token("manager"))
		c.awaitAgent(h)
	}
	first, second, third := c.hosts[0], c.hosts[2], c.hosts[3]
	c.awaitReady(4)
	c.push("localhost:8003/tiny:1")
	c.push("localhost:8003/slow:1")
	c.push("localhost:8003/slow:2")
	c.awaitState(first, second, third)

	t.Run("the file that was written last is in force", func(t *testing.T) {
		c := c.sub(t)
		second.WriteFile("/etc/crawlbox/crawlbox.yaml", fileOfLeader)
		c.awaitServices("keeper")
		c.awaitRunning("keeper", 1)
		contains(c.T, first.MustExec("crawlbox", "state", "show", "services"), `"manager": "`+second.Name()+`"`)
		first.WriteFile("/etc/crawlbox/crawlbox.yaml", queueConfig+strings.ReplaceAll(fileOfLeader, "keeper", "other"))
		c.awaitServices("keeper", "other") // what is in no file runs on
		c.awaitRunning("other", 1)
		lab.WaitFor(c, patience, "the second to say that its file is not in force", func() error {
			if said := second.MustExec("crawlbox", "status"); !strings.Contains(said, "not those of this one's") {
				return fmt.Errorf("it says %s", said)
			}
			return nil
		})
		second.WriteFile("/etc/crawlbox/crawlbox.yaml", strings.ReplaceAll(fileOfLeader, "keeper", "other"))
		third.MustExec("crawlbox", "rm", "keeper")
		lab.WaitFor(c, patience, "all to agree", func() error {
			if said := second.MustExec("crawlbox", "status"); strings.Contains(said, "not those of this one's") {
				return fmt.Errorf("it says %s", said)
			}
			return nil
		})
	})

	leader := c.swarmLeader(third, first, second, third)
	var others []*lab.Host
	for _, h := range []*lab.Host{first, second, third} {
		if h != leader {
			others = append(others, h)
		}
	}
	asked, other := others[0], others[1]
	c.manager = asked

	t.Run("a deploy is under way when it is gone", func(t *testing.T) {
		c := c.sub(t)
		asked.MustExec("crawlbox", "deploy", "localhost:8003/slow:1", "--replicas", "2", "--monitor", "1s")
		deploy := asked.Start("deploy", "crawlbox", "deploy", "localhost:8003/slow:2", "--monitor", "5s")
		c.awaitStage("slow", history.StageWatch)
		leader.PowerOff()
		off := time.Now()
		waits := asked.Start("scale", "crawlbox", "scale", "other=2") // until another one leads
		lab.WaitFor(c, elects, "Swarm to have another leader", func() error {
			return other.Exec(c.Context(), "docker", "node", "ls").Err()
		})
		elected := time.Now()
		t.Logf("Swarm had another leader after %s", elected.Sub(off))
		within(c, other, elected, "restart", "other", "--dry-run")
		within(c, asked, elected, "start", "other")
		within(c, asked, elected, "token", "worker", "--uses", "1")
		contains(c.T, within(c, other, elected, "ls"), "other")
		t.Logf("all was done %s later", time.Since(elected))
		if code, err := waits.Wait(c.Context()); err != nil || code != 0 {
			t.Errorf("a command that waits for another leader ends with %d, %v: %s", code, err, waits.Logs())
		}
		lab.WaitFor(c, 2*patience, "the deploy to have ended", func() error {
			e := c.past("slow")[0]
			if e.Result != history.Done && e.Result != history.RolledBack {
				return fmt.Errorf("it is %s (%s): %s", e.Result, e.Stage, e.Why)
			}
			return nil
		})
		if code, err := deploy.Wait(c.Context()); err != nil || code == 0 {
			t.Errorf("it ended with code %d, %v, in the middle", code, err)
		}
		other.MustExec("crawlbox", "rollback", "slow")
	})
	t.Run("a new image is deployed", func(t *testing.T) {
		c := c.sub(t)
		c.push("localhost:8003/late:1")
		c.run("deploy", "localhost:8003/late:1", "--replicas", "2", "--monitor", "1s")
		c.awaitRunning("late", 2)
	})
	t.Run("the services of the file are kept", func(t *testing.T) {
		c := c.sub(t)
		c.awaitRunning("other", 2)
		file := "prune: true\n" + strings.ReplaceAll(fileOfLeader, "keeper", "slow")
		added := strings.NewReplacer("services:\n", "", "keeper", "added", "tiny", "late").Replace(fileOfLeader)
		c.swarmLeader(asked, others...).WriteFile("/etc/crawlbox/crawlbox.yaml", file+added)
		c.awaitServices("added", "late", "slow")
		c.awaitRunning("added", 1)
	})
}

// within runs a command on a manager, which has to work soon after a moment.
func within(c *cluster, h *lab.Host, since time.Time, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithDeadline(c.Context(), since.Add(follows))
	defer cancel()
	r := h.Exec(ctx, append([]string{"crawlbox"}, args...)...)
	if r.Err() != nil {
		c.Fatalf("%s after Swarm had another leader, %v on %s: %v", time.Since(since), args, h.Name(), r.Err())
	}
	return r.Stdout
}

// swarmLeader returns which of some managers leads the swarm, as another one sees it.
func (c *cluster) swarmLeader(asked *lab.Host, of ...*lab.Host) *lab.Host {
	c.Helper()
	list := asked.MustExec("docker", "node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}")
	for _, h := range of {
		if strings.Contains(list, h.Name()+" Leader") {
			return h
		}
	}
	c.Fatalf("nobody leads: %s", list)
	return nil
}
