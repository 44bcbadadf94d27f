package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestDeployQueueAway kills first the manager, then the queue alone while it is watched whether a
// version of a spider is good that ends with code 1 when it loses the queue. The version is good;
// the next one is not and goes back.
func TestDeployQueueAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 0)
	c.manager.LoadPythonBase()
	start := func(version, end string) *lab.Proc {
		t.Helper()
		text := fmt.Sprintf("import os, redis, sys\nprint('version %s', flush=True)\n%s\n"+
			"redis.Redis.from_url(os.environ['REDIS_URL']).blpop('never')\n", version, end)
		return c.manager.Start("deploy", "crawlbox", "deploy", filesIn(t, map[string]string{"spider.py": text}),
			"--name", "spider", "--base", "python:3.6", "--replicas", "2", "--monitor", "8s")
	}
	ended := func(p *lab.Proc, code int, parts ...string) {
		t.Helper()
		if got, err := p.Wait(t.Context()); err != nil || got != code {
			t.Errorf("it ended with %d, %v", got, err)
		}
		contains(t, p.Logs(), parts...)
	}
	excused := func() {
		t.Helper()
		contains(t, c.past("spider")[0].Why, "ended while the queue was away, which does not count")
	}
	ended(start("one", ""), 0, "2 running")

	deploy := start("two", "")
	c.awaitStage("spider", history.StageWatch)
	c.awaitOutput("spider", "version two")
	c.agents[c.manager].Kill()
	c.startManager()
	ended(deploy, 1, "crawlbox history")
	c.awaitHistory("spider", "2 deploy done", "1 deploy done")
	excused()
	c.awaitVersion("spider", "localhost:8003/spider:0.02", 2)

	deploy = start("three", "")
	c.awaitStage("spider", history.StageWatch)
	c.awaitOutput("spider", "version three")
	c.manager.MustExec("kill", "-KILL", c.queueProcess())
	ended(deploy, 0, "while the queue was away, which does not count", "2 running")
	excused()
	c.wantHistory("spider", "3 deploy done", "2 deploy done")
	if out := c.run("history", "spider"); strings.Count(out, "while the queue was away") != 2 {
		t.Errorf("the history says %s", out)
	}

	ended(start("four", "sys.exit(3)"), 1, "the old version runs again", "exit code 3")
	c.wantHistory("spider", "4 deploy rolled-back", "3 deploy done")
}
