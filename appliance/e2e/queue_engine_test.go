package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/lab"
)

// TestQueueEngine has a Redis on another host keep the queue's items: as the CLI and spiders see it, from a start
// without it, over its end and with another password.
func TestQueueEngine(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "", 0)
	host := c.lab.AddHost(lab.WithoutDocker())
	at := fmt.Sprintf("redis://%s/1", host.At(6379))
	c.stop(c.manager)
	c.manager.WriteFile("/etc/crawlbox/crawlbox.yaml", "queue:\n  engine: url\n  url_file: engine\n")
	c.manager.WriteFile("/etc/crawlbox/engine", "redis://:hush@"+host.At(6379)+"/1\n")
	c.startManager()
	status := func(want string) func() error {
		return func() error {
			var st api.Status
			c.read(&st, "status")
			for _, p := range st.Problems {
				if p.Kind == api.QueueDown {
					if want != "" && strings.Contains(p.Text, want) && !st.Queue.Serving {
						return nil
					}
					return errors.New(p.Text)
				}
			}
			if want != "" || !st.Queue.Serving || st.Queue.Engine != at {
				return fmt.Errorf("the queue is %+v", st.Queue)
			}
			return nil
		}
	}
	lab.WaitFor(t, patience, "a status without the engine", status("the queue's engine at "+at+" can't be reached"))
	contains(t, c.fails(c.manager, 1, "queue", "len"), "can't be reached", "start it")

	redisArgs := []string{"redis-server", "--bind", host.IP().String(), "--save", "", "--dir", "/tmp", "--requirepass"}
	server := host.Start("redis", append(redisArgs, "hush")...)
	lab.WaitFor(t, patience, "the engine", status(""))
	c.run("queue", "push", "urls", "a", "b", "c")
	contains(t, c.run("queue", "len"), "urls", "3")
	contains(t, c.run("queue", "peek", "urls", "-n", "1"), "a")
	contains(t, host.MustExec("redis-cli", "--no-auth-warning", "-h", host.IP().String(), "-a", "hush", "-n", "1",
		"llen", "urls"), "3")

	var addr api.QueueAddress
	c.read(&addr, "queue", "url")
	opts, err := redis.ParseURL(addr.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.Dialer = host.DialContext
	spider := redis.NewClient(opts)
	defer spider.Close()
	if got, err := spider.LPop(t.Context(), "urls").Result(); got != "a" || err != nil {
		t.Errorf("a spider gets %q, %v", got, err)
	}
	if err := spider.XAdd(t.Context(), &redis.XAddArgs{Stream: "s", Values: []string{"a", "1"}}).Err(); err != nil {
		t.Error(err)
	}
	if err := spider.Shutdown(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOPERM ") {
		t.Errorf("a spider's SHUTDOWN: %v", err)
	}
	c.run("queue", "clear", "urls", "--yes")
	if n, err := spider.Exists(t.Context(), "urls").Result(); n != 0 || err != nil {
		t.Errorf("the cleared key is there: %d, %v", n, err)
	}

	server.Kill()
	lab.WaitFor(t, patience, "a status without the engine", status("can't be reached"))
	server = host.Start("redis", append(redisArgs, "another")...)
	lab.WaitFor(t, patience, "a status with a wrong password", status("refuses the user or password in "+
		"queue.url_file (WRONGPASS"))
	c.stop(c.manager)
	c.manager.WriteFile("/etc/crawlbox/engine", "redis://:another@"+host.At(6379)+"/1\n")
	c.startManager()
	lab.WaitFor(t, patience, "the engine", status(""))
	if err := spider.Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	if shown := c.run("config", "show"); strings.Contains(shown, "another") {
		t.Errorf("the config shows the password:\n%s", shown)
	}
	server.Kill()
}
