package control

import (
	"fmt"
	"strings"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// findNode finds the node a user means: by display name, ID or its beginning,
// address, or host name where only one node has it.
func findNode(nodes []fleet.Node, ref string) (fleet.Node, error) {
	var byName []fleet.Node
	var known []string
	for _, n := range nodes {
		if n.Display == ref || n.ID == ref || n.Addr == ref {
			return n, nil
		}
		if n.Name == ref || len(ref) >= 4 && strings.HasPrefix(n.ID, ref) {
			byName = append(byName, n)
		}
		known = append(known, n.Display)
	}
	switch len(byName) {
	case 0:
		return fleet.Node{}, unknown("node", ref, known, "`crawlbox nodes` lists them")
	case 1:
		return byName[0], nil
	}
	names := make([]string, len(byName))
	for i, n := range byName {
		names[i] = n.Display
	}
	return fleet.Node{}, api.Invalid("%d nodes are called %s; name one of %s", len(byName), ref,
		strings.Join(names, ", "))
}

func findService(services []fleet.Service, ref string) (fleet.Service, error) {
	var known []string
	for _, s := range services {
		if s.Name == ref || s.ID == ref {
			return s, nil
		}
		known = append(known, s.Name)
	}
	return fleet.Service{}, unknown("service", ref, known, "`crawlbox ls` lists them")
}

// findTask finds a task by ID, or the newest one by name.
func findTask(tasks []fleet.Task, ref string) (fleet.Task, bool) {
	for _, t := range tasks { // the newest of each slot comes first
		if t.ID == ref || t.Name() == ref {
			return t, true
		}
	}
	return fleet.Task{}, false
}

func unknown(kind, ref string, known []string, hint string) error {
	if near := words.Nearest(ref, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return api.NotFound("unknown %s %q; %s", kind, ref, hint)
}
