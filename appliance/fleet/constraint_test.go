package fleet

import (
	"strings"
	"testing"
)

// TestCheckLabel wants the labels to be taken that a constraint can name, and no others.
func TestCheckLabel(t *testing.T) {
	t.Parallel()
	for label, good := range map[string]bool{
		"zone=eu": true, "a.b-c_d=x:1": true, "zone=": false, "=eu": false, "my zone=eu": false, "zone!=eu": false,
		"zone=e=u": false, "zone=\"eu\"": false,
	} {
		name, value, _ := strings.Cut(label, "=")
		if err := CheckLabel(name, value); (err == nil) != good {
			t.Errorf("%s: got %v", label, err)
		}
	}
}

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
		"node.labels.a==b":        false,
		"node.labels.a!=b":        true,
		"node.platform.os==linux": false,
		"node.ip==10.0.0.1":       false,
		"node.ip!=10.0.0.1":       true,
	} {
		if c, err := ParseConstraint(constraint); err != nil || c.Allows(Node{}) != want {
			t.Errorf("%s: want %v (%v)", constraint, want, err)
		}
	}
}

func TestParseConstraint_Wrong(t *testing.T) {
	t.Parallel()
	for constraint, want := range map[string]string{
		"":                     "KEY==VALUE",
		" ":                    "KEY==VALUE",
		"node.id":              "KEY==VALUE",
		"node.id=abc":          "KEY==VALUE",
		"node.id ~ a":          "KEY==VALUE",
		"node.id==":            "KEY==VALUE",
		"node.id== ":           "KEY==VALUE",
		"==a":                  "KEY==VALUE",
		"1node==a":             "KEY==VALUE",
		"no de.id==a":          "KEY==VALUE",
		"node.id==a==b":        "KEY==VALUE",
		"node.id!=a==b":        "KEY==VALUE",
		"node.id==a>b":         "KEY==VALUE",
		"node.name==a":         "none of node.id",
		"node.labels.==a":      "none of node.id",
		"zone==eu":             "none of node.id",
		"node.id==a\nb":        "it has a control character",
		"node.ip==h1":          "neither an address",
		"node.ip==10.0.0.0/33": "neither an address",
	} {
		_, err := ParseConstraint(constraint)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", constraint, err, want)
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
