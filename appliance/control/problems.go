package control

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/sandbox"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// What is not as it should be, in sentences, from what is known of the cluster and of this
// node's parts: nothing here makes a call.

// nodeProblems returns what is wrong with nodes.
func nodeProblems(nodes []fleet.Node) []string {
	managers := 0
	list := duplicateHostnames(nodes)
	for _, n := range nodes {
		if n.Role == fleet.RoleManager {
			managers++
		}
		if n.State != fleet.StateReady {
			list = append(list, fmt.Sprintf("node %s (%s) is %s; look at it, or remove it with %s", n.Display, n.Addr,
				n.State, howToRemove(n)))
		}
	}
	if managers == 2 {
		list = append(list, "2 managers: if either fails, no change is possible; promote a third, or demote one")
	}
	return list
}

// ManagerAway returns that the manager at an address, of a name for people, does not answer.
func ManagerAway(members []gossip.Member, at netip.Addr, name string) (list []string) {
	for _, node := range members {
		if node.Addr == at && node.State != gossip.Alive {
			list = append(list, fmt.Sprintf("the manager %s does not answer since %s; look at it", name,
				node.Seen.Format(time.RFC3339)))
		}
	}
	return list
}

// howToRemove names the commands for a node that is gone; Swarm keeps a manager until
// it is demoted.
func howToRemove(n fleet.Node) string {
	if n.Role == fleet.RoleManager {
		return fmt.Sprintf("`crawlbox node demote %s` and `crawlbox node rm %s`", n.Display, n.Display)
	}
	return fmt.Sprintf("`crawlbox node rm %s`", n.Display)
}

// duplicateHostnames returns which machines that are up share a host name. A node that is
// down may be what one of them was before it joined again.
func duplicateHostnames(nodes []fleet.Node) (list []string) {
	addrs := map[string][]string{}
	for _, n := range nodes {
		if n.State == fleet.StateReady {
			addrs[n.Name] = append(addrs[n.Name], n.Addr)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		if a := addrs[name]; len(a) > 1 {
			list = append(list, fmt.Sprintf(
				"%d nodes have the host name %s (%s); give each a name of its own with `hostnamectl set-hostname "+
					"NAME` and restart its Docker and crawlbox",
				len(a), name, strings.Join(a, ", ")))
		}
	}
	return list
}

// serviceProblems returns what is wrong with services. said has what the tasks failed by
// that crashed returned, by their IDs, as far as that is known.
func serviceProblems(snap fleet.Snapshot, said map[string]string) (list []string) {
	for _, s := range snap.Services {
		if text := serviceProblem(snap, s, said); text != "" {
			list = append(list, "service "+s.Name+": "+text)
		}
	}
	return list
}

func serviceProblem(snap fleet.Snapshot, s fleet.Service, said map[string]string) string {
	loop, loops := fleet.CrashLoop(snap.TasksOf(s.ID), snap.Taken)
	switch {
	case loops:
		why, known := said[loop.Last.ID]
		if !known {
			why = loop.Last.Error
		}
		return fmt.Sprintf("%s fails again and again, %d times in %s, on %s last: %s; Swarm starts it again %s after "+
			"each; look with `crawlbox logs %s`",
			loop.Last.Name(), loop.Failures, loop.Within.Round(time.Second), snap.NodeName(loop.Last.NodeID), why,
			s.RestartDelay, s.Name)
	case s.Update == "paused" || s.Update == "rollback_paused":
		return fmt.Sprintf("its update stopped halfway; look with `crawlbox ps %s`", s.Name)
	case s.Update == "rollback_completed":
		return fmt.Sprintf("its last update failed and the version before it runs again (%s); look with `crawlbox ps "+
			"--all %s`", s.Message, s.Name)
	case !s.Converged():
		return fmt.Sprintf("%d of %d running%s; look with `crawlbox ps %s`", s.Running, s.Desired,
			lastError(snap, s.ID), s.Name)
	}
	return ""
}

// crashed returns the last task of each service that crashes again and again.
func crashed(snap fleet.Snapshot) (tasks []fleet.Task) {
	for _, s := range snap.Services {
		if loop, loops := fleet.CrashLoop(snap.TasksOf(s.ID), snap.Taken); loops {
			tasks = append(tasks, loop.Last)
		}
	}
	return tasks
}

func lastError(snap fleet.Snapshot, serviceID string) string {
	var last fleet.Task
	for _, t := range snap.Tasks {
		if t.ServiceID == serviceID && t.Error != "" && t.Since.After(last.Since) {
			last = t
		}
	}
	if last.Error == "" {
		return ""
	}
	return fmt.Sprintf(" (last error: %s)", last.Error)
}

// queueProblems returns what is wrong with the queue.
func queueProblems(st queueproc.State) (list []string) {
	if st.Problem != "" {
		list = append(list, fmt.Sprintf("the queue does not run: %s; it is tried again by itself, and all else goes on",
			st.Problem))
	}
	if is := st.Progress; is.Bound > 0 && is.Memory >= is.Bound {
		list = append(list, "the queue is full, and refuses what makes it larger with OOM: take items out, or raise "+
			"queue.max_memory and start crawlbox again")
	}
	if st.Progress.NoDisk {
		list = append(list, "the queue cannot write to its disk, and refuses writes until it can: free space there; "+
			"the log says which file and why")
	}
	for _, m := range st.Missing {
		if m.Step != sandbox.StepNamespaces {
			list = append(list, fmt.Sprintf(
				"the queue's process %s; `crawlbox install manager` writes a unit that allows that", m))
		}
	}
	return list
}

// QueueChanged says which services that run know the queue by another URL than it has now,
// which mark stands for.
func QueueChanged(snap fleet.Snapshot, mark string) (list []string) {
	for _, s := range snap.Services {
		if s.Queue != "" && s.Queue != mark && s.Desired > 0 {
			list = append(list, fmt.Sprintf("service %s: the address or password of the queue changed after it was "+
				"deployed, so it can't reach the queue; `crawlbox restart %s` tells it the new one", s.Name, s.Name))
		}
	}
	return list
}

// mixedVersions says so where nodes run different versions: an upgrade is under way, or was
// interrupted.
func mixedVersions(members []gossip.Member) []string {
	by := map[string][]string{}
	for _, m := range members {
		if m.State == gossip.Alive {
			by[m.Version] = append(by[m.Version], m.Name)
		}
	}
	if len(by) < 2 {
		return nil
	}
	var parts []string
	for _, version := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, version+" on "+firstNames(by[version]))
	}
	return []string{
		fmt.Sprintf("the nodes run different versions of crawlbox: %s; unless an upgrade is under way, bring them to "+
			"one with `crawlbox upgrade --from FILE`", strings.Join(parts, ", ")),
	}
}

// firstNames returns the first few of a list of names.
func firstNames(names []string) string {
	slices.Sort(names)
	const most = 3
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}
