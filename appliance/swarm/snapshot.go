package swarm

import (
	"cmp"
	"context"
	"slices"
	"strings"
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
	slices.SortFunc(s.Nodes, func(a, b fleet.Node) int {
		return cmp.Or(strings.Compare(a.Role, b.Role), natural(a.Display, b.Display)) // manager is before worker
	})
	slices.SortFunc(s.Services, func(a, b fleet.Service) int { return natural(a.Name, b.Name) })
	slices.SortStableFunc(s.Tasks, func(a, b fleet.Task) int {
		first := cmp.Or(natural(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot))
		if first == 0 && a.Slot == 0 {
			first = natural(a.Node, b.Node)
		}
		return cmp.Or(first, b.Created.Compare(a.Created))
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
		Error:     words.Docker(t.Status.Err),
		Created:   t.CreatedAt,
		Since:     t.Status.Timestamp,
	}
	task.Image, task.Digest, _ = strings.Cut(t.Spec.ContainerSpec.Image, "@")
	if c := t.Status.ContainerStatus; c != nil {
		task.Container, task.ExitCode = c.ContainerID, c.ExitCode
	}
	return task
}

// natural compares names as a person does: h2 is before h10.
func natural(a, b string) int {
	for a != "" && b != "" {
		first := cmp.Compare(a[0], b[0])
		restA, restB := a[1:], b[1:]
		if da, db := digits(a), digits(b); da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			first = cmp.Or(cmp.Compare(len(na), len(nb)), strings.Compare(na, nb))
			restA, restB = a[da:], b[db:]
		}
		if first != 0 {
			return first
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns how many digits a name begins with.
func digits(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
