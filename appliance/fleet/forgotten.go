package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// settled is how long Swarm may take to give a task to a node that can have it.
const settled = 5 * time.Second

// findForgotten notes tasks that wait for a node although there are some for them. Swarm tries a
// task again that found no node when a node changes, but leaves some waiting for ever: those that
// lost their node when all were drained, once the service was scaled meanwhile (seen with 20.10,
// by plain docker too). The reason that such a task bears is of then.
func (s *Snapshot) findForgotten() {
	for i, t := range s.Tasks {
		if t.Forgotten || t.State != TaskPending || t.NodeID != "" || t.Desired != TaskRunning ||
			s.Taken.Sub(t.Since) < settled || !foundAllClosed(t.Error) {
			continue
		}
		if n := s.open(t.ServiceID); n > 0 {
			s.Tasks[i].Forgotten = true
			s.Tasks[i].Error = fmt.Sprintf("waits for a node, though %s could take it: Swarm has forgotten it; "+
				"`crawlbox restart %s` has it start", words.Count(n, "node"), t.Service)
		}
	}
}

// foundAllClosed reports whether a task found no node for the only reason that none took tasks.
func foundAllClosed(reason string) bool {
	return strings.Contains(reason, "not available for new tasks") &&
		!strings.Contains(reason, "insufficient resources") && !strings.Contains(reason, "max replicas per node")
}

// open returns how many nodes have been able for a while to take a task of a service.
func (s *Snapshot) open(serviceID string) (n int) {
	svc, there := s.Service(serviceID)
	if !there {
		return 0
	}
	for _, node := range Eligible(s.Nodes, svc.Needs()).May {
		if s.Taken.Sub(node.Updated) >= settled && !slices.Contains(svc.Avoids, node.ID) {
			n++
		}
	}
	return n
}
