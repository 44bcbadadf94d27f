package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// safeConfig has spiders lose no item of the key urls.
const safeConfig = queueConfig + "  safe: ['url*']\n  window: 1\n  max_deliveries: 5\n"

// poppingSpider pops with no care for what it holds, as the walkthrough's does, and dies of some items.
const poppingSpider = `import os
import time
import redis

client = redis.Redis.from_url(os.environ["REDIS_URL"])
while True:
    try:
        item = client.lpop("urls")
        if item is None:
            time.sleep(0.1)
            continue
        if item.startswith(b"poison"):
            client.rpush("swallowed", item)
            os.kill(os.getpid(), 9)
        time.sleep(0.1)
        client.rpush("done", item)
    except redis.ConnectionError:
        time.sleep(0.1)
`

const poppingDockerfile = "FROM python:3.6\nCOPY spider.py spider.py\nCMD exec python3 spider.py\n"

// spiderTask is a task of it, and shortID a container as people see it.
var spiderTask, shortID = regexp.MustCompile(`^spider\.[0-9]+$`), regexp.MustCompile(`^[0-9a-f]{12}$`)

// TestQueueSafe has spiders pop by LPOP while they are killed, scaled and drained: no item is lost, none is done again
// but what was in the hands of those, and one that kills whoever pops it is dead after five of them, and no more are.
func TestQueueSafe(t *testing.T) {
	t.Parallel()
	c := newCluster(t, safeConfig, 1)
	c.importPython()
	c.manager.WriteFile("/tmp/popping/spider.py", poppingSpider)
	c.manager.WriteFile("/tmp/popping/Dockerfile", poppingDockerfile)
	const items, replicas = 200, 4
	var all []string
	for i := range items {
		all = append(all, fmt.Sprintf("item-%d", i))
	}
	c.run(append([]string{"queue", "push", "urls"}, all...)...)
	c.run("deploy", "/tmp/popping", "--name", "spider", "--replicas", fmt.Sprint(replicas), "--monitor", "1s")

	client := queueClient(c.manager, c.manager)
	defer client.Close()
	if err := client.LPush(t.Context(), "urls", "poison").Err(); err != nil {
		t.Fatal(err)
	}
	done := func() []string {
		list, err := client.LRange(t.Context(), "done", 0, -1).Result()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	lab.WaitFor(t, patience, "the commands to say who holds what", func() error {
		var held api.InFlight
		c.read(&held, "queue", "inflight", "urls")
		for _, is := range held.Items {
			known := spiderTask.MatchString(is.Task) && shortID.MatchString(is.Container)
			if known && is.Key == "urls" && strings.HasPrefix(is.Item, "item-") && strings.HasPrefix(is.Node, "h") &&
				time.Since(is.Since) < patience {
				t.Logf("queue inflight says\n%s", c.run("queue", "inflight", "-n", "3"))
				return nil
			}
		}
		return fmt.Errorf("it says %+v", held)
	})
	kills := 0
	for harm := 0; len(done()) < items*3/4; harm++ {
		h := c.hosts[harm%len(c.hosts)]
		for _, id := range strings.Fields(h.Docker("ps", "--quiet", "--filter", "name=spider")) {
			if h.Exec(t.Context(), "docker", "kill", id).Code == 0 {
				kills++
			}
			break
		}
		if harm == 5 { // crawlbox scale would fail, for the tasks that are killed
			for _, n := range []int{1, replicas} {
				c.manager.Docker("service", "scale", "--detach", fmt.Sprintf("spider=%d", n))
			}
			kills += replicas
		}
		before := len(done())
		lab.WaitFor(t, patience, "the crawl to go on", func() error { return want(len(done()) > before+5, true) })
	}
	lab.WaitFor(t, patience, "all items", func() error {
		times := map[string]int{}
		for _, item := range done() {
			times[item]++
		}
		return want(len(times), items)
	})
	if twice := len(done()) - items; twice > kills {
		t.Errorf("%d items were done more than once, with %d kills", twice, kills)
	} else {
		t.Logf("%d kills, %d items were done once more", kills, twice)
	}
	lab.WaitFor(t, patience, "the dead", func() error {
		dead, err := client.LRange(t.Context(), "urls:dead", 0, -1).Result()
		if err != nil {
			return err
		}
		return want(fmt.Sprint(dead), "[poison]")
	})
	if swallowed := client.LLen(t.Context(), "swallowed").Val(); swallowed != 5 {
		t.Errorf("the item that kills is dead after %d containers, want 5", swallowed)
	}
	dead := func(want string) {
		t.Helper()
		lab.WaitFor(t, patience, "the dead by the command", func() error {
			if said := c.run("queue", "dead", "ls", "urls"); strings.TrimSpace(said) != want {
				return fmt.Errorf("it says %q, want %q", said, want)
			}
			return nil
		})
	}
	dead("poison")
	t.Logf("queue len says\n%s\nqueue dead ls\n%s", c.run("queue", "len"), c.run("queue", "dead", "ls"))
	contains(t, c.run("queue", "dead", "retry", "urls", "--all"), "urls: 1 item put back")
	dead("poison") // which it is five deaths later
	contains(t, c.run("queue", "dead", "drop", "urls", "poison", "--yes"), "urls: 1 item deleted")
	dead("")
	lab.WaitFor(t, time.Minute, "nobody to hold a thing", func() error {
		return want(client.LLen(t.Context(), "urls").Val(), int64(0))
	})
	c.awaitRunning("spider", replicas)
	ids := func() (ids []string) {
		for _, task := range c.tasks("spider") {
			ids = append(ids, task.ID)
		}
		slices.Sort(ids)
		return ids
	}
	running, before := ids(), len(done())
	c.run(append([]string{"queue", "push", "urls"}, all...)...)
	lab.WaitFor(t, patience, "more items", func() error { return want(len(done()), before+items) })
	if now := ids(); !slices.Equal(now, running) {
		t.Errorf("tasks %q run, and %q did: the dead item kills on", now, running)
	}
}
