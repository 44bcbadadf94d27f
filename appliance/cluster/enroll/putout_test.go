package enroll

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func inSwarm(id, addr, role string) member.Node {
	return member.Node{
		ID:    id,
		Addr:  netip.MustParseAddr(addr),
		Role:  role,
		Raft:  role == fleet.RoleManager,
		Ready: true,
	}
}

// member joins a node that is in Swarm, at the address from which all of this test comes.
func (m *manager) member(t *testing.T, role, name, swarmID string) *pki.Identity {
	t.Helper()
	id := joined(t, m, role, pki.Self{Name: name, Addr: loopback, Version: "1"})
	nodes, _ := m.swarm.SwarmNodes(t.Context())
	m.swarm.has(append(nodes, inSwarm(swarmID, "127.0.0.1", role))...)
	if err := CheckAs(t.Context(), id, swarmID); err != nil {
		t.Fatal(err)
	}
	return id
}

// removeNode does what `crawlbox node rm` does.
func (m *manager) removeNode(t *testing.T, swarmID string) ([]string, error) {
	t.Helper()
	nodes, _ := m.swarm.SwarmNodes(t.Context())
	var ids []string
	for _, n := range nodes {
		if n.ID == swarmID {
			for _, member := range m.Members.Find(n, nodes) {
				ids = append(ids, member.ID)
			}
		}
	}
	return ids, m.Remove(t.Context(), []string{swarmID}, ids...)
}

// TestRemove_LiarIsFound has a worker say another's address and claim another's place,
// and wants its removal to end its own certificate and no other.
func TestRemove_LiarIsFound(t *testing.T) {
	t.Parallel()
	victimAddr := netip.MustParseAddr("10.0.0.9")
	for name, claimsOwn := range map[string]bool{"was known": true, "never claimed its own place": false} {
		m := startManager(t, nil)
		evil := joined(t, m, fleet.RoleWorker, pki.Self{Name: "evil", Addr: loopback, Version: "1"})
		if err := m.Members.Put(member.Member{
			ID:     "victim",
			Role:   fleet.RoleWorker,
			Remote: victimAddr,
			Until:  time.Now().Add(time.Hour),
		}); err != nil {
			t.Fatal(err)
		}
		m.swarm.has(inSwarm("swarm-evil", "127.0.0.1", fleet.RoleWorker),
			inSwarm("swarm-victim", "10.0.0.9", fleet.RoleWorker))
		nodes, _ := m.swarm.SwarmNodes(t.Context())
		if claimsOwn {
			if err := CheckAs(t.Context(), evil, "swarm-evil"); err != nil {
				t.Fatal(err)
			}
		}
		evil.Self.Addr = victimAddr
		if err := Renew(t.Context(), evil); err != nil {
			t.Fatal(err)
		}
		_ = CheckAs(t.Context(), evil, "swarm-victim")
		// The victim's place is its own still, and then taken.
		if err := m.Members.Bind("victim", "swarm-victim", victimAddr, nodes); err != nil {
			t.Errorf("%s: the victim lost its place: %v", name, err)
		}
		if err := CheckAs(t.Context(), evil, "swarm-victim"); !errors.Is(err, ErrBound) {
			t.Errorf("%s: it claims a place that is taken: %v", name, err)
		}
		if lines := strings.Join(m.trail.all(), "\n"); strings.Count(lines, "binding refused") != 1 ||
			!strings.Contains(lines, evil.Node.ID) {
			t.Errorf("%s: the audit has not one line about it: %s", name, lines)
		}
		ids, err := m.removeNode(t, "swarm-evil")
		if err != nil || !slices.Equal(ids, []string{evil.Node.ID}) {
			t.Errorf("%s: the removal ends %v, %v; want %s", name, ids, err, evil.Node.ID)
		}
		if err := RenewSwarmToken(t.Context(), evil); !errors.Is(err, pki.ErrRemoved) {
			t.Errorf("%s: after the removal it renews: %v", name, err)
		}
	}
}

// TestClaim_ManyInVain wants claims without end to be one line of audit, and nothing on
// disk.
func TestClaim_ManyInVain(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	node := joined(t, m, fleet.RoleWorker, worker)
	path := filepath.Join(m.dir, "members.json")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckAs(t.Context(), node, "not-in-swarm-yet"); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Join(m.trail.all(), "\n"); strings.Contains(lines, "binding refused") {
		t.Errorf("a node that Swarm does not list yet is in the audit log: %s", lines)
	}
	for i := range 20 {
		id := fmt.Sprint("elsewhere", i)
		m.swarm.has(inSwarm(id, "10.0.0.77", fleet.RoleManager))
		if err := CheckAs(t.Context(), node, id); err != nil {
			t.Fatal(err)
		}
		m.Members.Moved(node.Node.ID, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	if lines := strings.Count(strings.Join(m.trail.all(), "\n"), "binding refused"); lines != 1 {
		t.Errorf("%d lines of audit", lines)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the list was written: %v", err)
	}
	if got := m.Members.At(netip.MustParseAddr("10.0.0.19")); len(got) != 1 {
		t.Errorf("at its last address is %v", got)
	}
}

// TestRenew_OnTrial wants a node that Swarm does not have to have its certificate and
// its tickets for a short time only.
func TestRenew_OnTrial(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	id := joined(t, m, fleet.RoleManager, pki.Self{Name: "second", Addr: loopback, Version: "1"})
	if left := time.Until(id.Certificate().Leaf.NotAfter); left > pki.TrialLife {
		t.Errorf("its certificate is good for %s before it is in Swarm", left)
	}
	if id.NeedsRenewal(time.Now()) || !id.NeedsRenewal(time.Now().Add(pki.TrialRenewal+time.Minute)) {
		t.Error("it is not due when Docker should be in the swarm")
	}
	age := func(d time.Duration) {
		member, _ := m.Members.Get(id.Node.ID)
		member.Joined = time.Now().Add(-d)
		if err := m.Members.Put(member); err != nil {
			t.Fatal(err)
		}
	}
	if err := RenewSwarmToken(t.Context(), id); err != nil {
		t.Errorf("a ticket in the course of the join: %v", err)
	}
	age(trialSwarmToken + time.Minute)
	if err := RenewSwarmToken(t.Context(), id); !errors.Is(err, ErrUnbound) {
		t.Errorf("a ticket later: %v", err)
	}
	if err := Renew(t.Context(), id); err != nil {
		t.Errorf("a renewal on the same day: %v", err)
	}
	if left := time.Until(id.Certificate().Leaf.NotAfter); left > pki.TrialLife {
		t.Errorf("its next certificate is good for %s", left)
	}
	age(pki.TrialLife + time.Minute)
	if err := Renew(t.Context(), id); !errors.Is(err, ErrUnbound) {
		t.Errorf("a renewal the day after: %v", err)
	}
	m.swarm.has(inSwarm("s2", "127.0.0.1", fleet.RoleManager))
	if err := errors.Join(CheckAs(t.Context(), id, "s2"), Renew(t.Context(), id)); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(id.Certificate().Leaf.NotAfter); left < pki.NodeLife()-time.Hour {
		t.Errorf("in Swarm its certificate is good for %s", left)
	}
	m.swarm.has(inSwarm("s3", "127.0.0.2", fleet.RoleWorker))
	if err := Renew(t.Context(), id); !errors.Is(err, ErrUnbound) {
		t.Errorf("a renewal of one that is off Swarm's list: %v", err)
	}
}

// TestKeepRenewed_Trial wants a node that Swarm has to get a certificate of the usual
// life soon after its join: it may be switched off for days then.
func TestKeepRenewed_Trial(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	m.swarm.has(inSwarm("s2", "127.0.0.1", fleet.RoleWorker))
	node := joined(t, m, fleet.RoleWorker, pki.Self{Name: "node", Addr: loopback, Version: "1"})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pki.KeepRenewed(ctx, node, func(ctx context.Context) error { return Renew(ctx, node) }, testLog(t))
	}()
	t.Cleanup(func() { cancel(); <-done })
	follow(t, node, "s2")
	waitUntil(t, "a certificate of the usual life", func() bool { return !node.OnTrial() })
}

// TestKeepRenewed_Epoch wants a node to get a certificate of the next epoch long before
// its own is due.
func TestKeepRenewed_Epoch(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	node := m.member(t, fleet.RoleWorker, "node", "s2")
	if err := Renew(t.Context(), node); err != nil { // no longer a trial
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = pki.KeepRenewed(ctx, node, func(ctx context.Context) error { return Renew(ctx, node) }, testLog(t))
	}()
	t.Cleanup(func() { cancel(); <-done })
	if err := errors.Join(m.beginEpoch(), m.publish(), Check(t.Context(), node)); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "a certificate of the next epoch", func() bool { return pki.EpochOf(node.Certificate().Leaf) == 1 })
	if !m.renewed(1) || m.renewed(2) {
		t.Error("the manager does not know which certificates the nodes have")
	}
}

// order asks a node for what only a manager may.
func order(t *testing.T, m *manager, as *pki.Identity) (int, string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: as.ClientTLS()}
	defer transport.CloseIdleConnections()
	code, body, err := get1(&http.Client{Transport: transport}, "https://"+m.addr.String()+"/order")
	if err != nil {
		t.Fatal(err)
	}
	return code, body
}

// TestRole_FollowsSwarm promotes and demotes a manager, whose certificate says all the
// time that it is one.
func TestRole_FollowsSwarm(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	second := m.member(t, fleet.RoleManager, "second", "s2")
	own := inSwarm("s1", "127.0.0.9", fleet.RoleManager)
	as := func(role string) {
		t.Helper()
		n := inSwarm("s2", "127.0.0.1", role)
		m.swarm.has(own, n)
		if err := m.checkManagers(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if code, _ := order(t, m, second); code != http.StatusForbidden {
		t.Errorf("before Swarm has it as a manager it gets %d", code)
	}
	as(fleet.RoleManager)
	if code, body := order(t, m, second); code != http.StatusOK {
		t.Errorf("as a manager it gets %d %s", code, body)
	}
	if err := RenewSwarmToken(t.Context(), second); err != nil ||
		string(second.Membership().Swarm.Token) != "SWMTKN-1-manager" {
		t.Errorf("as a manager it gets the ticket %q, %v", string(second.Membership().Swarm.Token), err)
	}
	before := m.swarm.rotated()
	manager := *second.Certificate()

	as(fleet.RoleWorker)
	if code, body := order(t, m, second); code != http.StatusForbidden || !strings.Contains(body, "not-allowed") {
		t.Errorf("after its demotion it gets %d %s", code, body)
	}
	if got := m.swarm.rotated(); got != before+1 {
		t.Errorf("Swarm's tokens were changed %d times at the demotion", got-before)
	}
	if err := RenewSwarmToken(t.Context(), second); err != nil ||
		string(second.Membership().Swarm.Token) != "SWMTKN-1-worker" {
		t.Errorf("after its demotion it gets the ticket %q, %v", string(second.Membership().Swarm.Token), err)
	}
	if info, err := pki.InfoFrom(second.Certificate().Leaf); err != nil || info.Role != fleet.RoleWorker ||
		second.Certificate().Leaf.VerifyHostname("second") == nil {
		t.Errorf("after its demotion it gets the certificate of a %s, %v, with the names %v", info.Role, err,
			second.Certificate().Leaf.DNSNames)
	}
	if !m.id.IsManager(m.id.Certificate().Leaf) || m.id.IsManager(manager.Leaf) {
		t.Error("who is a manager is confused")
	}
	as(fleet.RoleManager)
	if err := Renew(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if code, _ := order(t, m, second); code != http.StatusOK {
		t.Errorf("as a manager again it gets %d", code)
	}
}

// TestRequire_StaleRoles wants a node that has heard nothing of managers for long to ask
// before it obeys one, and to obey none where nobody can tell; but for the one that has
// the CA.
func TestRequire_StaleRoles(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	second := m.member(t, fleet.RoleManager, "second", "s2")
	dir := t.TempDir()
	node, err := Join(t.Context(), dir, m.string(t, fleet.RoleWorker), worker, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	m.swarm.has(inSwarm("s1", "127.0.0.9", fleet.RoleManager), inSwarm("s2", "127.0.0.1", fleet.RoleManager))
	if err := errors.Join(m.checkManagers(t.Context()), Check(t.Context(), node)); err != nil {
		t.Fatal(err)
	}
	stale := func() { // after a start, nothing was heard yet
		if node, err = pki.LoadIdentity(dir); err != nil {
			t.Fatal(err)
		}
	}
	leaf := second.Certificate().Leaf
	if err := managerNow(t.Context(), node, leaf); err != nil {
		t.Errorf("a manager: %v", err)
	}
	m.swarm.has(inSwarm("s1", "127.0.0.9", fleet.RoleManager), inSwarm("s2", "127.0.0.1", fleet.RoleWorker))
	if err := m.checkManagers(t.Context()); err != nil {
		t.Fatal(err)
	}
	stale()
	if err := managerNow(t.Context(), node, leaf); !errors.Is(err, pki.ErrNotAllowed) {
		t.Errorf("one that was demoted meanwhile: %v", err)
	}
	// Nobody can tell.
	known := node.Membership()
	known.ManagerIDs = append(known.ManagerIDs, second.Node.ID)
	known.Managers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}
	if err := node.Adopt(known); err != nil {
		t.Fatal(err)
	}
	stale()
	if err := managerNow(t.Context(), node, leaf); !errors.Is(err, ErrUnavailable) {
		t.Errorf("one of whom nobody can tell: %v", err)
	}
	if err := managerNow(t.Context(), node, m.id.Certificate().Leaf); err != nil {
		t.Errorf("the one that has the CA: %v", err)
	}
	// A manager of an older version says nothing of managers.
	known.ManagerIDs = nil
	if err := node.Adopt(known); err != nil {
		t.Fatal(err)
	}
	node.ManagerAnswered()
	if err := managerNow(t.Context(), node, leaf); err != nil {
		t.Errorf("with a manager of an older version: %v", err)
	}
}

// again starts the manager after a crash: all from disk.
func (m *manager) again(t *testing.T) *manager {
	t.Helper()
	o := m.Options
	var err error
	if o.Keys, err = member.OpenKeys(statetest.Open(t, m.dir)); err != nil {
		t.Fatal(err)
	}
	o.Members = openMembers(t, m.dir)
	next := &manager{id: m.id, addr: m.addr, dir: m.dir, swarm: m.swarm}
	if next.Server, err = NewServer(o); err != nil {
		t.Fatal(err)
	}
	next.gathered, next.spread = time.Now(), 0
	return next
}

// TestRemove_GoesOnAfterACrash cuts a removal off after each number of its phases, and
// wants the next start, or the same command again, to bring it to the same end.
func TestRemove_GoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	for cut := range 4 {
		for _, command := range []bool{false, true} {
			m := startManager(t, nil)
			node := m.member(t, fleet.RoleWorker, "goes", "s2")
			key := m.Keys.All()[0]
			r := member.NewRemoval([]string{node.Node.ID}, []string{"s2"})
			if err := m.Members.Begin(r); err != nil {
				t.Fatal(err)
			}
			for _, p := range r.Left[:cut] {
				if err := m.do(t.Context(), r, p); err != nil {
					t.Fatal(err)
				}
				if cut%2 == 0 { // else also what the last phase did is not written down
					if err := m.Members.Done(r, p, m.Keys.All().Hashes()); err != nil {
						t.Fatal(err)
					}
				}
			}
			m = m.again(t)
			if command {
				if _, err := m.removeNode(t, "s2"); err != nil {
					t.Fatal(err)
				}
			}
			m.run(t)
			waitUntil(t, fmt.Sprintf("the end of a removal that was cut off after %d phases", cut),
				func() bool { return len(m.Members.Pending()) == 0 })
			nodes, _ := m.swarm.SwarmNodes(t.Context())
			if !m.Members.WasRemoved(node.Node.ID) || m.swarm.rotated() == 0 || len(nodes) != 0 {
				t.Errorf("cut off after %d phases: removed %v, tokens changed %d times, Swarm has %v", cut,
					m.Members.Removed(), m.swarm.rotated(), nodes)
			}
			if keys := m.Keys.All(); len(keys) != 1 || slices.Equal(keys[0], key) {
				t.Errorf("cut off after %d phases: gossip has the same key", cut)
			}
		}
	}
}

// TestRemove_SwarmIsAway wants the certificate to end though Swarm can't be asked, the
// command to say so, and the rest to be done later.
func TestRemove_SwarmIsAway(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	node := m.member(t, fleet.RoleWorker, "goes", "s2")
	m.swarm.mu.Lock()
	m.swarm.fail = errors.New("docker is stopped")
	m.swarm.mu.Unlock()
	if err := m.Remove(t.Context(), []string{"s2"},
		node.Node.ID); err == nil || !strings.Contains(err.Error(), "docker is stopped") ||
		!strings.Contains(err.Error(), "goes on by itself") {
		t.Errorf("the command says %v", err)
	}
	if err := Check(t.Context(), node); !errors.Is(err, pki.ErrRemoved) {
		t.Errorf("its certificate is good: %v", err)
	}
	m.swarm.mu.Lock()
	m.swarm.fail = nil
	m.swarm.mu.Unlock()
	m.run(t)
	waitUntil(t, "the end of the removal", func() bool { return len(m.Members.Pending()) == 0 })
	if m.swarm.rotated() == 0 {
		t.Error("Swarm's tokens are the same")
	}
}

// waitUntil looks again and again.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	bound, tick := time.After(30*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-bound:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// TestManyRemoved removes many nodes within the life of a certificate, and wants those
// that stay to notice nothing, and none of the others to come back.
func TestManyRemoved(t *testing.T) {
	t.Parallel()
	for _, n := range []int{epochListSize + 1, maxList + 1, 9500} {
		m := startManager(t, nil)
		stays := m.member(t, fleet.RoleWorker, "stays", "s1")
		goes := joined(t, m, fleet.RoleWorker, worker)
		ids := []string{goes.Node.ID}
		for i := range n - 1 {
			ids = append(ids, fmt.Sprintf("%026d", i))
		}
		if err := m.Members.Remove(ids...); err != nil {
			t.Fatal(err)
		}
		if err := m.publish(); err != nil {
			t.Fatal(err)
		}
		if got := len(m.membership().Removed); got > maxList {
			t.Errorf("of %d removed nodes each node is told of %d", n, got)
		}
		// The loop looks twice, and between that who stays has heard of it.
		for range 2 {
			if err := errors.Join(m.boundRemovedList(), Check(t.Context(), stays)); err != nil {
				t.Errorf("%d removed nodes: the one that stays: %v", n, err)
			}
			if pki.EpochOf(stays.Certificate().Leaf) < stays.Membership().Renew {
				if err := Renew(t.Context(), stays); err != nil {
					t.Errorf("%d removed nodes: the one that stays renews: %v", n, err)
				}
			}
			if code, body := order(t, m, m.id); code != http.StatusOK {
				t.Errorf("%d removed nodes: the manager itself gets %d %s", n, code, body)
			}
		}
		if err := errors.Join(m.boundRemovedList(), Check(t.Context(), stays)); err != nil {
			t.Errorf("%d removed nodes: the one that stays: %v", n, err)
		}
		if got := len(stays.Membership().Removed); got > epochListSize {
			t.Errorf("%d removed nodes: after an epoch each node is told of %d", n, got)
		}
		if accepted := stays.Membership().Epoch; accepted != 1 || pki.EpochOf(stays.Certificate().Leaf) != accepted {
			t.Errorf("%d removed nodes: the one that stays has a certificate of epoch %d, accepted is %d", n,
				pki.EpochOf(stays.Certificate().Leaf), accepted)
		}
		for what, err := range map[string]error{
			"news":      Check(t.Context(), goes),
			"a renewal": Renew(t.Context(), goes),
			"a ticket":  RenewSwarmToken(t.Context(), goes),
		} {
			if !errors.Is(err, pki.ErrRemoved) {
				t.Errorf("%d removed nodes: one of them asks for %s: %v", n, what, err)
			}
		}
		r := &http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{goes.Certificate().Leaf}}}}
		if _, err := stays.Peer(r); !errors.Is(err, pki.ErrOutdated) {
			t.Errorf("%d removed nodes: one of them asks the one that stays: %v", n, err)
		}
		if _, err := Join(t.Context(), t.TempDir(), m.string(t, fleet.RoleWorker), worker, testLog(t)); err != nil {
			t.Errorf("%d removed nodes: a machine that joins: %v", n, err)
		}
	}
}

// TestFollow_ManagerOfBefore: a node that knows that its cluster was restored follows no manager that does
// not.
func TestFollow_ManagerOfBefore(t *testing.T) {
	t.Parallel()
	m := startManager(t, nil)
	node := m.member(t, fleet.RoleWorker, "node", "s2")
	known := node.Membership()
	known.Restored = 1
	if err := node.Adopt(known); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"news": Check(t.Context(), node), "certificate": Renew(t.Context(), node)} {
		if !errors.Is(err, errBefore) || node.Membership().Restored != 1 {
			t.Errorf("%s: %v; it knows of %d restores", what, err, node.Membership().Restored)
		}
	}
}
