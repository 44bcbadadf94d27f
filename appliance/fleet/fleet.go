// Package fleet holds the plain values in which crawlbox thinks of a cluster:
// nodes, services, tasks, images, and the snapshot that binds them together.
// It does no I/O. What observes fills these values, what decides reads them,
// and the local API carries them to the command line as JSON.
package fleet

import "time"

// Snapshot is the cluster as one observer saw it at one moment. Its parts are
// read one after another, so a task may name a service that is already gone.
type Snapshot struct {
	Taken    time.Time `json:"taken,omitzero"`
	Nodes    []Node    `json:"nodes"`
	Services []Service `json:"services"`
	Tasks    []Task    `json:"tasks"`
}

func (s Snapshot) Service(nameOrID string) (Service, bool) {
	for _, svc := range s.Services {
		if svc.Name == nameOrID || svc.ID == nameOrID {
			return svc, true
		}
	}
	return Service{}, false
}

func (s Snapshot) TasksOf(serviceID string) (tasks []Task) {
	for i := range s.Tasks { // a task is large, and this is asked of each service of hundreds
		if s.Tasks[i].ServiceID == serviceID {
			tasks = append(tasks, s.Tasks[i])
		}
	}
	return tasks
}

// NoNode is the name of a node that was removed: its ID tells a person nothing.
const NoNode = "(removed)"

// NodeName returns the display name of a node, NoNode where there is none of that ID, and
// nothing for no ID.
func (s Snapshot) NodeName(id string) string {
	for _, n := range s.Nodes {
		if n.ID == id {
			return n.Display
		}
	}
	if id == "" {
		return ""
	}
	return NoNode
}
