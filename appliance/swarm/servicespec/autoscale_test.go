package servicespec_test

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/scalerule"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
	"github.com/crawlbox/crawlbox/configs/compose"
)

var rule = scalerule.Rule{Queue: "urls", PerReplica: 200, Max: 50}

func replicated(n uint64) *swarm.ServiceSpec {
	s := &swarm.ServiceSpec{Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}}}
	s.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Image: "i"}
	return s
}

func ruled(t *testing.T, n uint64) *swarm.ServiceSpec {
	t.Helper()
	s := replicated(n)
	if err := servicespec.SetAutoscale(s, &rule, false); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAutoscale: the rule, what it led to, that a person pauses it, and that it goes on.
func TestAutoscale(t *testing.T) {
	t.Parallel()
	s := ruled(t, 3)
	is := func(want *fleet.Autoscale, replicas uint64) {
		t.Helper()
		got := servicespec.Autoscale(*s)
		if (got == nil) != (want == nil) || got != nil && *got != *want || *s.Mode.Replicated.Replicas != replicas {
			t.Errorf("it is %+v with %d, want %+v with %d", got, *s.Mode.Replicated.Replicas, want, replicas)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	is(&fleet.Autoscale{Rule: rule, Set: -1}, 3)
	must(servicespec.Autoscaled{Replicas: 5, Why: "900 waiting: 5 wanted"}.Apply(s))
	is(&fleet.Autoscale{Rule: rule, Set: 5, Why: "900 waiting: 5 wanted"}, 5)
	if s.TaskTemplate.ForceUpdate > 0 {
		t.Error("the replicas are replaced")
	}
	must(servicespec.Autoscaled{Why: "nothing"}.Apply(s))
	must(servicespec.Autoscaled{Replicas: 1, Again: true, Why: "1 waiting"}.Apply(s))
	is(&fleet.Autoscale{Rule: rule, Set: 1, Why: "1 waiting"}, 1)
	if s.TaskTemplate.ForceUpdate == 0 {
		t.Error("what had ended is not started again")
	}
	must(servicespec.Scale(s, 7))
	is(&fleet.Autoscale{Rule: rule, Set: 1, Why: "1 waiting", Paused: "scaled to 7 by hand"}, 7)
	if err := (servicespec.Autoscaled{Replicas: 5}).Apply(s); err == nil {
		t.Error("it is scaled though a person has paused that")
	}
	servicespec.PauseAutoscale(s, "")
	is(&fleet.Autoscale{Rule: rule, Set: -1}, 7)
	must(servicespec.Start(s, 2))
	is(&fleet.Autoscale{Rule: rule, Set: -1, Paused: "scaled to 2 by hand"}, 2)
	must(servicespec.SetAutoscale(s, nil, false))
	is(nil, 2)
	if len(s.Labels) > 0 {
		t.Errorf("labels stay: %v", s.Labels)
	}
	must(servicespec.Scale(s, 4)) // which pauses nothing
	is(nil, 4)
}

func TestAutoscale_NoRule(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "x", "{}", `{"queue":"k"}`, `{"queue":"k","per_replica":1,"min":3,"max":2}`} {
		s := replicated(1)
		s.Labels = map[string]string{fleet.LabelAutoscale: text}
		if is := servicespec.Autoscale(*s); is != nil {
			t.Errorf("%q: %+v", text, is)
		}
	}
	global := &swarm.ServiceSpec{Mode: swarm.ServiceMode{Global: &swarm.GlobalService{}}}
	if err := servicespec.SetAutoscale(global, &rule, false); err == nil {
		t.Error("a global service has a rule")
	}
}

// TestAutoscale_Deployed: what becomes of a rule when its service becomes another version, or another definition.
func TestAutoscale_Deployed(t *testing.T) {
	t.Parallel()
	other := scalerule.Rule{Queue: "others", EmptyIn: time.Hour, Max: 3}
	service := func(r *scalerule.Rule) *compose.Service { return &compose.Service{Name: "spider", Autoscale: r} }
	for name, c := range map[string]struct {
		defined bool // the rule that there is
		deploy  servicespec.Deployment
		want    *scalerule.Rule
	}{
		"another image":        {deploy: servicespec.Deployment{}, want: &rule},
		"a version of before":  {deploy: servicespec.Deployment{Spec: []byte(`{}`)}, want: &rule},
		"a definition without": {deploy: servicespec.Deployment{Definition: service(nil)}, want: &rule},
		"a definition with another": {
			deploy: servicespec.Deployment{Definition: service(&other)}, want: &other,
		},
		"a definition without it any longer": {deploy: servicespec.Deployment{Definition: service(nil)}, defined: true},
	} {
		s := replicated(4)
		if err := servicespec.SetAutoscale(s, &rule, c.defined); err != nil {
			t.Fatal(err)
		}
		if err := (servicespec.Autoscaled{Replicas: 4, Why: "why"}).Apply(s); err != nil {
			t.Fatal(err)
		}
		c.deploy.Image, c.deploy.KeepReplicas = "j", true
		if c.deploy.Spec != nil {
			c.deploy.Spec = []byte(`{"Labels":{"crawlbox.autoscale":"{}"},"TaskTemplate":{"ContainerSpec":{}}}`)
		}
		if err := c.deploy.Apply(s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := servicespec.Autoscale(*s)
		switch {
		case c.want == nil:
			if got != nil || s.Labels[fleet.LabelAutoscaled] != "" {
				t.Errorf("%s: %+v", name, got)
			}
		case got == nil || got.Rule != *c.want || got.Set != 4 || got.Why != "why":
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		// Other replicas than the rule led to come of the deploy, and not of a person who pauses it.
		if err := (servicespec.Deployment{Image: "k", Replicas: new(9)}).Apply(s); err != nil {
			t.Fatal(err)
		}
		if got := servicespec.Autoscale(*s); c.want != nil && (got == nil || got.Set != -1 || got.Paused != "") {
			t.Errorf("%s, with other replicas: %+v", name, got)
		}
	}
}
