package swarm

import (
	"context"
	"net"
	"sort"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// Snapshot reads the whole swarm, counted and sorted: managers before workers,
// then by name; services by name; tasks by service, slot and age.
func (e *Engine) Snapshot(ctx context.Context) (s fleet.Snapshot, err error) {
	s.Taken = time.Now()
	if s.Nodes, err = e.Nodes(ctx); err != nil {
		return s, err
	}
	if s.Services, err = e.Services(ctx); err != nil {
		return s, err
	}
	if s.Tasks, err = e.Tasks(ctx, ""); err != nil {
		return s, err
	}
	names := map[string]string{}
	for _, svc := range s.Services {
		names[svc.ID] = svc.Name
	}
	for i, t := range s.Tasks {
		s.Tasks[i].Service, s.Tasks[i].Node = names[t.ServiceID], s.NodeName(t.NodeID)
	}
	sortSnapshot(&s)
	s.Tally()
	return s, nil
}

func sortSnapshot(s *fleet.Snapshot) {
	sort.Slice(s.Nodes, func(i, j int) bool {
		a, b := s.Nodes[i], s.Nodes[j]
		if a.Role != b.Role {
			return a.Role == fleet.RoleManager
		}
		return natural(a.Display, b.Display)
	})
	sort.Slice(s.Services, func(i, j int) bool { return natural(s.Services[i].Name, s.Services[j].Name) })
	sort.SliceStable(s.Tasks, func(i, j int) bool {
		a, b := s.Tasks[i], s.Tasks[j]
		switch {
		case a.Service != b.Service:
			return natural(a.Service, b.Service)
		case a.Slot != b.Slot:
			return a.Slot < b.Slot
		case a.Slot == 0 && a.Node != b.Node:
			return natural(a.Node, b.Node)
		}
		return a.Created.After(b.Created)
	})
}

// Tasks returns the tasks of a service, by ID, or all of them where it is
// empty. The names of services and nodes are not in them.
func (e *Engine) Tasks(ctx context.Context, serviceID string) ([]fleet.Task, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	args := filters.NewArgs()
	if serviceID != "" {
		args.Add("service", serviceID)
	}
	list, err := e.cli.TaskList(ctx, swarm.TaskListOptions{Filters: args})
	if err != nil {
		return nil, e.explain(err)
	}
	tasks := make([]fleet.Task, 0, len(list))
	for _, t := range list {
		// Tasks of networks and the like have no container.
		if t.Spec.ContainerSpec != nil {
			tasks = append(tasks, taskOf(t))
		}
	}
	return tasks, nil
}

func taskOf(t swarm.Task) fleet.Task {
	task := fleet.Task{
		ID:        t.ID,
		ServiceID: t.ServiceID,
		Slot:      t.Slot,
		NodeID:    t.NodeID,
		State:     string(t.Status.State),
		Desired:   string(t.DesiredState),
		Error:     words.OneLine(t.Status.Err),
		Created:   t.CreatedAt,
		Since:     t.Status.Timestamp,
	}
	task.Image, task.Digest = splitDigest(t.Spec.ContainerSpec.Image)
	if c := t.Status.ContainerStatus; c != nil {
		task.Container, task.ExitCode = c.ContainerID, c.ExitCode
	}
	return task
}

// natural orders names as a person does: h2 before h10.
func natural(a, b string) bool {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		switch {
		case da > 0 && db > 0:
			na, nb := trimZeros(a[:da]), trimZeros(b[:db])
			if len(na) != len(nb) {
				return len(na) < len(nb)
			}
			if na != nb {
				return na < nb
			}
			a, b = a[da:], b[db:]
		case a[0] != b[0]:
			return a[0] < b[0]
		default:
			a, b = a[1:], b[1:]
		}
	}
	return len(a) < len(b)
}

func digits(s string) (n int) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

func trimZeros(s string) string {
	for len(s) > 1 && s[0] == '0' {
		s = s[1:]
	}
	return s
}

func cutPort(addr string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	return host, port, err == nil
}
