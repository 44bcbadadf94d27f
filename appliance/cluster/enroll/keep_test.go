package enroll

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// TestKeep has another manager remove a node and add itself, in the state that both have: this one tells
// the nodes, refuses the one that was removed, and changes the key of gossip that it knew.
func TestKeep(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	disk := statetest.Open(t, t.TempDir())
	lists := make([]*member.List, 2)
	for i := range lists {
		var err error
		if lists[i], err = member.Open(disk, pki.NodeLife()); err != nil {
			t.Fatal(err)
		}
	}
	m.Members = lists[0]
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() { _ = m.Keep(ctx, disk.Changed) })
	all.Go(func() { _ = m.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })

	stays := follow(t, joined(t, m, fleet.RoleWorker, worker), "s1")
	goes := follow(t, joined(t, m, fleet.RoleWorker, worker), "s2")
	old := m.Keys.All()
	stays.awaitKeys(t, old)
	goes.awaitKeys(t, old)
	removal := member.NewRemoval([]string{goes.Node.ID}, nil)
	if err := errors.Join(lists[1].Begin(removal), lists[1].Remove(goes.Node.ID),
		lists[1].Done(removal, member.PhaseCertificate, old.Hashes())); err != nil {
		t.Fatal(err)
	}
	goes.await(t, "its removal", func(_ []pki.Keyring, err error) bool { return errors.Is(err, pki.ErrRemoved) })
	stays.await(t, "another key", func(heard []pki.Keyring, _ error) bool {
		last := heard[len(heard)-1]
		return len(last) == 1 && string(last[0]) != string(old[0])
	})
}

// TestAwaitNodes_OfOthers: before the next step of a change of keys the nodes of other managers have time to
// hear of the last.
func TestAwaitNodes_OfOthers(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil) // one of two
	ctx, cancel := context.WithCancel(t.Context())
	if !m.awaitNodes(ctx) {
		t.Error("without a wait it does not go on")
	}
	m.spread = time.Hour
	cancel()
	if m.awaitNodes(ctx) {
		t.Error("it does not wait for the nodes of the other manager")
	}
	m.Managers = func() []netip.AddrPort { return []netip.AddrPort{m.addr} }
	if !m.awaitNodes(t.Context()) {
		t.Error("alone it waits for others")
	}
}
