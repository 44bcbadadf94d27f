package servicespec

import (
	"slices"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// A service is kept off nodes in place of those before, and what its author chose stays.
func TestAvoid(t *testing.T) {
	t.Parallel()
	author := []string{"node.labels.zone==eu", "node.id!=own"}
	s := swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{
		ContainerSpec: &swarm.ContainerSpec{Image: "x:1"},
		Placement:     &swarm.Placement{Constraints: slices.Clone(author), MaxReplicas: 3},
	}}
	for _, nodes := range [][]string{{"a", "b"}, {"b", "own"}, nil, {"c"}} {
		before, err := PlainOf(s)
		if err != nil {
			t.Fatal(err)
		}
		Avoid(&s, nodes)
		want := slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == "own" })
		if got := Avoided(s); !slices.Equal(got, want) {
			t.Errorf("it is kept off %v, want %v", got, want)
		}
		if got := Constraints(s); !slices.Equal(got, author) {
			t.Errorf("kept off %v, its author wants %v", nodes, got)
		}
		all := slices.Clone(author)
		for _, n := range want {
			all = append(all, "node.id!="+n)
		}
		if p := s.TaskTemplate.Placement; !slices.Equal(p.Constraints, all) || p.MaxReplicas != 3 {
			t.Errorf("kept off %v, it is placed by %+v", nodes, p)
		}
		after, err := PlainOf(s)
		if err != nil {
			t.Fatal(err)
		}
		if keys := (Deployment{}).Changes(before, after); len(keys) > 0 {
			t.Errorf("that counts as a change of %v", keys)
		}
	}
	plain := swarm.ServiceSpec{}
	if Avoid(&plain, nil); plain.TaskTemplate.Placement != nil || len(plain.Labels) > 0 {
		t.Errorf("a service without constraints becomes %+v", plain)
	}
}

// Each deploy decides anew what to keep off, whatever way it makes the service another.
func TestDeployment_Avoids(t *testing.T) {
	t.Parallel()
	s, err := New("spider")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []Deployment{
		{Image: "x:1", Avoid: []string{"a"}},
		{Image: "x:2", Avoid: []string{"b"}, Constraints: []string{"node.role==worker"}},
		{Image: "x:3"},
	} {
		if err := d.Apply(&s); err != nil {
			t.Fatal(err)
		}
		if got := Avoided(s); !slices.Equal(got, d.Avoid) {
			t.Errorf("%s is kept off %v, want %v", d.Image, got, d.Avoid)
		}
	}
	if got := s.TaskTemplate.Placement.Constraints; !slices.Equal(got, []string{"node.role==worker"}) {
		t.Errorf("at the end it is placed by %v", got)
	}
	if _, left := s.Labels[fleet.LabelAvoids]; left {
		t.Error("the label stays")
	}
}
