package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sync/errgroup"

	"github.com/crawlbox/crawlbox/appliance/base/words"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
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

// Exec starts a program in the container that a task has on this engine. ErrNotFound is wrapped where
// it has none that runs.
func (e *Engine) Exec(ctx context.Context, r taskexec.Request) (taskexec.Process, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	list, err := e.cli.ContainerList(ctx, container.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", "com.docker.swarm.task.id="+r.Task)),
	})
	if err != nil {
		return nil, e.explain(err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: the task has no container that runs", ErrNotFound)
	}
	var size *[2]uint
	if r.TTY && r.Size.Width > 0 {
		size = &[2]uint{uint(r.Size.Height), uint(r.Size.Width)}
	}
	made, err := e.cli.ContainerExecCreate(ctx, list[0].ID, container.ExecOptions{
		User:         r.User,
		Tty:          r.TTY,
		ConsoleSize:  size,
		AttachStdin:  r.Input,
		AttachStdout: true,
		AttachStderr: true,
		Env:          r.Env,
		WorkingDir:   r.Dir,
		Cmd:          r.Command,
	})
	if err != nil {
		return nil, e.explain(err)
	}
	conn, err := e.cli.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{Tty: r.TTY, ConsoleSize: size})
	if err != nil {
		return nil, e.explain(err)
	}
	return &process{e, made.ID, r.TTY, conn}, nil
}

// process implements taskexec.Process.
type process struct {
	engine *Engine
	id     string
	tty    bool
	conn   types.HijackedResponse
}

func (p *process) Write(data []byte) (int, error) { return p.conn.Conn.Write(data) }
func (p *process) CloseInput() error              { return p.conn.CloseWrite() }

func (p *process) Close() error {
	p.conn.Close()
	return nil
}

func (p *process) Output(stdout, stderr io.Writer) (err error) {
	if p.tty {
		_, err = io.Copy(stdout, p.conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(stdout, stderr, p.conn.Reader)
	}
	return err
}

func (p *process) Resize(ctx context.Context, s taskexec.Size) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	size := container.ResizeOptions{Height: uint(s.Height), Width: uint(s.Width)}
	return p.engine.explain(p.engine.cli.ContainerExecResize(ctx, p.id, size))
}

// ExitCode waits a moment where the engine has closed the output before it knows.
func (p *process) ExitCode(ctx context.Context) (code int, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	again := time.NewTicker(againAfter)
	defer again.Stop()
	for {
		state, err := p.engine.cli.ContainerExecInspect(ctx, p.id)
		if err != nil || !state.Running {
			return state.ExitCode, p.engine.explain(err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, errors.New("it closed its output and runs on; its exit code is not known")
		}
	}
}
