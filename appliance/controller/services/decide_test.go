package services

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	ours := func(hash string, replicas int) fleet.Service {
		return fleet.Service{ID: "id", Name: "spider", Managed: true, Hash: hash, Replicas: replicas}
	}
	replicas := 3
	spider := compose.Service{Name: "spider", Hash: "h1", Compose: types.ServiceConfig{Scale: &replicas}}
	robot := compose.Service{Name: "robot", Hash: "h1"}
	removed := map[string]removal{"robot": {Hash: "h1"}}
	byHand := fleet.Service{ID: "id", Name: "spider", Deploy: "then"}
	for name, tc := range map[string]struct {
		there []fleet.Service
		defs  []compose.Service
		prune bool
		want  []step // of which why, now and the definition are not compared
	}{
		"new": {nil, []compose.Service{spider}, false, []step{
			{action: create, service: "spider"},
		}},
		"unchanged": {
			[]fleet.Service{ours("h1", 3)},
			[]compose.Service{spider},
			false,
			[]step{{action: keep, service: "spider"}},
		},
		"changed, replicas as before": {
			[]fleet.Service{ours("h0", 3)},
			[]compose.Service{spider},
			false,
			[]step{{action: replace, service: "spider", keepReplicas: true}},
		},
		"changed, other replicas": {
			[]fleet.Service{ours("h0", 5)},
			[]compose.Service{spider},
			false,
			[]step{{action: replace, service: "spider"}},
		},
		"changed during an update": {
			[]fleet.Service{{ID: "id", Name: "spider", Managed: true, Hash: "h0", Pending: "3 image"}},
			[]compose.Service{spider},
			false,
			[]step{{action: wait, service: "spider"}},
		},
		"left the file": {
			[]fleet.Service{ours("h1", 3)},
			nil,
			false,
			[]step{{action: report, service: "spider"}},
		},
		"left the file with prune": {
			[]fleet.Service{ours("h1", 3)},
			nil,
			true,
			[]step{{action: remove, service: "spider"}},
		},
		"made by hand and not defined": {[]fleet.Service{{ID: "id", Name: "spider"}}, nil, true, nil},
		"deployed by hand and defined": {
			[]fleet.Service{byHand},
			[]compose.Service{spider},
			false,
			[]step{{action: refuse, service: "spider"}},
		},
		"removed by hand": {
			nil,
			[]compose.Service{robot},
			false,
			[]step{{action: away, service: "robot"}},
		},
		"removed by hand, and brought back": {
			[]fleet.Service{{ID: "id", Name: "robot", Managed: true, Hash: "h1"}},
			[]compose.Service{robot},
			false,
			[]step{{action: keep, service: "robot"}},
		},
		"made by hand and defined": {
			[]fleet.Service{{ID: "id", Name: "spider"}},
			[]compose.Service{spider},
			false,
			[]step{{action: refuse, service: "spider"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := decide(seen{
				fleet.Snapshot{Services: tc.there},
				configs.Config{Services: tc.defs, Prune: tc.prune},
				removed,
			})
			if len(got) != len(tc.want) {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			for i, g := range got {
				want := tc.want[i]
				if g.action != want.action || g.service != want.service || g.keepReplicas != want.keepReplicas {
					t.Errorf("got %+v, want %+v", g, want)
				}
				if g.why == "" {
					t.Errorf("step %+v has no reason", g)
				}
				if exists := g.now != nil && g.now.ID == "id"; exists == (g.action == create || g.action == away) {
					t.Errorf("step %+v is of the service %+v", g, g.now)
				}
			}
		})
	}
}
