package deploy

import (
	"testing"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

func TestPlanScale(t *testing.T) {
	t.Parallel()
	for replicas, want := range map[int]string{
		3: "service s has 3 replicas already: nothing to do",
		0: "stop: service s, all 3 replicas",
		1: "scale: service s from 3 to 1 replica, stop 2",
		5: "scale: service s from 3 to 5 replicas, start 2",
	} {
		if got := PlanScale(fleet.Service{Name: "s", Desired: 3}, replicas); got != want {
			t.Errorf("%d: got %q", replicas, got)
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	ours := func(hash string, replicas int) fleet.Service {
		return fleet.Service{ID: "id", Name: "spider", Managed: true, Hash: hash, Replicas: replicas}
	}
	spider := Definition{Name: "spider", Hash: "h1", Replicas: 3}
	for name, tc := range map[string]struct {
		there []fleet.Service
		defs  []Definition
		prune bool
		want  []Step // Why is not compared
	}{
		"new":                         {nil, []Definition{spider}, false, []Step{{Action: Create, Service: "spider"}}},
		"unchanged":                   {[]fleet.Service{ours("h1", 3)}, []Definition{spider}, false, nil},
		"changed, replicas as before": {[]fleet.Service{ours("h0", 3)}, []Definition{spider}, false, []Step{{Action: Replace, Service: "spider", ID: "id", KeepReplicas: true}}},
		"changed, other replicas":     {[]fleet.Service{ours("h0", 5)}, []Definition{spider}, false, []Step{{Action: Replace, Service: "spider", ID: "id"}}},
		"changed during an update": {[]fleet.Service{{ID: "id", Name: "spider", Managed: true, Hash: "h0", Pending: "3 image"}}, []Definition{spider}, false,
			[]Step{{Action: Wait, Service: "spider", ID: "id"}}},
		"left the file":                {[]fleet.Service{ours("h1", 3)}, nil, false, []Step{{Action: Report, Service: "spider", ID: "id"}}},
		"left the file with prune":     {[]fleet.Service{ours("h1", 3)}, nil, true, []Step{{Action: Remove, Service: "spider", ID: "id"}}},
		"made by hand and not defined": {[]fleet.Service{{ID: "id", Name: "spider"}}, nil, true, nil},
		"made by hand and defined":     {[]fleet.Service{{ID: "id", Name: "spider"}}, []Definition{spider}, false, []Step{{Action: Refuse, Service: "spider", ID: "id"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Plan(fleet.Snapshot{Services: tc.there}, tc.defs, tc.prune)
			if len(got) != len(tc.want) {
				t.Fatalf("got %v, want %v", got, tc.want)
			}
			for i := range got {
				if got[i].Why == "" {
					t.Errorf("step %v has no reason", got[i])
				}
				got[i].Why = ""
				if got[i] != tc.want[i] {
					t.Errorf("got %+v, want %+v", got[i], tc.want[i])
				}
			}
		})
	}
}
