package enroll

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// follower is a node that hears what is new.
type follower struct {
	*pki.Identity
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	heard []pki.Keyring // all that it was told to use, in order
	err   error
	more  chan struct{}
}

func follow(t *testing.T, id *pki.Identity, swarmID string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{Identity: id, stop: cancel, done: make(chan struct{}), more: make(chan struct{}, 1)}
	log := testLog(t)
	go func() {
		defer close(f.done)
		_ = Follow(ctx, id, func() string { return swarmID }, f.hear, log)
	}()
	t.Cleanup(f.end)
	return f
}

func (f *follower) end() { f.stop(); <-f.done }

func (f *follower) hear(m pki.Membership, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	if err == nil {
		f.heard = append(f.heard, m.GossipKeys)
	}
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// await waits until the follower has heard what check wants.
func (f *follower) await(t *testing.T, what string, check func(heard []pki.Keyring, err error) bool) {
	t.Helper()
	bound := time.After(30 * time.Second)
	for {
		f.mu.Lock()
		ok := check(f.heard, f.err)
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-f.more:
		case <-bound:
			t.Fatalf("%s: heard %d keyrings, error %v", what, len(f.heard), f.err)
		}
	}
}

func (f *follower) awaitKeys(t *testing.T, want pki.Keyring) {
	t.Helper()
	f.await(t, "keys", func(heard []pki.Keyring, _ error) bool {
		return len(heard) > 0 && reflect.DeepEqual(heard[len(heard)-1], want)
	})
}

// run runs the server's changes of keys.
func (m *manager) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func TestRemove_EndsAccessAndChangesTheKey(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	m.run(t)
	stays := follow(t, joined(t, m, fleet.RoleWorker, worker), "s1")
	goes := follow(t, joined(t, m, fleet.RoleWorker, worker), "s2")
	old := m.Keys.All()
	stays.awaitKeys(t, old)
	goes.awaitKeys(t, old)

	// A connection that stands is of no more use than a new one.
	transport := &http.Transport{TLSClientConfig: goes.ClientTLS()}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	who := "https://" + m.addr.String() + "/who"
	if code, _, err := get1(client, who); code != http.StatusOK {
		t.Fatalf("before: %d, %v", code, err)
	}
	if err := m.Remove(t.Context(), nil, goes.Node.ID); err != nil {
		t.Fatal(err)
	}
	if code, body, err := get1(client, who); code != http.StatusForbidden || !strings.Contains(body, "removed") {
		t.Errorf("on its connection: %d %q, %v", code, body, err)
	}
	fresh := &http.Transport{TLSClientConfig: goes.ClientTLS()}
	defer fresh.CloseIdleConnections()
	if code, body, err := get1(&http.Client{Transport: fresh}, who); code != http.StatusForbidden ||
		!strings.Contains(body, "removed") {
		t.Errorf("on another connection: %d %q, %v", code, body, err)
	}
	for what, err := range map[string]error{
		"news":    Check(t.Context(), goes.Identity),
		"renewal": Renew(t.Context(), goes.Identity),
		"ticket":  RenewSwarmToken(t.Context(), goes.Identity),
	} {
		if !errors.Is(err, pki.ErrRemoved) {
			t.Errorf("%s: %v", what, err)
		}
	}
	goes.await(t, "removal", func(_ []pki.Keyring, err error) bool { return errors.Is(err, pki.ErrRemoved) })

	stays.await(t, "change of keys", func(heard []pki.Keyring, _ error) bool {
		last := heard[len(heard)-1]
		return len(last) == 1 && !reflect.DeepEqual(last, old)
	})
	if m.Keys.Changing() {
		t.Error("the change of keys did not end")
	}
	wantSteps(t, stays.heard, old[0])
	for _, keys := range goes.heard {
		if !reflect.DeepEqual(keys, old) {
			t.Error("the removed node got a new key")
		}
	}
	// The others know whom to refuse.
	if removed := stays.Membership().Removed; !slices.Contains(removed, goes.Node.ID) ||
		slices.Contains(removed, stays.Node.ID) {
		t.Errorf("removed are %v for the others", stays.Membership().Removed)
	}
	lines := strings.Join(m.trail.all(), "\n")
	if !strings.Contains(lines, "removal") || !strings.Contains(lines, goes.Node.ID) {
		t.Errorf("no removal in the audit: %s", lines)
	}
}

// wantSteps wants each keyring to have a key in common with the one before it,
// and the encrypting key of each known before it was in use.
func wantSteps(t *testing.T, heard []pki.Keyring, old pki.Key) {
	t.Helper()
	known := pki.Keyring{old}
	for i, keys := range heard {
		if !slices.ContainsFunc(known, func(k pki.Key) bool { return slices.Equal(k, keys[0]) }) {
			t.Errorf("keyring %d encrypts with a key that was not known before", i)
		}
		known = keys
	}
	if len(heard) < 4 {
		t.Errorf("%d keyrings, want the old one and three steps", len(heard))
	}
}

func TestRun_GoesOnWhereItWasCutOff(t *testing.T) {
	t.Parallel()
	for _, steps := range []int{1, 2} {
		m := startManager(t, nil)
		node := follow(t, joined(t, m, fleet.RoleWorker, worker), "")
		node.awaitKeys(t, m.Keys.All())
		for range steps { // and then the power was cut
			if err := m.Keys.Step(); err != nil {
				t.Fatal(err)
			}
		}
		m.run(t)
		node.await(t, "change of keys",
			func(heard []pki.Keyring, _ error) bool { return len(heard[len(heard)-1]) == 1 && len(heard) > 1 })
		if m.Keys.Changing() {
			t.Errorf("cut off after step %d: not ended", steps)
		}
	}
}

func TestRun_DoesNotWaitForTheAbsent(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	away := follow(t, joined(t, m, fleet.RoleWorker, worker), "")
	away.awaitKeys(t, m.Keys.All())
	away.end()
	m.mu.Lock()
	for id, k := range m.acks {
		k.at = time.Now().Add(-followHold - requestTimeout)
		m.acks[id] = k
	}
	m.mu.Unlock()
	m.run(t)
	if err := m.Remove(t.Context(), nil, "somebody"); err != nil {
		t.Fatal(err)
	}
	// It gets the keys when it is back, whatever it missed.
	back := follow(t, away.Identity, "")
	back.await(t, "new keys", func(heard []pki.Keyring, _ error) bool {
		return len(heard) > 0 && len(heard[len(heard)-1]) == 1 && !reflect.DeepEqual(heard[len(heard)-1], away.heard[0])
	})
}

func TestFollow_TellsTheSwarmID(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	m.swarm.has(member.Node{ID: "abc123", Addr: loopback, Role: fleet.RoleWorker, Ready: true})
	node := follow(t, joined(t, m, fleet.RoleWorker, worker), "abc123")
	node.awaitKeys(t, m.Keys.All())
	if got := m.Members.All(); len(got) != 1 || !slices.Equal(got[0].Bound, []string{"abc123"}) ||
		got[0].Name != worker.Name || got[0].Remote != loopback {
		t.Errorf("the manager knows %+v", got)
	}
	if err := Renew(t.Context(), node.Identity); err != nil {
		t.Fatal(err)
	}
	if got := m.Members.All()[0]; !slices.Equal(got.Bound, []string{"abc123"}) || got.Name != worker.Name {
		t.Errorf("after a renewal the manager knows %+v", got)
	}
}

func TestJoin_EveryTryIsInTheAudit(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	s := m.string(t, fleet.RoleWorker)
	node := joined(t, m, fleet.RoleWorker, worker)
	bad := s
	bad.Secret[0]++
	if _, err := Join(t.Context(), t.TempDir(), bad, worker, testLog(t)); !errors.Is(err, token.ErrBadSecret) {
		t.Fatal(err)
	}
	lines := m.trail.all()
	if len(lines) != 2 || !strings.Contains(lines[0], "join ") || !strings.Contains(lines[0], node.Node.ID) ||
		!strings.Contains(lines[1], "join refused") || !strings.Contains(lines[1], "bad-secret") ||
		!strings.Contains(lines[1], "127.0.0.1") {
		t.Errorf("audit: %q", lines)
	}
}
