package agent

import (
	"context"
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
