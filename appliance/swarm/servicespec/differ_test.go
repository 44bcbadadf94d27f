package servicespec

import (
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

func changesOf(t *testing.T, from, to swarm.ServiceSpec) string {
	t.Helper()
	before, err := PlainOf(from)
	if err != nil {
		t.Fatal(err)
	}
	after, err := PlainOf(to)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(differences(before, after), " ")
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	three, grace := uint64(3), time.Second
	for want, change := range map[string]func(s *swarm.ServiceSpec){
		"":      func(*swarm.ServiceSpec) {},
		"image": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "new" },
		"environment.A environment.C": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Env = []string{"A=2", "B=2", "C=3"}
		},
		"environment.B": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"A=1"} },
		"deploy.replicas": func(s *swarm.ServiceSpec) {
			s.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &three}}
		},
		"command entrypoint": func(s *swarm.ServiceSpec) {
			c := s.TaskTemplate.ContainerSpec
			c.Command, c.Args = []string{"a"}, []string{"b"}
		},
		"deploy.labels labels": func(s *swarm.ServiceSpec) {
			s.Labels = nil
			s.TaskTemplate.ContainerSpec.Labels = map[string]string{"x": "y"}
		},
		"networks": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "n"}}
		},
		"deploy.resources": func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{Pids: 1}}
		},
		"stop_grace_period": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.StopGracePeriod = &grace },
		"the restart":       func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ },
		"deploy.update_config privileges": func(s *swarm.ServiceSpec) {
			s.UpdateConfig = &swarm.UpdateConfig{Delay: 1}
			s.TaskTemplate.ContainerSpec.Privileges = &swarm.Privileges{NoNewPrivileges: true}
		},
	} {
		to := serviceOfTwo()
		change(&to)
		if got := changesOf(t, serviceOfTwo(), to); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What Swarm and crawlbox fill in is no change.
func TestDifferences_FilledIn(t *testing.T) {
	t.Parallel()
	filled := serviceOfTwo()
	filled.Labels["crawlbox.service.hash"] = "abc"
	filled.EndpointSpec = &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP}
	filled.TaskTemplate.Runtime = swarm.RuntimeContainer
	filled.TaskTemplate.Resources = &swarm.ResourceRequirements{
		Limits:       &swarm.Limit{},
		Reservations: &swarm.Resources{},
	}
	filled.TaskTemplate.Placement = &swarm.Placement{Platforms: []swarm.Platform{{OS: "linux"}}}
	filled.TaskTemplate.ContainerSpec.Isolation = "default"
	filled.TaskTemplate.ContainerSpec.DNSConfig = &swarm.DNSConfig{}
	if got := changesOf(t, filled, serviceOfTwo()); got != "" {
		t.Errorf("got %s", got)
	}
}

// A definition takes the place of all that there was, but keeps a number of
// replicas that a person chose.
func TestDeployment_Definition(t *testing.T) {
	t.Parallel()
	definition := composeServices(t,
		"services:\n  spider: {image: i, environment: {A: '9'}, deploy: {replicas: 5}}\n")[0]
	s := serviceOfTwo()
	d := Deployment{
		Image:        "i@sha256:1",
		Definition:   &definition,
		Update:       UpdatePolicy{Parallelism: 7},
		Watched:      true,
		KeepReplicas: true,
	}
	if err := d.Apply(&s); err != nil {
		t.Fatal(err)
	}
	c := s.TaskTemplate.ContainerSpec
	if c.Image != "i@sha256:1" || strings.Join(c.Env, " ") != "A=9" || *s.Mode.Replicated.Replicas != 2 ||
		s.TaskTemplate.ForceUpdate != 3 || s.Labels["a"] != "" {
		t.Errorf("the service is %+v with %+v", s, c)
	}
	if s.UpdateConfig.Parallelism != 7 || s.RollbackConfig.Parallelism != 7 ||
		s.UpdateConfig.FailureAction != "continue" {
		t.Errorf("it is updated by %+v and goes back by %+v", s.UpdateConfig, s.RollbackConfig)
	}
	d.KeepReplicas = false
	if err := d.Apply(&s); err != nil || *s.Mode.Replicated.Replicas != 5 {
		t.Errorf("it has %d replicas, %v", *s.Mode.Replicated.Replicas, err)
	}
}
