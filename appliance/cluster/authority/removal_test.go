package authority

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/cluster/addressbook"
	"github.com/crawlbox/crawlbox/appliance/cluster/member"
	"github.com/crawlbox/crawlbox/appliance/cluster/pki"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// swarmOf is a Swarm that is nothing but its list of nodes.
type swarmOf struct{ nodes []member.Node }

func (s *swarmOf) SwarmJoinToken(context.Context, string) (string, []string, error) {
	return "", nil, nil
}
func (s *swarmOf) SwarmNodes(context.Context) ([]member.Node, error) { return s.nodes, nil }
func (s *swarmOf) RotateJoinTokens(context.Context) error            { return nil }
func (s *swarmOf) RemoveNode(_ context.Context, id string) error {
	s.nodes = slices.DeleteFunc(s.nodes, func(n member.Node) bool { return n.ID == id })
	return nil
}

// TestNoCertificate wants the refusal to remove a node to name what can be done.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	self := pki.Self{Name: "h1", Addr: netip.MustParseAddr("10.0.0.1")}
	a, err := Open(t.Context(), Options{DataDir: dir, NodeDir: filepath.Join(dir, "node"), Self: self, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	from := netip.MustParseAddr("10.0.0.7")
	swarm := &swarmOf{nodes: []member.Node{{ID: "s1", Addr: from, Role: fleet.RoleWorker, Ready: true}}}
	a.Book = addressbook.New(nil, a.remotes, netip.Addr{}, log)
	if err := a.Serve(swarm, func(pki.Membership) {}, func(string, ...slog.Attr) {}); err != nil {
		t.Fatal(err)
	}
	put := func(id string) {
		m := member.Member{ID: id, Name: "says", Remote: from, Until: a.Identity.Certificate().Leaf.NotAfter}
		if err := a.Members.Put(m); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxOthers + 5 {
		put(fmt.Sprintf("id%02d", i))
	}
	err = a.noCertificate(fleet.Node{ID: "s9", Display: "h9", Addr: "10.0.0.9"})
	for _, part := range []string{
		"h9 (10.0.0.9)", "nothing was changed", "docker node rm s9", "crawlbox node rm ID",
		"id00 (calls itself says, asks from 10.0.0.7)", "id09", "…",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
	if strings.Contains(err.Error(), "id10") {
		t.Errorf("it names too many: %q", err)
	}
	if ok, err := a.RemoveMember(t.Context(), "id03"); !ok || err != nil || !a.Members.WasRemoved("id03") {
		t.Errorf("removed by its ID: %v, %v", ok, err)
	}
	put("bound")
	if err := a.Members.Bind("bound", "s1", from, swarm.nodes); err != nil {
		t.Fatal(err)
	}
	ok, err := a.RemoveMember(t.Context(), "bound")
	if !ok || err == nil || !strings.Contains(err.Error(), "s1") || a.Members.WasRemoved("bound") {
		t.Errorf("removed by the ID of a certificate that Swarm has a node of: %v, %v", ok, err)
	}
	if ok, err := a.RemoveMember(t.Context(), "id99"); ok || err != nil {
		t.Errorf("removed by an ID that there is not: %v, %v", ok, err)
	}
}
