package enroll

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestFollow_Queue has a node hear at once how the queue is reached, and go on with what it has heard where a manager
// does not say, or says more than a node keeps.
func TestFollow_Queue(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	var said atomic.Value
	said.Store([]byte(nil))
	m.Queue = func() []byte { return said.Load().([]byte) }
	node := follow(t, joined(t, m, fleet.RoleWorker, worker), "")
	for _, step := range []struct{ said, want []byte }{
		{[]byte("at a"), []byte("at a")},
		{[]byte("at b"), []byte("at b")},
		{nil, []byte("at b")},
		{bytes.Repeat([]byte("x"), pki.MaxQueue+1), []byte("at b")},
		{[]byte("at c"), []byte("at c")},
	} {
		said.Store(step.said)
		if err := m.publish(); err != nil {
			t.Fatal(err)
		}
		node.await(t, "news of the queue", func([]pki.Keyring, error) bool {
			return bytes.Equal(node.Membership().Queue, step.want)
		})
	}
}
