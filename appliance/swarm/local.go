package swarm

import (
	"context"
	"slices"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"golang.org/x/sync/errgroup"
)

// RemoveContainers removes the containers of a service from this engine: when
// it leaves its swarm, Docker forgets those that have ended.
func (e *Engine) RemoveContainers(ctx context.Context, service string) error {
	return e.removeLabelled(ctx, "com.docker.swarm.service.name="+service)
}

// RemoveTasks does the same for all services.
func (e *Engine) RemoveTasks(ctx context.Context) error {
	return e.removeLabelled(ctx, "com.docker.swarm.task.id")
}

func (e *Engine) removeLabelled(ctx context.Context, label string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return e.explain(err)
	}
	for _, c := range list {
		err := e.cli.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if err != nil && !cerrdefs.IsNotFound(err) {
			return e.explain(err)
		}
	}
	return nil
}

// KillTasks ends the containers that tasks have on this engine with SIGKILL. Swarm
// is to have been told before that they shall end: it would start others.
func (e *Engine) KillTasks(ctx context.Context, tasks []string) error {
	const label = "com.docker.swarm.task.id"
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ContainerList(ctx, container.ListOptions{Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return e.explain(err)
	}
	var kills errgroup.Group
	kills.SetLimit(killsAtOnce)
	for _, c := range list {
		if !slices.Contains(tasks, c.Labels[label]) {
			continue
		}
		kills.Go(func() error {
			err := e.cli.ContainerKill(ctx, c.ID, "KILL")
			if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) { // it is gone already
				return nil
			}
			return e.explain(err)
		})
	}
	return kills.Wait()
}

// killsAtOnce keeps a node with hundreds of containers usable while they end.
const killsAtOnce = 16

// RemoveImage removes an image from this engine, whatever names it has. One
// that is not there is no error.
func (e *Engine) RemoveImage(ctx context.Context, ref string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err := e.cli.ImageRemove(ctx, ref, image.RemoveOptions{Force: true, PruneChildren: true})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return e.explain(err)
}
