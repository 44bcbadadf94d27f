package recovery

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/replica"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

var (
	ip1 = netip.MustParseAddr("10.0.0.1")
	ip2 = netip.MustParseAddr("10.0.0.2")
	ip3 = netip.MustParseAddr("10.0.0.3")
)

// TestDecide refuses what is not broken, or what other managers can mend, and says what is lost by the rest.
func TestDecide(t *testing.T) {
	t.Parallel()
	manager := swarm.Info{State: swarm.StateActive, Manager: true, NodeID: "s1"}
	in := func(state string) swarm.Info { return swarm.Info{State: state} }
	moved := &doctor.Moved{From: ip1, First: true}
	alone := []fleet.Node{{ID: "s1", Role: fleet.RoleManager}}
	away, there := Manager{Name: "h2", Addr: ip2}, Manager{Name: "h3", Addr: ip3, Answers: true}
	later := Manager{Name: "h5", Addr: netip.MustParseAddr("10.0.0.10"), Answers: true}
	other := []Manager{away, {Name: "h4", Addr: ip3}}
	for name, tc := range map[string]struct {
		s       Situation
		inPlace bool
		says    []string // parts of the plan, or of the refusal
		refused bool
	}{
		"nothing": {
			Situation{Swarm: manager, Nodes: alone}, false,
			[]string{"nothing is to be recovered"}, true,
		},
		"locked":   {Situation{Swarm: in(swarm.StateLocked)}, false, []string{"docker swarm unlock"}, true},
		"a worker": {Situation{Swarm: in(swarm.StateActive)}, false, []string{"as a worker"}, true},
		"moved": {
			Situation{Swarm: manager, Nodes: alone, Moved: moved}, false,
			[]string{"10.0.0.9", "stay"}, false,
		},
		"moved, no number": {
			Situation{Swarm: manager, Nodes: alone, Moved: moved, AddrErr: errors.New("two")}, false,
			[]string{"two"}, true,
		},
		"moved of three": {
			Situation{Swarm: manager, Nodes: alone, Moved: moved, Others: other}, false,
			[]string{"node demote h1"}, true,
		},
		"one of two": {
			Situation{Swarm: manager, Others: other[:1]}, true,
			[]string{"h2 (10.0.0.2) does not answer", "cut off"}, false,
		},
		"one of three": {
			Situation{Swarm: manager, Others: other}, true,
			[]string{"of 3 managers", "do not answer"}, false,
		},
		"two of three": {
			Situation{Swarm: manager, Others: []Manager{away, there}}, false,
			[]string{"start Docker and crawlbox on h3 (10.0.0.3)", "as well as h2"}, true,
		},
		"two of five, the first": {
			Situation{Swarm: manager, Others: []Manager{away, later, {Addr: ip1}, {Addr: ip1}}}, true,
			[]string{"of 5 managers"}, false,
		},
		"two of five, the second": {
			Situation{Swarm: manager, Others: []Manager{away, later, there, {Addr: ip1}, {Addr: ip1}}}, false,
			[]string{"h3 (10.0.0.3) answers as well", "switch that machine off"}, true,
		},
		"without the queue's": {
			Situation{Swarm: manager, Others: other, Home: "h2", Queue: ip2}, true,
			[]string{"the queue, which h2 has, is lost"}, false,
		},
		"two of two": {Situation{Swarm: manager, Others: []Manager{there}}, false, []string{"start Docker"}, true},
		"moved and alone": {
			Situation{Swarm: manager, Moved: moved, Others: other}, false,
			[]string{"no longer has", "of 3"}, false,
		},
		"no swarm":     {Situation{Swarm: in(swarm.StateInactive)}, false, []string{"it is inactive"}, false},
		"a failed one": {Situation{Swarm: in(swarm.StateError)}, false, []string{"it is error"}, false},
	} {
		tc.s.Name, tc.s.Addr = "h1", netip.MustParseAddr("10.0.0.9")
		p, err := tc.s.Decide()
		said := p.Why + "; " + p.What
		if err != nil {
			said = err.Error()
		}
		if (err != nil) != tc.refused || p.InPlace != tc.inPlace {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		for _, part := range tc.says {
			if !strings.Contains(said, part) {
				t.Errorf("%s: %q is not in %q", name, part, said)
			}
		}
	}
}

// TestDecideQueue gives a manager an empty queue only where no other can come back with one.
func TestDecideQueue(t *testing.T) {
	t.Parallel()
	with := func(change func(*Situation)) Situation {
		s := Situation{Name: "h2", Queue: ip1, On: true, Swarm: swarm.Info{NodeID: "s2"},
			Nodes: []fleet.Node{{ID: "s2", Addr: "10.0.0.2"}, {ID: "s3", Display: "h3", Addr: "10.0.0.3"}}}
		change(&s)
		return s
	}
	for want, s := range map[string]Situation{
		"":                                      with(func(*Situation) {}),
		"manages no swarm":                      with(func(s *Situation) { s.Nodes = nil }),
		"h1 has the cluster's queue":            with(func(s *Situation) { s.Home = "h1" }),
		"this manager has the cluster's queue;": with(func(s *Situation) { s.Home = "h2" }),
		"which is off in the config file":       with(func(s *Situation) { s.Home, s.On = "h2", false }),
		"h3 had the cluster's queue":            with(func(s *Situation) { s.Queue = ip3 }),
		"write `queue: {}` into":                with(func(s *Situation) { s.On = false }),
		"two addresses":                         with(func(s *Situation) { s.AddrErr = errors.New("two addresses") }),
	} {
		plan, err := s.DecideQueue()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) ||
			err == nil && !strings.Contains(plan.What, "this manager (h2) has an empty one") {
			t.Errorf("%s: %+v, %v", want, plan, err)
		}
	}
}

// TestOthers counts each manager once, and this one never: by Swarm's list, or by the state and what Docker
// remembers.
func TestOthers(t *testing.T) {
	t.Parallel()
	list := []replica.Replica{{Node: "s1", Addr: ip1, Since: time.Now()}, {Node: "s2", Name: "h2", Addr: ip2}}
	info := swarm.Info{NodeID: "s1"}
	for _, a := range []netip.Addr{ip1, ip2, ip3} {
		info.Managers = append(info.Managers, netip.AddrPortFrom(a, swarm.Port))
	}
	got := others("s1", ip1, list, nil, info)
	if len(got) != 2 || got[0].ID != "s2" || got[1].Addr != ip3 {
		t.Errorf("without a leader: %+v", got)
	}
	nodes := []fleet.Node{
		{ID: "s1", Addr: "10.0.0.1", Role: fleet.RoleManager}, {ID: "s3", Addr: "10.0.0.3", Role: fleet.RoleManager},
		{ID: "s2", Addr: "10.0.0.2", Role: fleet.RoleWorker},
	}
	if got := others("s1", ip1, list, nodes, info); len(got) != 1 || got[0].ID != "s3" {
		t.Errorf("by Swarm's list: %+v", got)
	}
}
