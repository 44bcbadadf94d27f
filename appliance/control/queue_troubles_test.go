package control

import (
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/embedded/queue"
)

func TestQueueTroubles(t *testing.T) {
	t.Parallel()
	for want, st := range map[string]queueproc.State{
		"":                       {Serving: true, Progress: queue.Progress{Memory: 9, Bound: 10}},
		"the queue is full":      {Serving: true, Progress: queue.Progress{Memory: 10, Bound: 10}},
		"the queue cannot write": {Serving: true, Progress: queue.Progress{NoDisk: true}},
		"the queue does not run": {Problem: "its journal is damaged"},
	} {
		got := strings.Join(queueTroubles(st), "\n")
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
