package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/lab"
	"github.com/crawlbox/crawlbox/appliance/lab/artifact"
)

// TestDeployNodeLost cuts the cable of a node in each stage of a deploy, in the update
// with the manager killed too. Afterwards the history tells the truth, and once the
// cable is back one version runs.
func TestDeployNodeLost(t *testing.T) {
	t.Parallel()
	c := newClusterOf(t, artifact.BinaryWithFailpoints(t), "", 2)
	lost := c.hosts[2]
	const one, two, three = "localhost:8003/tiny:1", "localhost:8003/tiny:2", "localhost:8003/tiny:3"
	for _, ref := range []string{one, two, three} {
		c.push(ref)
	}
	c.run("deploy", one, "--replicas", "6", "--monitor", "1s")

	t.Run("in the pull", func(t *testing.T) {
		c := c.sub(t)
		c.awaitSpread("tiny", 3)
		lost.Cut()
		contains(t, c.run("deploy", two), "tiny: 2/2 nodes have it", "tiny: "+two+", 6 running")
		c.wantHistory("tiny", "2 deploy done", "1 deploy done")
		contains(t, strings.Join(strings.Fields(c.run("status")), " "),
			"node "+lost.Name()+" ("+lost.IP().String()+") is down", "6/6 running")
		lost.Heal()
		c.awaitOnly("tiny", 6, "IMAGE="+two)
	})
	t.Run("in the watch", func(t *testing.T) {
		c := c.sub(t)
		c.balance("tiny", 6)
		deploy := c.manager.Start("deploy", "crawlbox", "deploy", three)
		c.awaitStage("tiny", history.StageWatch)
		lost.Cut()
		if code, err := deploy.Wait(t.Context()); err != nil || code != 0 {
			t.Errorf("it ended with %d, %v: %s", code, err, deploy.Logs())
		}
		c.wantHistory("tiny", "3 deploy done", "2 deploy done")
		lost.Heal()
		c.awaitOnly("tiny", 6, "IMAGE="+three)
	})
	// The image stays the same: nothing but the service itself tells what came of it.
	t.Run("in the update", func(t *testing.T) {
		for i, ends := range []struct {
			at      failpoint.Point
			history string
			env     string
		}{
			{failpoint.DeployUpdate, "deploy interrupted", "IMAGE=" + three},
			{failpoint.DeployUpdated, "deploy done", "ROUND=" + string(failpoint.DeployUpdated)},
		} {
			t.Run(string(ends.at), func(t *testing.T) {
				c := c.sub(t)
				c.balance("tiny", 6)
				c.restartManagerAt(ends.at)
				deploy := c.manager.Start("deploy", "crawlbox", "deploy", three, "--env", "ROUND="+string(ends.at))
				c.cutOff(c.manager)
				lost.Cut()
				if code, err := deploy.Wait(t.Context()); err != nil || code != 1 {
					t.Errorf("the deploy whose crawlbox was killed ended with %d, %v", code, err)
				}
				c.startManager()
				c.awaitHistory("tiny", fmt.Sprintf("%d %s", 4+i, ends.history))
				lost.Heal()
				c.awaitOnly("tiny", 6, ends.env)
			})
		}
	})
}

// awaitOnly waits until all nodes are there, so many containers run on all hosts
// together, all with that in their environment, and nothing is wrong.
func (c *cluster) awaitOnly(service string, replicas int, env string) {
	c.Helper()
	c.awaitReady(len(c.hosts))
	lab.WaitFor(c, patience, fmt.Sprintf("%d replicas with %s and no others", replicas, env), func() error {
		list := c.environments(service)
		if i := slices.IndexFunc(list, func(e string) bool { return !strings.Contains(e, env) }); i >= 0 {
			return fmt.Errorf("one has %s", list[i])
		}
		return want(len(list), replicas)
	})
	lab.WaitFor(c, patience, "a status without problems", func() error {
		// That a deploy was cut off before it changed anything stays to be told.
		left := slices.DeleteFunc(wrong(c.status()), func(p api.Problem) bool { return p.Kind == api.Interrupted })
		return want(fmt.Sprint(left), "[]")
	})
}
