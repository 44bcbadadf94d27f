package member

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

const life = 90 * 24 * time.Hour

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func open(t testing.TB, dir string) *List {
	t.Helper()
	m, err := Open(statetest.Open(t, dir), life)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// aMember returns a member that asks from an address, and says that it has another.
func aMember(id, remote string, bound ...string) Member {
	return Member{
		ID:     id,
		Role:   fleet.RoleWorker,
		Name:   "host-" + id,
		Addr:   addr("192.0.2.1"),
		Remote: addr(remote),
		Bound:  bound,
		Until:  time.Now().Add(life).UTC(),
	}
}

func listOf(t testing.TB, dir string, list ...Member) *List {
	t.Helper()
	m := open(t, dir)
	for _, n := range list {
		if err := m.set(n); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// set has a member on the list as it is.
func (m *List) set(n Member) error {
	return m.update(func(next *documents) error {
		next.list[n.ID], next.edited = n, true
		return nil
	})
}

func ids(list []Member) []string {
	ids := []string{}
	for _, n := range list {
		ids = append(ids, n.ID)
	}
	return ids
}

func TestList_RemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := listOf(t, dir, aMember("a", "10.0.0.1", "s1"), aMember("b", "10.0.0.2"))
	for range 2 {
		if err := errors.Join(m.Remove("a"), m.Remove("unheard-of")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"members.json", "removals.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	again := open(t, dir)
	if got := again.Removed(); !slices.Equal(got, []string{"a", "unheard-of"}) {
		t.Errorf("removed %v", got)
	}
	if got := ids(again.All()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("left are %v", got)
	}
	if err := again.Put(aMember("a", "10.0.0.1")); !errors.Is(err, ErrRemoved) {
		t.Errorf("a removed node gets another certificate: %v", err)
	}
	if got := again.At(addr("10.0.0.1")); len(got) != 0 {
		t.Errorf("at the address of a removed node is %v", got)
	}
	if !again.RemovedNode("s1") || again.RemovedNode("s2") {
		t.Error("it is not known which node of Swarm it was")
	}
}

func TestList_DamagedFileStays(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"members.json", "removals.json"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(statetest.Open(t, dir), life); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: opened: %v", name, err)
		}
	}
}

// TestList_OlderFile wants nothing to be believed that a version before wrote down as a
// node had said it.
func TestList_OlderFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := fmt.Sprintf(
		`[{"id":"a","role":"worker","name":"h","addr":"10.0.0.1","remote":"10.0.0.2","swarm":"s1","until":%q}]`,
		time.Now().Add(life).Format(time.RFC3339))
	if err := os.WriteFile(filepath.Join(dir, "members.json"), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, dir)
	if n, ok := m.Get("a"); !ok || len(n.Bound) > 0 || n.Swarm != "" ||
		!m.Of(Node{ID: "s2", Addr: addr("10.0.0.2")})[0].from(addr("10.0.0.2")) {
		t.Errorf("it knows %+v", n)
	}
}

// TestBind wants each claim to be believed only as far as Swarm bears it out.
func TestBind(t *testing.T) {
	t.Parallel()
	nodes := []Node{
		{ID: "s1", Addr: addr("10.0.0.1"), Ready: true},
		{ID: "s2", Addr: addr("10.0.0.2"), Ready: true},
		{ID: "nat1", Addr: addr("10.9.9.9"), Ready: true},
		{ID: "nat2", Addr: addr("10.9.9.9"), Ready: true},
		{ID: "two-ways", Addr: addr("10.0.0.7"), Ready: true},
		{ID: "down", Addr: addr("10.0.0.8")},
		{ID: "again", Addr: addr("10.0.0.8"), Ready: true},
	}
	many := aMember("many", "10.0.0.1")
	for i := range maxBound {
		many.Bound = append(many.Bound, fmt.Sprint("before", i))
	}
	for name, tt := range map[string]struct {
		have   []Member // beside the one that claims
		self   Member
		claim  string
		remote string
		want   error
	}{
		"its own":                    {nil, aMember("x", "10.0.0.1"), "s1", "10.0.0.1", nil},
		"its own, as IPv6 writes it": {nil, aMember("x", "10.0.0.1"), "s1", "::ffff:10.0.0.1", nil},
		"one of those behind NAT": {
			[]Member{aMember("y", "10.9.9.9", "nat1")},
			aMember("x", "10.9.9.9"),
			"nat2",
			"10.9.9.9",
			nil,
		},
		"taken": {
			[]Member{aMember("y", "10.0.0.1", "s1")},
			aMember("x", "10.0.0.1"),
			"s1",
			"10.0.0.1",
			ErrTaken,
		},
		"taken, behind NAT": {
			[]Member{aMember("y", "10.9.9.9", "nat1")},
			aMember("x", "10.9.9.9"),
			"nat1",
			"10.9.9.9",
			ErrTaken,
		},
		"taken by what it was before": {
			[]Member{aMember("y", "10.0.0.2", "s1", "s2")},
			aMember("x", "10.0.0.1"),
			"s1",
			"10.0.0.1",
			ErrTaken,
		},
		"another's, which has not claimed it": {
			[]Member{aMember("y", "10.0.0.2")},
			aMember("x", "10.0.0.1"),
			"s2",
			"10.0.0.1",
			ErrUnproven,
		},
		"another's, from a further address": {
			[]Member{aMember("y", "10.0.0.2")},
			aMember("x", "10.0.0.1"),
			"s2",
			"10.0.0.99",
			ErrUnproven,
		},
		"another's, from a node's address":    {nil, aMember("x", "10.0.0.1"), "s2", "10.0.0.1", ErrUnproven},
		"nobody's":                            {nil, aMember("x", "10.0.0.1"), "s77", "10.0.0.1", ErrUnproven},
		"its own, by another way":             {nil, aMember("x", "10.0.0.70"), "two-ways", "10.0.0.70", nil},
		"a second one, while the first is up": {nil, aMember("x", "10.9.9.9", "nat1"), "nat2", "10.9.9.9", ErrUnproven},
		"a second one, after the first":       {nil, aMember("x", "10.0.0.8", "down"), "again", "10.0.0.8", nil},
		"one of too many":                     {nil, many, "s1", "10.0.0.1", ErrUnproven},
	} {
		m := listOf(t, t.TempDir(), append(tt.have, tt.self)...)
		if err := m.Bind(tt.self.ID, tt.claim, addr(tt.remote), nodes); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		if got := m.IsBound(tt.self.ID, tt.claim); got != (tt.want == nil) {
			t.Errorf("%s: bound is %v", name, got)
		}
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	all := []Node{
		{ID: "s1", Addr: addr("10.0.0.1")},
		{ID: "s1-before", Addr: addr("10.0.0.1")},
		{ID: "s2", Addr: addr("10.0.0.2")},
		{ID: "s3", Addr: addr("10.0.0.3")},
		{ID: "nat1", Addr: addr("10.9.9.9")},
		{ID: "nat2", Addr: addr("10.9.9.9")},
		{ID: "nat3", Addr: addr("10.8.8.8")},
		{ID: "nat4", Addr: addr("10.8.8.8")},
	}
	m := listOf(t, t.TempDir(),
		aMember("one", "10.0.0.1", "s1-before", "s1"),
		aMember("spare", "10.0.0.1"), // of the same machine
		aMember("two", "10.0.0.2"),   // has not claimed its node yet
		aMember("five", "10.9.9.9", "nat1"),
		aMember("six", "10.9.9.9", "nat2"),
		aMember("seven", "10.8.8.8", "nat3"),
		aMember("eight", "10.8.8.8"), // can be nat4 only
		aMember("nobody", "10.7.7.7"),
	)
	for target, want := range map[string][]string{
		"s1":        {"one", "spare"},
		"s1-before": {"one", "spare"}, // what a node was before it joined again
		"s2":        {"two"},
		"s3":        {},
		"nat1":      {"five"}, // and not its sibling
		"nat3":      {"seven"},
		"nat4":      {"eight"},
	} {
		node, _ := nodeOf(target, all)
		if got := ids(m.Find(node, all)); !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", target, got, want)
		}
	}
	if got := ids(m.Unbound()); !slices.Equal(got, []string{"eight", "nobody", "spare", "two"}) {
		t.Errorf("unbound are %v", got)
	}
}

// machine is a clock that can be set wrong.
type machine struct {
	wall time.Time
	ran  time.Duration
}

func (m *machine) clock(at time.Time) *clock {
	return &clock{
		wall: func() time.Time { return m.wall },
		ran:  func() time.Duration { return m.ran },
		at:   at,
		had:  m.ran,
	}
}

// pass lets time pass.
func (m *machine) pass(d time.Duration) { m.wall, m.ran = m.wall.Add(d), m.ran+d }

func TestClock(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	begun := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := &machine{wall: begun}
	c := m.clock(begun)
	m.pass(10 * day)
	if got := c.now().Sub(begun); got != 10*day {
		t.Errorf("after 10 days it is %s on", got)
	}
	m.wall = m.wall.Add(90 * day)
	m.pass(day)
	if got := c.now().Sub(begun); got > 12*day {
		t.Errorf("a jump of 90 days takes it to %s after 11 days", got)
	}
	m.wall = m.wall.Add(-200 * day)
	m.pass(day)
	if got := c.now().Sub(begun); got < 11*day || got > 12*day {
		t.Errorf("a jump back takes it to %s", got)
	}
	// After a long time without crawlbox it catches up.
	m = &machine{wall: begun.Add(30 * day)}
	c = m.clock(begun)
	m.pass(40 * day)
	if got := c.now().Sub(begun); got != 70*day {
		t.Errorf("it does not catch up: %s after 70 days", got)
	}
}

// TestList_ClockJumps wants a machine's clock that is 90 days ahead to end nothing.
func TestList_ClockJumps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := listOf(t, dir, aMember("a", "10.0.0.1", "s1"), aMember("b", "10.0.0.2"))
	if err := m.Remove("b"); err != nil {
		t.Fatal(err)
	}
	jumped := &machine{wall: time.Now().Add(2 * life)}
	for start := range 3 { // it starts again and again with that clock
		m = open(t, dir)
		m.clock = jumped.clock(m.state.Clock)
		jumped.pass(time.Hour)
		if err := m.Put(aMember(fmt.Sprint("new", start), "10.0.0.3")); err != nil {
			t.Fatal(err)
		}
		if _, ok := m.Get("a"); !ok || !slices.Equal(m.Removed(), []string{"b"}) {
			t.Fatalf("start %d: on the list are %v, removed %v", start, ids(m.All()), m.Removed())
		}
	}
	// What has really ended is forgotten.
	real := &machine{wall: time.Now()}
	m.clock = real.clock(time.Now())
	real.pass(2 * life)
	if err := m.Put(Member{ID: "c", Until: real.wall.Add(life)}); err != nil {
		t.Fatal(err)
	}
	if got := ids(m.All()); !slices.Equal(got, []string{"c"}) || len(m.Removed()) > 0 {
		t.Errorf("after two lives on the list are %v, removed %v", got, m.Removed())
	}
}

// TestJournal has a removal go on wherever it was cut off.
func TestJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := open(t, dir)
	r := NewRemoval([]string{"a"}, []string{"s1"})
	if err := errors.Join(m.Begin(r), m.Begin(r), m.Begin(NewRemoval([]string{"b"}, nil))); err != nil {
		t.Fatal(err)
	}
	for _, want := range []Phase{PhaseCertificate, PhaseTokens, PhaseSwarm} {
		m = open(t, dir)
		var found Removal
		for _, p := range m.Pending() {
			if p.Is(r) {
				found = p
			}
		}
		if p, ok := found.Next(); !ok || p != want || len(m.Pending()) != 2 {
			t.Fatalf("to be done are %+v, want %s", m.Pending(), want)
		}
		if err := m.Done(r, want, []string{"k1", "k2"}); err != nil {
			t.Fatal(err)
		}
	}
	m = open(t, dir)
	for _, step := range []struct {
		keys []string
		want bool
	}{
		{[]string{"k1", "k2"}, true},
		{[]string{"k2"}, true},
		{[]string{"k3", "k2"}, true},
		{[]string{"k3"}, false},
		{[]string{"k3"}, false},
	} {
		if got, err := m.AwaitsKeys(step.keys); err != nil || got != step.want {
			t.Errorf("with the keys %v another is awaited: %v, %v", step.keys, got, err)
		}
	}
	if left := open(t, dir).Pending(); len(left) != 1 || left[0].Is(r) {
		t.Errorf("left are %+v", left)
	}
}

// TestNoteManagers wants a node that is no longer a manager to be noticed once, however it
// stopped being one.
func TestNoteManagers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	manager := func(id string) Node { return Node{ID: id, Role: fleet.RoleManager, Raft: true} }
	for i, step := range []struct {
		nodes []Node
		want  bool
	}{
		{[]Node{manager("1"), {ID: "2", Role: fleet.RoleWorker}}, false},
		{[]Node{manager("1"), manager("2")}, false},
		{nil, false}, // Swarm can't be asked
		{[]Node{manager("1"), {ID: "2", Role: fleet.RoleWorker, Raft: true}}, false}, // would read the new tokens
		{[]Node{manager("1"), {ID: "2", Role: fleet.RoleWorker}}, true},
		{[]Node{manager("1")}, false},
		{[]Node{manager("1"), manager("3")}, false},
		{[]Node{manager("1")}, true}, // removed by docker's commands
	} {
		m := open(t, dir)
		if got, err := m.NoteManagers(step.nodes); err != nil || (len(got) == 1) != step.want {
			t.Errorf("step %d: %v, %v", i, got, err)
		}
		if got := len(open(t, dir).Pending()) > 0; got != step.want {
			t.Errorf("step %d: on disk is %v", i, got)
		}
		for _, r := range m.Pending() {
			if err := m.Done(r, PhaseTokens, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestRestored_Roles: who is a manager may be one in the next swarm too, and who was demoted is a worker there, however
// often there is another one.
func TestRestored_Roles(t *testing.T) {
	t.Parallel()
	store := statetest.Open(t, t.TempDir())
	m, err := Open(store, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []Node
	for i, id := range []string{"first", "stays", "demoted", "fresh"} {
		n := aMember(id, fmt.Sprintf("10.0.0.%d", i+1))
		n.Role = fleet.RoleManager
		if err := m.Put(n); err != nil {
			t.Fatal(err)
		}
		if id == "fresh" {
			continue // Swarm has it not yet
		}
		nodes = append(nodes, Node{ID: "of-" + id, Addr: n.Remote, Role: fleet.RoleManager, Raft: true, Ready: true})
		if err := m.Bind(id, "of-"+id, n.Remote, nodes); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.NoteManagers(nodes); err != nil {
		t.Fatal(err)
	}
	nodes[2].Role, nodes[2].Raft = fleet.RoleWorker, false
	if _, err := m.NoteManagers(nodes); err != nil {
		t.Fatal(err)
	}
	docs := state.Contents{}
	for _, name := range []string{state.Members, state.Removals} {
		if docs[name], err = state.NewDocument(store, name).Load(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		if docs, err = Restored(docs, time.Now()); err != nil {
			t.Fatal(err)
		}
		list, err := Parse(docs[state.Members])
		if err != nil || len(list) != 4 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, n := range list {
			if (n.Role == fleet.RoleManager) != (n.ID != "demoted") || len(n.Bound) > 0 {
				t.Errorf("restored %d times, %s is a %s, bound to %v", i+1, n.ID, n.Role, n.Bound)
			}
		}
	}
}

// TestEpochs wants the list of the removed to be short after an epoch, and nobody on it
// to be let in who has a certificate of the next.
func TestEpochs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := listOf(t, dir, aMember("stays", "10.0.0.1", "s1"), aMember("old", "10.0.0.2"))
	if err := errors.Join(m.Remove("old"), m.NextEpoch(), m.NextEpoch()); err != nil {
		t.Fatal(err)
	}
	renewed := aMember("renewed", "10.0.0.3")
	renewed.Epoch, _ = m.Epochs()
	if err := errors.Join(m.Put(renewed), m.Remove("renewed"), m.Remove("unheard-of")); err != nil {
		t.Fatal(err)
	}
	if signed, accepted := m.Epochs(); signed != 1 || accepted != 0 || len(m.Removed()) != 3 {
		t.Errorf("epochs %d, %d; removed %v", signed, accepted, m.Removed())
	}
	if err := m.AcceptEpoch(); err != nil {
		t.Fatal(err)
	}
	again := open(t, dir)
	if signed, accepted := again.Epochs(); signed != 1 || accepted != 1 ||
		!slices.Equal(again.Removed(), []string{"renewed", "unheard-of"}) {
		t.Errorf("epochs %d, %d; removed %v", signed, accepted, again.Removed())
	}
	if _, ok := again.Get("old"); ok || !slices.Equal(ids(again.All()), []string{"stays"}) {
		t.Errorf("on the list are %v", ids(again.All()))
	}
}

// TestPut_Full: with a join token one makes no more nodes than a cluster may have.
func TestPut_Full(t *testing.T) {
	t.Parallel()
	m := open(t, t.TempDir())
	change := func(fn func(members)) {
		t.Helper()
		err := m.update(func(next *documents) error {
			next.edited = true
			fn(next.list)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	change(func(list members) {
		for n := range Max {
			id := fmt.Sprint(n)
			list[id] = Member{ID: id, Until: time.Now().Add(time.Hour)}
		}
	})
	if err := m.Put(aMember("one-more", "10.0.0.9")); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	if err := m.Put(aMember("7", "10.0.0.7")); err != nil {
		t.Errorf("one of them, again: %v", err)
	}
	change(func(list members) { delete(list, "8") })
	if err := m.Put(aMember("one-more", "10.0.0.9")); err != nil {
		t.Errorf("one more after one is gone: %v", err)
	}
}

// TestBind_ManagersNode: nobody becomes a manager's node of Swarm from elsewhere, the
// first manager's least of all, which no certificate is bound to.
func TestBind_ManagersNode(t *testing.T) {
	t.Parallel()
	first := Node{ID: "first", Addr: addr("10.0.0.1"), Role: fleet.RoleManager, Raft: true, Ready: true, First: true}
	second := Node{ID: "second", Addr: addr("10.0.0.3"), Role: fleet.RoleManager, Raft: true, Ready: true}
	down := Node{ID: "down", Addr: addr("10.0.0.2"), Role: fleet.RoleWorker}
	for name, tc := range map[string]struct {
		role  string
		from  string
		claim Node
		want  error
	}{
		"a stranger's new certificate, the first manager's": {fleet.RoleWorker, "198.51.100.7", first, ErrUnproven},
		"a manager's certificate, the first manager's":      {fleet.RoleManager, "198.51.100.7", first, ErrUnproven},
		"from the first manager's own address":              {fleet.RoleWorker, "10.0.0.1", first, ErrUnproven},
		"a worker's certificate, another manager's":         {fleet.RoleWorker, "198.51.100.7", second, ErrUnproven},
		"who was promoted before it was bound":              {fleet.RoleWorker, "10.0.0.3", second, nil},
		"a manager with two ways to the first":              {fleet.RoleManager, "198.51.100.7", second, nil},
	} {
		m := listOf(t, t.TempDir(), Member{
			ID:     "x",
			Role:   tc.role,
			Remote: addr(tc.from),
			Until:  time.Now().Add(time.Hour),
		})
		if err := m.Bind("x", tc.claim.ID, addr(tc.from), []Node{first, second, down}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}
