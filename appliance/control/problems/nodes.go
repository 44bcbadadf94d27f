package problems

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// introduction is how long a crawlbox that was just started may take to hear of the others.
const introduction = 30 * time.Second

// nodes returns what is wrong with the nodes of the cluster.
func (s Seen) nodes() (list []api.Problem) {
	if s.Cluster == nil {
		return nil
	}
	for _, n := range s.Cluster.Nodes {
		if s.Moved == nil || !s.Moved.First { // which says why none answers
			list = append(list, s.node(n)...)
		}
		list = append(list, s.disk(n)...)
	}
	return slices.Concat(list, s.idle(), s.managers(), duplicateHostnames(s.Cluster.Nodes))
}

func of(level api.Level, kind string, n fleet.Node, format string, args ...any) []api.Problem {
	return []api.Problem{{Level: level, Kind: kind, Subject: n.Display, Text: fmt.Sprintf(format, args...)}}
}

// node returns what is wrong with one that Swarm, its engine or its crawlbox is not heard from.
func (s Seen) node(n fleet.Node) []api.Problem {
	name := fmt.Sprintf("%s (%s)", n.Display, n.Addr)
	stopped := n.HasAgent() && n.Agent.Docker == fleet.EngineStopped
	switch {
	case stopped && n.State == fleet.StateReady:
		return of(api.Bad, api.DockerStopped, n, "Docker does not answer on node %s; start it there with `systemctl "+
			"start docker`, or Swarm soon starts its tasks elsewhere", name)
	case stopped:
		return of(api.Bad, api.DockerStopped, n, "Docker does not answer on node %s, which is %s, so that its tasks "+
			"start elsewhere; start Docker there with `systemctl start docker`", name, n.State)
	case n.State == fleet.StateUnknown && s.isKnownSoon(n):
		return of(api.Warning, api.NodeUnknown, n, "Swarm does not know yet whether node %s is up; wait a minute, as "+
			"it begins anew when Docker of its manager is started", name)
	case n.State == fleet.StateReady:
		return s.crawlbox(n, name)
	case n.HasAgent():
		return of(api.Bad, api.NodeDown, n, "node %s is %s for Swarm, though crawlbox there answers and says that "+
			"Docker runs; look there with `crawlbox doctor`: something may keep Docker from port 2377 of the managers",
			name, n.State)
	}
	return of(api.Bad, api.NodeDown, n, "node %s is %s, and neither Docker nor crawlbox answers there%s; start the "+
		"machine, or mend its network, and it goes on; if it never comes back, %s", name, n.State, s.since(n),
		s.ifGone(n))
}

// isKnownSoon reports whether Swarm has begun anew just now.
func (s Seen) isKnownSoon(n fleet.Node) bool {
	return n.HasAgent() || s.Now.Sub(n.Updated) < 2*time.Minute
}

// crawlbox returns what is wrong with the crawlbox on a node that Swarm hears from.
func (s Seen) crawlbox(n fleet.Node, name string) []api.Problem {
	so := "no image reaches it"
	if kept := s.keptOff(n); len(kept) > 0 {
		so += ", and nothing new of " + strings.Join(kept, ", ") + " starts there"
	}
	switch {
	case n.Agent == nil && s.Now.Sub(s.Started) < introduction, n.HasAgent():
		return nil
	case n.Agent == nil:
		return of(api.Bad, api.CrawlboxStopped, n, "nothing is heard of crawlbox on node %s, so that %s; start it "+
			"there with `systemctl start crawlbox`, or bring it there with the line that `crawlbox token` prints",
			name, so)
	case n.Agent.State == fleet.AgentStopped:
		return of(api.Bad, api.CrawlboxStopped, n, "crawlbox is stopped on node %s%s, so that %s; start it there with "+
			"`systemctl start crawlbox`", name, s.since(n), so)
	}
	return of(api.Bad, api.CrawlboxStopped, n, "crawlbox does not answer on node %s%s, though Swarm still hears from "+
		"its Docker, so that %s; look there with `systemctl status crawlbox`", name, s.since(n), so)
}

// keptOff returns the services that are kept off a node.
func (s Seen) keptOff(n fleet.Node) (names []string) {
	for _, svc := range s.Cluster.Services {
		if slices.Contains(svc.Avoids, n.ID) {
			names = append(names, svc.Name)
		}
	}
	return names
}

// since says since when nothing is heard of the crawlbox on a node, if that is known.
func (s Seen) since(n fleet.Node) string {
	if n.Agent == nil || n.HasAgent() || n.Agent.Seen.IsZero() {
		return ""
	}
	layout := time.TimeOnly
	if s.Now.Sub(n.Agent.Seen) > 12*time.Hour {
		layout = time.DateTime
	}
	return " since " + n.Agent.Seen.Local().Format(layout)
}

// ifGone says what to do about a node that is gone. Swarm keeps a manager until it is demoted, and the one with the
// queue has what the others have not.
func (s Seen) ifGone(n fleet.Node) string {
	if s.QueueHome.IsValid() && n.Addr == s.QueueHome.String() {
		if s.Cluster != nil && fleet.CountManagers(s.Cluster.Nodes).Spare() < 0 {
			return "restore the cluster on another server with `crawlbox install manager --restore NODE-ADDRESS`, " +
				"with an empty queue and all services started anew"
		}
		if s.QueueApart {
			return "the queue goes on with Valkey; have another manager keep its settings: " + howToRemove(n) +
				", write `queue: {engine: valkey}` into the config of that and run `crawlbox recover --queue` there"
		}
		return "its queue is lost; go on with an empty one: " + howToRemove(n) + ", and then `crawlbox recover " +
			"--queue` on the manager that is to have it"
	}
	return "take it off the list with " + howToRemove(n)
}

// howToRemove names the commands for a node that is gone.
func howToRemove(n fleet.Node) string {
	if n.Role == fleet.RoleManager {
		return fmt.Sprintf("`crawlbox node demote %s` and `crawlbox node rm %s`", n.Display, n.Display)
	}
	return fmt.Sprintf("`crawlbox node rm %s`", n.Display)
}

// disk returns what is wrong with the room that a node has.
func (s Seen) disk(n fleet.Node) []api.Problem {
	if !n.HasAgent() || n.Agent.FreeDisk >= doctor.LowDisk {
		return nil
	}
	free := units.HumanSize(float64(n.Agent.FreeDisk))
	const remedy = "; free some: `docker system prune --all` there takes what no container uses"
	if n.Agent.FreeDisk < doctor.FullDisk {
		return of(api.Bad, api.DiskFull, n, "the disk of node %s (%s) is full, %s are free: images and logs find no "+
			"room"+remedy, n.Display, n.Addr, free)
	}
	return of(api.Warning, api.DiskLow, n, "only %s are free on the disk of node %s (%s)"+remedy, free, n.Display,
		n.Addr)
}

// idle returns which nodes get no tasks because somebody wanted it so.
func (s Seen) idle() []api.Problem {
	var closed, names []string
	takes := 0
	for _, n := range s.Cluster.Nodes {
		switch {
		case n.State != fleet.StateReady:
		case n.Availability == fleet.AvailabilityActive:
			takes++
		default:
			names = append(names, n.Display)
			state := "drained"
			if n.Availability == fleet.AvailabilityPause {
				state = "paused"
			}
			closed = append(closed, n.Display+" ("+state+")")
		}
	}
	first := names[:min(maxNames, len(names))]
	switch {
	case len(closed) == 0:
		return nil
	case takes == 0:
		return []api.Problem{{Level: api.Bad, Kind: api.NoNode, Text: fmt.Sprintf("no node takes tasks: %s; nothing "+
			"starts until one does: `crawlbox node activate %s`", words.Some(closed, maxNames),
			strings.Join(first, " "))}}
	}
	get := "get"
	if len(closed) == 1 {
		get = "gets"
	}
	return []api.Problem{{Level: api.Note, Kind: api.NodeIdle, Text: fmt.Sprintf(
		"%d of %d nodes %s no tasks: %s; give them some again with `crawlbox node activate %s`", len(closed),
		len(s.Cluster.Nodes), get, words.Some(closed, maxNames), strings.Join(first, " "))}}
}

// maxNames is how many names a problem lists.
const maxNames = 5

// managers returns whether the loss of one more would stop all changes. To have one alone is no problem: what
// its loss means is said beside it.
func (s Seen) managers() []api.Problem {
	m := fleet.CountManagers(s.Cluster.Nodes)
	if m.All < 2 || m.Spare() > 0 {
		return nil
	}
	return []api.Problem{{Level: api.Warning, Kind: api.FewManagers, Text: m.NextLoss()}}
}

// duplicateHostnames returns which machines that are up share a host name. A node that is
// down may be what one of them was before it joined again.
func duplicateHostnames(nodes []fleet.Node) (list []api.Problem) {
	addrs := map[string][]string{}
	for _, n := range nodes {
		if n.State == fleet.StateReady {
			addrs[n.Name] = append(addrs[n.Name], n.Addr)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		if a := addrs[name]; len(a) > 1 {
			list = append(list, api.Problem{Level: api.Warning, Kind: api.SameNames, Subject: name, Text: fmt.Sprintf(
				"%d nodes have the host name %s (%s); give each a name of its own with `hostnamectl set-hostname "+
					"NAME` and restart its Docker and crawlbox",
				len(a), name, strings.Join(a, ", "))})
		}
	}
	return list
}

// versions returns where nodes run different versions: an upgrade is under way, or was
// interrupted.
func (s Seen) versions() []api.Problem {
	by := map[string][]string{}
	for _, m := range s.Members {
		if m.State == gossip.Alive {
			by[m.Version] = append(by[m.Version], m.Name)
		}
	}
	if len(by) < 2 {
		return nil
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(by)) {
		names := by[version]
		slices.Sort(names)
		parts = append(parts, version+" on "+words.Some(names, 3))
	}
	return []api.Problem{{Level: api.Warning, Kind: api.VersionsApart, Text: fmt.Sprintf(
		"the nodes run different versions of crawlbox: %s; unless an upgrade is under way, bring them to "+
			"one with `crawlbox upgrade --from FILE`", strings.Join(parts, ", "))}}
}

// follows returns that the manager does not answer that this node follows. One that refuses it does.
func (s Seen) follows() (list []api.Problem) {
	removed := slices.ContainsFunc(s.Parts, func(p api.Problem) bool { return p.Kind == api.Removed })
	for _, m := range s.Members {
		if !removed && s.Follows.IsValid() && m.Addr == s.Follows && m.State != gossip.Alive {
			list = append(list, api.Problem{Level: api.Bad, Kind: api.ManagerAway, Text: fmt.Sprintf(
				"the manager %s does not answer since %s; look there with `crawlbox status`: it, its machine or the "+
					"network may be down, or its address may be another now",
				s.FollowsName, m.Seen.Format(time.RFC3339))})
		}
	}
	return list
}

// machine returns what is wrong with this machine.
func (s Seen) machine() (list []api.Problem) {
	here := func(level api.Level, kind, text string) {
		list = append(list, api.Problem{Level: level, Kind: kind, Text: text})
	}
	if s.Docker != nil {
		here(api.Bad, api.DockerHere, words.OneLine(s.Docker.Error()))
	}
	if s.Moved != nil {
		level := api.Warning // what joined works on
		if s.Moved.First {
			level = api.Bad
		}
		here(level, api.AddressGone, s.Moved.Sentence())
	}
	for _, f := range s.Findings {
		if f.Level != doctor.Bad || f.Check == doctor.CheckAddress && s.Moved != nil {
			continue
		}
		text := f.Text + "; " + f.Remedy
		if len(f.Commands) > 0 {
			text += ": `" + strings.Join(f.Commands, " && ") + "`"
		}
		here(api.Bad, api.MachineUnfit, "this machine: "+words.OneLine(text))
	}
	return list
}
