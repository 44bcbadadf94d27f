package join

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func aMember(id, addr string) Member {
	a := netip.MustParseAddr(addr)
	return Member{ID: id, Role: fleet.RoleWorker, Name: "host-" + id, Addr: a, Remote: a, Until: time.Now().Add(time.Hour).UTC()}
}

func membersOf(t *testing.T, dir string, list ...Member) *Members {
	t.Helper()
	m := openMembers(t, dir)
	for _, n := range list {
		if err := m.put(n); err != nil {
			t.Fatal(err)
		}
		if err := m.joinedSwarm(n.ID, n.Swarm); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func idsOf(list []Member) []string {
	ids := []string{}
	for _, n := range list {
		ids = append(ids, n.ID)
	}
	return ids
}

func TestMembers_RemovedStaysRemoved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := membersOf(t, dir, aMember("a", "10.0.0.1"), aMember("b", "10.0.0.2"))
	for range 2 {
		if err := errors.Join(m.remove("a"), m.remove("unheard-of")); err != nil {
			t.Fatal(err)
		}
	}
	wantMode(t, filepath.Join(dir, "members.json"), 0o600)
	again := openMembers(t, dir)
	if got := again.Removed(); !reflect.DeepEqual(got, []string{"a", "unheard-of"}) {
		t.Errorf("removed %v", got)
	}
	if got := idsOf(again.List()); !reflect.DeepEqual(got, []string{"b"}) {
		t.Errorf("left are %v", got)
	}
	if err := again.put(aMember("a", "10.0.0.1")); !errors.Is(err, ErrRemoved) {
		t.Errorf("a removed node gets another certificate: %v", err)
	}
	if got := again.At(netip.MustParseAddr("10.0.0.1")); len(got) != 0 {
		t.Errorf("at the address of a removed node is %v", got)
	}
}

func TestMembers_ForgetsWhoseCertificateEnded(t *testing.T) {
	t.Parallel()
	old, fresh := aMember("old", "10.0.0.1"), aMember("fresh", "10.0.0.2")
	old.Until = time.Now().Add(-2 * skewMargin)
	m := membersOf(t, t.TempDir(), old, fresh)
	if got := idsOf(m.List()); !reflect.DeepEqual(got, []string{"fresh"}) {
		t.Errorf("on the list are %v", got)
	}
}

func TestMembers_Find(t *testing.T) {
	t.Parallel()
	with := func(n Member, swarm string) Member { n.Swarm = swarm; return n }
	all := []SwarmNode{
		{ID: "s1", Addr: netip.MustParseAddr("10.0.0.1")},
		{ID: "s1-before", Addr: netip.MustParseAddr("10.0.0.1")},
		{ID: "s2", Addr: netip.MustParseAddr("10.0.0.2")},
		{ID: "s3", Addr: netip.MustParseAddr("10.0.0.3")},
		{ID: "s4", Addr: netip.MustParseAddr("10.0.0.4")},
	}
	m := membersOf(t, t.TempDir(),
		with(aMember("one", "10.0.0.1"), "s1"),
		aMember("two", "10.0.0.2"),                     // has not said its ID yet
		with(aMember("three", "10.0.0.3"), "nonsense"), // says one that nobody has
		with(aMember("four", "10.0.0.4"), "s1"),        // says one that is another's
	)
	for target, want := range map[string][]string{
		"s1":        {"four", "one"}, // who says to be it goes with it
		"s1-before": {},              // what a node was before it joined again
		"s2":        {"two"},
		"s3":        {"three"},
		"s4":        {"four"},
	} {
		for _, node := range all {
			if node.ID != target {
				continue
			}
			if got := idsOf(m.Find(node, all)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s is %v, want %v", target, got, want)
			}
		}
	}
}

func TestMembers_DamagedFileStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "members.json")
	if err := os.WriteFile(path, []byte("[{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenMembers(dir); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("opened: %v", err)
	}
}
