package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
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
	Health      string `json:"health"`        // starting, healthy, unhealthy or ended; empty: it has no check
	Said        string `json:"said"`          // what its check said last, in one line
	CheckCode   int    `json:"check_code"`    // the exit code of its last check; 0: it passed, or there was none
	// Outlived is when the engine began that found it, where it ended shortly before: an engine that begins ends what
	// one that was killed has left, and many programs end with 0 then. Zero: it is not so, or not known.
	Outlived time.Time `json:"outlived,omitzero"`
}

// endsWithin is how long an engine that begins takes at the most to end a container: its grace time, as a rule.
const endsWithin = time.Minute

const (
	// Unhealthy is the health of a container whose check failed too often. Docker stops
	// it then.
	Unhealthy = "unhealthy"
	// Ended is the health of a container that has ended, though not for its health check.
	Ended = "ended"
)

// ExitKilled is the exit code of a program that was ended by SIGKILL: 128 and its number.
const ExitKilled = 137

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
		c.Health = healthOf(found)
		c.Said = lastHealthOutput(h.Log)
		if n := len(h.Log); n > 0 {
			c.CheckCode = h.Log[n-1].ExitCode
		}
	}
	if !c.Running {
		c.Outlived = e.outlived(ctx, found.State)
	}
	if c.ExitCode == ExitKilled && c.Memory > 0 && !c.Running && !c.OutOfMemory {
		c.OutOfMemory = e.heardOutOfMemory(ctx, id, found.State)
	}
	return c, nil
}

// outlived returns when the engine began, where a container ended shortly before. Docker does not say when that was,
// but makes its network bridge then.
func (e *Engine) outlived(ctx context.Context, s *container.State) time.Time {
	ended, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil {
		return time.Time{}
	}
	n, err := e.cli.NetworkInspect(ctx, "bridge", network.InspectOptions{})
	if err != nil || ended.After(n.Created) || n.Created.Sub(ended) > endsWithin {
		return time.Time{}
	}
	return n.Created
}

// healthOf returns the health of a container that has a check. Docker calls each of them unhealthy once
// it has ended, whatever it ended by: then only those are whose check failed as often as it may.
func healthOf(found container.InspectResponse) string {
	h, retries := found.State.Health, defaultRetries
	if found.Config != nil && found.Config.Healthcheck != nil && found.Config.Healthcheck.Retries > 0 {
		retries = found.Config.Healthcheck.Retries
	}
	if found.State.Running || h.FailingStreak >= retries {
		return h.Status
	}
	return Ended
}

// defaultRetries is how often in a row a check may fail that does not say it; Docker's own.
const defaultRetries = 3

// outOfMemoryLag bounds how long after a container's end Docker hears that it was out of memory: 0.6 s
// were seen on a loaded machine.
const outOfMemoryLag = time.Second

// heardOutOfMemory reports whether Docker heard after a container's end that it was out of memory, which
// it has among its events alone then. It may not hear of it at all (containerd/containerd#8180).
func (e *Engine) heardOutOfMemory(ctx context.Context, id string, s *container.State) bool {
	ended, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*outOfMemoryLag) // the engine's clock may be set
	defer cancel()
	heard, end := e.cli.Events(ctx, events.ListOptions{
		Since:   s.StartedAt,
		Until:   ended.Add(outOfMemoryLag).Format(time.RFC3339Nano),
		Filters: filters.NewArgs(filters.Arg("container", id), filters.Arg("event", string(events.ActionOOM))),
	})
	select {
	case <-heard:
		return true
	//lint:ignore errcheck it is io.EOF, or Docker does not say what it heard
	case <-end:
		return false
	}
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
	return e.killTasks(ctx, func(id string) bool { return slices.Contains(tasks, id) })
}

// KillAllTasks ends those of all tasks, for which Swarm starts others.
func (e *Engine) KillAllTasks(ctx context.Context) error {
	return e.killTasks(ctx, func(string) bool { return true })
}

func (e *Engine) killTasks(ctx context.Context, which func(id string) bool) error {
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
		if !which(c.Labels[label]) {
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

const (
	// tryName is the container of a trial: one at a time, and what is left of one that was cut off goes with the next.
	tryName   = "crawlbox-queue-trial"
	tryTime   = 30 * time.Second
	tryMemory = 128 << 20
	// maxTried bounds what is read of what a trial said, in bytes.
	maxTried = 64 << 10
)

// Try runs a command of an image on this engine, which pulls it, in a container without network and rights. It returns
// what that has said at the end, whatever its exit code is. One that does not end by itself within half a minute is
// ended, and an error.
func (e *Engine) Try(ctx context.Context, image string, command []string) (said string, err error) {
	if err := e.Pull(ctx, image, func(Pulled) {}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	remove := func(ctx context.Context) error {
		err := e.cli.ContainerRemove(ctx, tryName, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	if err := remove(ctx); err != nil {
		return "", e.explain(err)
	}
	defer func() {
		ctx, cancel := bounded(context.WithoutCancel(ctx))
		defer cancel()
		_ = remove(ctx) // the next one sees to it
	}()
	_, err = e.cli.ContainerCreate(ctx, &container.Config{Image: WithoutTag(image), Entrypoint: command, User: "999"},
		&container.HostConfig{
			NetworkMode:    "none",
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			LogConfig:      container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}},
			Resources:      container.Resources{Memory: tryMemory},
		}, nil, nil, tryName)
	if err != nil {
		return "", e.explain(err)
	}
	ended, failed := e.cli.ContainerWait(ctx, tryName, container.WaitConditionNextExit)
	if err := e.cli.ContainerStart(ctx, tryName, container.StartOptions{}); err != nil {
		return "", e.explain(err)
	}
	select {
	case <-ended:
	case err := <-failed:
		return "", fmt.Errorf("wait for a trial of %s: %w", image, e.explain(err))
	}
	logs, err := e.cli.ContainerLogs(ctx, tryName, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return "", e.explain(err)
	}
	defer logs.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, io.LimitReader(logs, maxTried))
	return text.String(), err
}
