package servicespec

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// A deploy that can't bring its image to a node, since no crawlbox runs there, keeps its tasks
// off that node until one does: Docker would find no image there, and Swarm take that for a bad
// version. It is a constraint for each node, and a label that tells them from those of the
// author. Swarm leaves tasks alone whose nodes fulfil the constraints before and after.

// notOn returns the constraint that keeps tasks off a node, by ID.
func notOn(node string) string { return "node.id!=" + node }

// Avoided returns the nodes, by ID, that the tasks of a service are kept off.
func Avoided(s swarm.ServiceSpec) []string {
	return strings.FieldsFunc(s.Labels[fleet.LabelAvoids], func(r rune) bool { return r == ',' })
}

// Constraints returns those that the author of a service chose.
func Constraints(s swarm.ServiceSpec) (list []string) {
	if s.TaskTemplate.Placement == nil {
		return nil
	}
	avoided := Avoided(s)
	return slices.DeleteFunc(slices.Clone(s.TaskTemplate.Placement.Constraints), func(c string) bool {
		return slices.ContainsFunc(avoided, func(node string) bool { return c == notOn(node) })
	})
}

// Avoid keeps the tasks of a service off nodes, by ID, in place of those that they were kept off
// before.
func Avoid(s *swarm.ServiceSpec, nodes []string) {
	constraints := Constraints(*s)
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(node string) bool {
		return slices.Contains(constraints, notOn(node)) // the author says so already
	})
	delete(s.Labels, fleet.LabelAvoids)
	if len(nodes) > 0 {
		setLabel(s, fleet.LabelAvoids, strings.Join(nodes, ","))
	}
	for _, node := range nodes {
		constraints = append(constraints, notOn(node))
	}
	p := swarm.Placement{}
	if s.TaskTemplate.Placement != nil {
		p = *s.TaskTemplate.Placement
	} else if len(constraints) == 0 {
		return
	}
	p.Constraints = constraints
	s.TaskTemplate.Placement = &p
}
