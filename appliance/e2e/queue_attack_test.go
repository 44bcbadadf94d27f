package e2e

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/api"
)

//go:embed testdata/queue_attack.py
var queueAttack string

// TestQueueAttack has a spider's container on a worker send its queue what ended the
// manager of earlier versions, or read its files: neither the manager nor the queue's
// process ends, nothing is told, and the queue serves on.
func TestQueueAttack(t *testing.T) {
	t.Parallel()
	c := newCluster(t, queueConfig, 1)
	c.importPython()
	var before, after api.Status
	c.read(&before, "status")
	said := c.hosts[1].MustExec("docker", "run", "--rm", "--network", "host", "python:3.6",
		"python3", "-c", queueAttack, c.manager.IP().String(), password)
	t.Log(said)
	contains(t, said, "left 100 True")
	for line := range strings.Lines(said) {
		for _, leak := range []string{"root:", "PRIVATE", "BEGIN"} {
			if strings.Contains(line, leak) {
				t.Errorf("it was told %s", line)
			}
		}
		if strings.HasPrefix(line, "EVAL") && !strings.Contains(line, "is not served by crawlbox's embedded queue") {
			t.Errorf("a script was not refused: %s", line)
		}
	}
	c.read(&after, "status")
	if !after.Started.Equal(before.Started) || after.Queue.Restarts != 0 || !after.Queue.Serving {
		t.Errorf("the manager started at %v, was %v; the queue: %+v", after.Started, before.Started, *after.Queue)
	}
	c.push("localhost:8003/tiny:after")
}
