package services

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/appliance/valkey"
)

// swarm is one in memory.
type swarm struct {
	nodes  []fleet.Node
	kept   []servicespec.Valkey
	secret string
}

func (s *swarm) Nodes(context.Context) ([]fleet.Node, error) { return s.nodes, nil }

func (s *swarm) KeepOwn(_ context.Context, list []servicespec.Valkey, secret []byte) error {
	s.kept, s.secret = list, string(secret)
	return nil
}

type source struct{ err error }

func (s source) Resolve(_ context.Context, named string) (string, *deploy.Source, error) {
	fetch := func(context.Context, func(int64, int64)) error { return s.err }
	return named + "@sha256:1", &deploy.Source{Copy: fetch}, nil
}

func TestManagers(t *testing.T) {
	t.Parallel()
	node := func(id, role, availability, state string) fleet.Node {
		return fleet.Node{ID: id, Role: role, Availability: availability, State: state, Addr: "10.0.0.1"}
	}
	s := &swarm{nodes: []fleet.Node{
		node("m", fleet.RoleManager, fleet.AvailabilityActive, fleet.StateReady),
		node("down", fleet.RoleManager, fleet.AvailabilityActive, fleet.StateDown),
		node("drained", fleet.RoleManager, fleet.AvailabilityDrain, fleet.StateReady),
		node("w", fleet.RoleWorker, fleet.AvailabilityActive, fleet.StateReady),
	}}
	c := New(s, source{})
	list, err := c.Managers(t.Context())
	if err != nil || len(list) != 3 || !list[0].Usable || !list[1].Usable || list[2].Usable {
		t.Fatalf("%+v, %v", list, err)
	}
	c.down["down"] = c.down["down"].Add(-downFor)
	if list, err = c.Managers(t.Context()); err != nil || list[1].Usable {
		t.Errorf("down for long: %+v, %v", list, err)
	}
	s.nodes[1].State = fleet.StateReady
	if list, err = c.Managers(t.Context()); err != nil || !list[1].Usable {
		t.Errorf("back: %+v, %v", list, err)
	}
}

func TestImage(t *testing.T) {
	t.Parallel()
	if pinned, err := New(nil, source{}).Image(t.Context(), "valkey:8"); pinned != "valkey:8@sha256:1" || err != nil {
		t.Errorf("%s, %v", pinned, err)
	}
	_, err := New(nil, source{errors.New("no such host")}).Image(t.Context(), "valkey:8")
	if err == nil || !strings.Contains(err.Error(), "no such host") || !strings.Contains(err.Error(), "queue.image") {
		t.Errorf("%v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := &swarm{}
	at := netip.MustParseAddrPort("[fd00::1]:7892")
	d := valkey.Document{
		Wanted:   valkey.Wanted{Memory: 1 << 30},
		Password: "a-password-that-nobody-sees",
		Engines:  []valkey.Engine{{Slot: 2, Node: "n", Addr: at, Image: "i@sha256:1"}},
	}
	if err := New(s, nil).Run(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if len(s.kept) != 1 {
		t.Fatalf("%+v", s.kept)
	}
	v := s.kept[0]
	if v.Name != "crawlbox-queue-2" || v.Node != "n" || v.Image != "i@sha256:1" || v.Memory <= 2<<30 {
		t.Errorf("%+v", v)
	}
	if want := []string{"--bind", "fd00::1", "--port", "7892", "--dir", "/data"}; !slices.Equal(v.Args, want) {
		t.Errorf("%q, want %q", v.Args, want)
	}
	spec, err := v.Spec("secret-id")
	if err != nil {
		t.Fatal(err)
	}
	if text := spec.TaskTemplate.ContainerSpec; !text.ReadOnly || text.User == "" || len(text.CapabilityDrop) != 1 ||
		text.Secrets[0].SecretID != "secret-id" {
		t.Errorf("%+v", text)
	}
	if strings.Contains(s.secret, d.Password) || !strings.Contains(s.secret, "min-replicas-to-write 1\n") {
		t.Errorf("it starts with %s", s.secret)
	}
}
