package deploy

import (
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// stuck are the tasks of a change, by ID, that Swarm waits for in vain: it put them on
// a node that is gone, has replaced them since, and waits without a bound for them to
// run before it goes on with the next replica (updateTask in swarmkit's updater).
func stuck(nodes []fleet.Node, tasks []fleet.Task, g Goal) (ids []string) {
	away := unreachable(nodes)
	for _, t := range tasks {
		ours := t.Digest == g.Digest && !g.Before[t.ID]
		replaced := t.Desired != fleet.TaskRunning && t.Desired != "ready" && !t.Ended() && t.State != fleet.TaskRunning
		if ours && replaced && away[t.NodeID] {
			ids = append(ids, t.ID)
		}
	}
	return ids
}
