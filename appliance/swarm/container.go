package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/words"
)

// Container holds what a node's engine knows of a task's container and Swarm does not.
type Container struct {
	Running     bool   `json:"running"`
	ExitCode    int    `json:"exit_code"`
	OutOfMemory bool   `json:"out_of_memory"` // the kernel killed a process of it for that
	Memory      int64  `json:"memory"`        // its limit, in bytes; 0: none
	Health      string `json:"health"`        // starting, healthy or unhealthy; empty: it has no check
	Said        string `json:"said"`          // what its check said last, in one line
}

// Unhealthy is the health of a container whose check failed too often. Docker stops
// it then.
const Unhealthy = "unhealthy"

// Container looks at a container of this engine, by ID, also one that has ended.
// ErrNotFound is wrapped where there is none.
func (e *Engine) Container(ctx context.Context, id string) (Container, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	found, err := e.cli.ContainerInspect(ctx, id)
	if err != nil {
		return Container{}, e.explain(err)
	}
	if found.ContainerJSONBase == nil || found.State == nil {
		return Container{}, nil
	}
	c := Container{Running: found.State.Running, ExitCode: found.State.ExitCode, OutOfMemory: found.State.OOMKilled}
	if found.HostConfig != nil {
		c.Memory = found.HostConfig.Memory
	}
	if h := found.State.Health; h != nil && h.Status != container.NoHealthcheck {
		c.Health = h.Status
		c.Said = lastHealthOutput(h.Log)
	}
	return c, nil
}

// lastHealthOutput returns what a health check said last. The one that was under way when Docker
// stopped the container has said nothing.
func lastHealthOutput(log []*container.HealthcheckResult) string {
	for _, result := range slices.Backward(log) {
		if said := lastLineOf(result.Output); said != "" {
			return said
		}
	}
	return ""
}

// maxSaid is how much of what a health check said is passed on, in bytes.
const maxSaid = 200

// lastLineOf returns the last line, where programs say what went wrong.
func lastLineOf(text string) string {
	text = strings.TrimSpace(text)
	text = words.OneLine(text[strings.LastIndexByte(text, '\n')+1:])
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "") + "…"
	}
	return text
}

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
	list, err := e.cli.ContainerList(ctx,
		container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label))})
	if err != nil {
		return e.explain(err)
	}
	var errs []error
	for _, c := range list {
		err := insist(ctx, func(ctx context.Context) error {
			return e.cli.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("container %s stays (`docker rm --force %[1]s` removes it): %w", c.ID[:12],
				e.explain(err)))
		}
	}
	return errors.Join(errs...)
}

// KillTasks ends the containers that tasks have on this engine with SIGKILL. Swarm
// must have been told before that they are to end: it would start others.
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
			return e.explain(insist(ctx, func(ctx context.Context) error {
				return e.cli.ContainerKill(ctx, c.ID, "KILL")
			}))
		})
	}
	return kills.Wait()
}

// killsAtOnce keeps a node with hundreds of containers usable while they end.
const killsAtOnce = 16
