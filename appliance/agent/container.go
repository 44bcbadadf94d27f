package agent

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

type containerRequest struct {
	ID string `json:"id"`
}

// containerCall asks what became of a task's container. The caller can do without an answer.
var containerCall = Call[containerRequest, swarm.Container]{
	Route:      routeContainer,
	MaxRequest: 4 << 10,
	MaxAnswer:  64 << 10,
	Timeout:    3 * time.Second,
	Valid:      func(r containerRequest) bool { return r.ID != "" },
	Invalid:    "not the ID of a container",
	Failures:   []Failure{{swarm.ErrNotFound, http.StatusNotFound, "no such container"}},
}

func (n node) container(ctx context.Context, _ Peer, r containerRequest) (swarm.Container, error) {
	return n.engine.Container(ctx, r.ID)
}

// Container implements deploy.Agents.
func (p *Peers) Container(ctx context.Context, n fleet.Node, id string) (swarm.Container, error) {
	return containerCall.Do(ctx, p, n, containerRequest{id})
}

type killRequest struct {
	Tasks []string `json:"tasks"` // IDs
}

// killCall ends containers that Swarm is stopping already, without their grace time. The
// answer comes when they are gone.
var killCall = Call[killRequest, None]{
	Route:      routeKill,
	MaxRequest: 1 << 20,
	Invalid:    "not a list of tasks",
	Failed:     http.StatusInternalServerError,
}

func (n node) kill(ctx context.Context, _ Peer, r killRequest) (None, error) {
	return None{}, n.engine.KillTasks(ctx, r.Tasks)
}

// Kill implements deploy.Agents.
func (p *Peers) Kill(ctx context.Context, n fleet.Node, tasks []string) error {
	if _, err := killCall.Do(ctx, p, n, killRequest{tasks}); err != nil {
		return fmt.Errorf("kill containers on %s: %w", n.Display, err)
	}
	return nil
}
