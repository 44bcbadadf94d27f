package starter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crawlbox/crawlbox/appliance/cluster/state"
	"github.com/crawlbox/crawlbox/appliance/cluster/state/statetest"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/servicespec"
)

const digest = "sha256:0a"

// cluster has one node, a service, and sources of images; fails is what a method of that name fails with.
type cluster struct {
	fails  map[string]error
	copied bool

	of    string // what was made
	d     servicespec.Deployment
	run   servicespec.Run
	asked []string // programs
}

func (c *cluster) Service(_ context.Context, idOrName string) (fleet.Service, error) {
	if err := c.fails["Service"]; err != nil {
		return fleet.Service{}, err
	}
	if idOrName != "spider" && idOrName != "s1" {
		return fleet.Service{}, fmt.Errorf("service %s %w", idOrName, swarm.ErrNotFound)
	}
	return fleet.Service{ID: "s1", Name: "spider", Image: "localhost:8003/spider:2", Digest: digest}, nil
}

func (c *cluster) Nodes(context.Context) ([]fleet.Node, error) {
	return []fleet.Node{{ID: "n1", State: "ready", Availability: "active"}}, c.fails["Nodes"]
}

func (c *cluster) Platforms(_ context.Context, image string) []fleet.Platform {
	return []fleet.Platform{{OS: "linux", Arch: image}}
}

func (c *cluster) CreateRun(_ context.Context, of string, d servicespec.Deployment, r servicespec.Run) error {
	c.of, c.d, c.run = of, d, r
	return c.fails["CreateRun"]
}

func (c *cluster) Resolve(_ context.Context, named string) (string, *deploy.Source, error) {
	if err := c.fails["Resolve"]; err != nil {
		return "", nil, err
	}
	name, _, _ := strings.Cut(named, "@")
	return name + "@" + digest, &deploy.Source{Copy: func(context.Context, func(bytes, total int64)) error {
		c.copied = true
		return c.fails["Copy"]
	}}, nil
}

func (c *cluster) starter(t *testing.T) *starter.Starter {
	return &starter.Starter{
		Engine: c, Sources: c, Store: runs.NewStore(state.NewGroup(statetest.Open(t, t.TempDir()), state.Runs)),
		Queue: func(context.Context, string) *servicespec.Queue { return &servicespec.Queue{} },
		Program: func(_ context.Context, pinned string) (entrypoint, command []string) {
			c.asked = append(c.asked, pinned)
			return []string{"python3"}, []string{"spider.py"}
		},
	}
}

func spec(change func(*runs.Spec)) runs.Spec {
	s := runs.Spec{ID: "r1", Service: "spider", By: "ann", At: time.Unix(1e9, 0).UTC(), Replicas: 1, Retries: 2}
	change(&s)
	return s
}

func TestStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		spec   runs.Spec
		want   string // of, image, digest
		copied bool
		asked  int
	}{
		{"of a service", spec(func(*runs.Spec) {}), "s1 localhost:8003/spider:2 " + digest, false, 0},
		{
			"of a service, with arguments", spec(func(s *runs.Spec) { s.Args = map[string]string{"a": "b"} }),
			"s1 localhost:8003/spider:2 " + digest, false, 1,
		},
		{
			"as another was", spec(func(s *runs.Spec) { s.Image, s.Digest = "localhost:8003/spider:1", "sha256:01" }),
			"s1 localhost:8003/spider:1 sha256:01", false, 0,
		},
		{
			"of an image", spec(func(s *runs.Spec) { s.Service, s.Image = "", "python:3" }),
			" python:3 " + digest, true, 0,
		},
		{
			"of a service whose name is the ID of another",
			spec(func(s *runs.Spec) { s.Service, s.Image, s.Digest = "s1", "localhost:8003/s1:1", digest }),
			" localhost:8003/s1:1 " + digest, true, 0,
		},
		{
			"as another was, of a service that is gone",
			spec(func(s *runs.Spec) { s.Service, s.Image, s.Digest = "gone", "localhost:8003/gone:1", digest }),
			" localhost:8003/gone:1 " + digest, true, 0,
		},
	} {
		is := &cluster{}
		got, err := is.starter(t).Start(t.Context(), c.spec, map[string]string{"B": "2", "A": "1"})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if made := fmt.Sprint(is.of, " ", is.run.Image, " ", is.run.Digest); made != c.want || is.copied != c.copied ||
			len(is.asked) != c.asked {
			t.Errorf("%s: got %s, copied %v, asked %v; want %s", c.name, made, is.copied, is.asked, c.want)
		}
		same := fmt.Sprint(got) == fmt.Sprint(is.run.Spec)
		if !same || fmt.Sprint(got.Env) != "[A B]" || is.run.Variables["B"] != "2" {
			t.Errorf("%s: %+v was begun, %+v made", c.name, got, is.run)
		}
		if alone := is.of == ""; alone != (is.d.Image == got.Pinned()) || alone != (is.d.Queue != nil) {
			t.Errorf("%s: it is deployed as %+v", c.name, is.d)
		}
	}
}

// TestStart_Refused: what can't be begun is no service, and says why.
func TestStart_Refused(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	image := spec(func(s *runs.Spec) { s.Service, s.Image = "", "python:3" })
	many := spec(func(s *runs.Spec) { s.Replicas = 5000 })
	conflict := deploy.Conflict("5000 replicas are more than 1 node bears; give 500 at most")
	for _, c := range []struct {
		name  string
		spec  runs.Spec
		fails string
		with  error
		want  error
		made  bool
	}{
		{"no service", spec(func(*runs.Spec) {}), "Service", broken, broken, false},
		{"no nodes", spec(func(*runs.Spec) {}), "Nodes", broken, broken, false},
		{"no such image", image, "Resolve", broken, broken, false},
		{"not to be copied", image, "Copy", broken, broken, false},
		{"more than the node bears", many, "", nil, conflict, false},
		{"no such run", spec(func(s *runs.Spec) { s.Retries = 9 }), "", nil, nil, false},
		{"begun before", spec(func(*runs.Spec) {}), "CreateRun", swarm.ErrExists, starter.ErrExists, true},
		{"no place for arguments", image, "CreateRun", servicespec.ErrNoProgram, servicespec.ErrNoProgram, true},
	} {
		is := &cluster{fails: map[string]error{c.fails: c.with}}
		_, err := is.starter(t).Start(t.Context(), c.spec, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || (is.run.ID != "") != c.made {
			t.Errorf("%s: got %v, want %v; made %q", c.name, err, c.want, is.run.ID)
		}
	}
}

// TestStart_Kept: the name of a run that has a record is taken.
func TestStart_Kept(t *testing.T) {
	t.Parallel()
	is := &cluster{}
	s := is.starter(t)
	if err := s.Store.Add(runs.Record{Spec: spec(func(*runs.Spec) {}), State: runs.Done}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Start(t.Context(), spec(func(*runs.Spec) {}), nil)
	if !errors.Is(err, starter.ErrExists) || is.of != "" {
		t.Errorf("got %v", err)
	}
	if _, err := s.Start(t.Context(), spec(func(s *runs.Spec) { s.ID = "r2" }), nil); err != nil {
		t.Error(err)
	}
}
