package fleet

import (
	"reflect"
	"strings"
	"testing"
)

func TestConstraint_Allows(t *testing.T) {
	t.Parallel()
	n := Node{
		ID: "abc", Name: "h1", Role: RoleWorker, Addr: "10.0.0.7", OS: "linux", Arch: "x86_64",
		Labels: map[string]string{"zone": "eu", "Disk": "fast ssd"}, EngineLabels: map[string]string{"os": "debian"},
	}
	for constraint, want := range map[string]bool{
		"node.id==abc":                 true,
		"node.id==ABC":                 true,
		"node.id!=abc":                 false,
		"NODE.HostName == H1":          true,
		"node.hostname==h":             false,
		"node.hostname==h*":            false, // no patterns
		"node.role!=manager":           true,
		"node.platform.os==linux":      true,
		"node.platform.arch==x86_64":   true,
		"node.platform.arch==amd64":    false, // as Swarm has it
		"node.ip==10.0.0.7":            true,
		"node.ip!=10.0.0.7":            false,
		"node.ip==10.0.0.9/24":         true,
		"node.ip==10.0.1.0/24":         false,
		"node.ip!=2001:db8::/32":       true,
		"node.ip==::ffff:10.0.0.7":     true,
		"node.labels.zone==EU":         true,
		" Node.Labels.zone != eu ":     false,
		"node.labels.Zone==eu":         false, // a label's name has a case
		"node.labels.none==eu":         false,
		"node.labels.none!=eu":         true,
		"node.labels.Disk == fast ssd": true,
		"engine.labels.os==debian":     true,
		"engine.labels.os!=debian":     false,
	} {
		c, err := ParseConstraint(constraint)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := c.Allows(n); got != want {
			t.Errorf("%s: got %v", constraint, got)
		}
	}
}

func TestConstraint_NodeOfWhichNothingIsKnown(t *testing.T) {
	t.Parallel()
	for constraint, want := range map[string]bool{
		"node.labels.a==b": false, "node.labels.a!=b": true, "node.platform.os==linux": false, "node.ip==10.0.0.1": false, "node.ip!=10.0.0.1": true,
	} {
		if c, err := ParseConstraint(constraint); err != nil || c.Allows(Node{}) != want {
			t.Errorf("%s: want %v (%v)", constraint, want, err)
		}
	}
}

func TestParseConstraint_Wrong(t *testing.T) {
	t.Parallel()
	for constraint, want := range map[string]string{
		"": "KEY==VALUE", " ": "KEY==VALUE", "node.id": "KEY==VALUE", "node.id=abc": "KEY==VALUE", "node.id ~ a": "KEY==VALUE",
		"node.id==": "KEY==VALUE", "node.id== ": "KEY==VALUE", "==a": "KEY==VALUE", "1node==a": "KEY==VALUE", "no de.id==a": "KEY==VALUE",
		"node.id==a==b": "KEY==VALUE", "node.id!=a==b": "KEY==VALUE", "node.id==a>b": "KEY==VALUE",
		"node.name==a": "none of node.id", "node.labels.==a": "none of node.id", "zone==eu": "none of node.id",
		"node.ip==h1": "neither an address", "node.ip==10.0.0.0/33": "neither an address",
	} {
		_, err := ParseConstraint(constraint)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", constraint, err, want)
		}
	}
}

func TestEligible(t *testing.T) {
	t.Parallel()
	node := func(id, availability, state, arch, zone string) Node {
		return Node{ID: id, Availability: availability, State: state, OS: "linux", Arch: arch, Labels: map[string]string{"zone": zone}}
	}
	nodes := []Node{
		node("a", AvailabilityActive, StateReady, "x86_64", "eu"),
		node("b", AvailabilityActive, StateReady, "aarch64", "us"),
		node("c", AvailabilityDrain, StateReady, "x86_64", "eu"),
		node("d", AvailabilityPause, "down", "armv7l", "us"),
	}
	states := []Exclusion{{"drained", 1}, {"paused", 1}, {"down", 1}}
	with := func(x ...Exclusion) []Exclusion { return append(x, states...) }
	for name, tc := range map[string]struct {
		constraints []string
		platforms   []Platform
		may         string
		why         []Exclusion
	}{
		"any":               {nil, nil, "ab", states},
		"constraint":        {[]string{"node.labels.zone == eu"}, nil, "a", with(Exclusion{"constraint node.labels.zone==eu", 2})},
		"two constraints":   {[]string{"node.labels.zone==eu", "node.id!=a"}, nil, "", with(Exclusion{"constraint node.labels.zone==eu", 2}, Exclusion{"constraint node.id!=a", 1})},
		"fulfilled":         {[]string{"node.platform.os==linux"}, nil, "ab", states},
		"unreadable":        {[]string{"zone"}, nil, "", with(Exclusion{"constraint zone (it is not of the form KEY==VALUE or KEY!=VALUE)", 4})},
		"one platform":      {nil, []Platform{{"linux", "arm64"}}, "b", with(Exclusion{"platform arm64", 3})},
		"several platforms": {nil, []Platform{{"linux", "amd64"}, {"linux", "arm64"}, {"unknown", "unknown"}}, "ab", with(Exclusion{"platform amd64, arm64", 1})},
		"32 bit":            {nil, []Platform{{"linux", "arm"}}, "", with(Exclusion{"platform arm", 3})},
		"any architecture":  {nil, []Platform{{"linux", ""}}, "ab", states},
		"other system":      {nil, []Platform{{"windows", "amd64"}}, "", with(Exclusion{"platform windows/amd64", 4})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Eligible(nodes, tc.constraints, tc.platforms)
			may := ""
			for _, n := range got.May {
				may += n.ID
			}
			if may != tc.may || !reflect.DeepEqual(got.Why, tc.why) || got.Of != 4 {
				t.Errorf("got %s of %d: %v", may, got.Of, got.Why)
			}
		})
	}
}

func TestEligibility_Explain(t *testing.T) {
	t.Parallel()
	zone := Exclusion{"constraint node.labels.zone==eu", 3}
	for want, e := range map[string]Eligibility{
		"no node can run it: there is none":                                                            {},
		"no node can run it: constraint node.labels.zone==eu excludes 3 of 3 nodes":                    {Of: 3, Why: []Exclusion{zone}},
		"no node can run it: constraint node.labels.zone==eu excludes 3 of 4 nodes; 1 of 4 nodes down": {Of: 4, Why: []Exclusion{zone, {"down", 1}}},
		"no node can run it: 1 of 1 node drained":                                                      {Of: 1, Why: []Exclusion{{"drained", 1}}},
		"1 of 2 nodes can run it: 1 of 2 nodes paused":                                                 {Of: 2, May: make([]Node, 1), Why: []Exclusion{{"paused", 1}}},
		"2 of 2 nodes can run it":                                                                      {Of: 2, May: make([]Node, 2)},
	} {
		if got := e.Explain(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzParseConstraint(f *testing.F) {
	f.Add("node.labels.zone==eu")
	f.Add("node.ip != 10.0.0.0/8")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseConstraint(s)
		if err != nil {
			return
		}
		c.Allows(Node{Addr: "10.0.0.1"})
		again, err := ParseConstraint(c.String())
		if err != nil || again.String() != c.String() {
			t.Errorf("%q reads %q and then %q (%v)", s, c, again, err)
		}
	})
}
