// Package containers tells how containers of this machine's Docker Engine begin and end. It is for those
// who must know it of each, such as the queue's leases; what Swarm knows of tasks comes later, and is gone
// with the task.
//
// Docker forgets a container's exit code when the container is removed, which Swarm and `docker run --rm` do
// at once. So whoever needs the code has to follow the events. Of those that were it keeps the last 256, health
// checks among them: too few to rely on. It does not say why a container ended: that it sent a
// signal before is an event, as long as it answers; while it shuts down itself, it sends signals and says
// nothing.
package containers

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// Container is one of this machine, by its names. They do not change while it is there.
type Container struct {
	ID      string
	Name    string
	Service string // of Swarm; empty: it is no task's
	Task    string // Swarm's ID of the task
}

// State is how a container is.
type State struct {
	Container
	Running     bool
	PID         int       // of its first process, in this machine's numbers
	Started     time.Time // its last run began
	Ended       time.Time // that run ended
	Code        int       // its exit code
	OutOfMemory bool      // the kernel killed a process of it for that
}

// Kinds of events.
const (
	Create      = string(events.ActionCreate)
	Start       = string(events.ActionStart)
	Die         = string(events.ActionDie)
	Signal      = string(events.ActionKill) // Docker sends it one, as `docker stop` and Swarm have it do
	OutOfMemory = string(events.ActionOOM)
	Remove      = string(events.ActionDestroy)
)

// Event says that something happened to a container.
type Event struct {
	Kind string
	Container
	At   time.Time // by the engine's clock
	Code int       // of Die: its exit code
}

// timeout bounds a question to the engine.
const timeout = 30 * time.Second

// Engine is the Docker Engine of this machine. It is safe for concurrent use.
type Engine struct{ cli *client.Client }

// New returns the engine of a client.
func New(cli *client.Client) Engine { return Engine{cli} }

// List returns all containers, also those that have ended. Of State it has nothing but whether they run.
func (e Engine) List(ctx context.Context) ([]State, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	found, err := e.cli.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	list := make([]State, len(found))
	for i, c := range found {
		list[i] = State{Container: named(c.ID, c.Labels), Running: isRunning(c.State)}
		if len(c.Names) > 0 {
			list[i].Name = strings.TrimPrefix(c.Names[0], "/")
		}
	}
	return list, nil
}

// isRunning reports whether a container in a state has processes. One that Docker is to start again has none.
func isRunning(state string) bool {
	return state == container.StateRunning || state == container.StatePaused
}

func named(id string, labels map[string]string) Container {
	return Container{
		ID:      id,
		Service: labels["com.docker.swarm.service.name"],
		Task:    labels["com.docker.swarm.task.id"],
	}
}

// State returns how a container is. found is false where there is none of that ID.
func (e Engine) State(ctx context.Context, id string) (s State, found bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	is, err := e.cli.ContainerInspect(ctx, id)
	if cerrdefs.IsNotFound(err) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("look at a container: %w", err)
	}
	if is.ContainerJSONBase == nil || is.ContainerJSONBase.State == nil || is.Config == nil {
		return s, false, fmt.Errorf("the engine does not say how container %s is", id)
	}
	s.Container = named(is.ID, is.Config.Labels)
	s.Name = strings.TrimPrefix(is.Name, "/")
	state := is.ContainerJSONBase.State
	s.Running, s.PID, s.Code, s.OutOfMemory = state.Running && state.Pid > 0, state.Pid, state.ExitCode, state.OOMKilled
	if s.Started, err = time.Parse(time.RFC3339Nano, state.StartedAt); err == nil {
		s.Ended, err = time.Parse(time.RFC3339Nano, state.FinishedAt)
	}
	if err != nil {
		return s, false, fmt.Errorf("read since when container %s runs: %w", id, err)
	}
	return s, true, nil
}

// Follow calls fn with what happens, until ctx ends or the engine does. It calls following first, when the
// engine has begun to tell: all that happens from then on comes.
func (e Engine) Follow(ctx context.Context, following func() error, fn func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, kind := range []string{Create, Start, Die, Signal, OutOfMemory, Remove} {
		args.Add("event", kind)
	}
	heard, ended := e.cli.Events(ctx, events.ListOptions{Filters: args})
	begun := make(chan error, 1)
	go func() { begun <- following() }()
	var early []Event // what comes while following runs
	for {
		next := heard
		if len(early) == maxEarly {
			next = nil
		}
		select {
		case m := <-next:
			if begun == nil {
				fn(eventOf(m))
			} else {
				early = append(early, eventOf(m))
			}
		case err := <-begun:
			if err != nil {
				return err
			}
			for _, event := range early {
				fn(event)
			}
			begun, early = nil, nil
		case err := <-ended:
			return cmp.Or(err, io.EOF)
		}
	}
}

// maxEarly bounds the events that wait for following.
const maxEarly = 16 << 10

func eventOf(m events.Message) Event {
	attributes := m.Actor.Attributes
	event := Event{
		Kind:      string(m.Action),
		Container: named(m.Actor.ID, attributes),
		At:        time.Unix(0, m.TimeNano),
	}
	event.Name = attributes["name"]
	event.Code, _ = strconv.Atoi(attributes["exitCode"])
	return event
}
