package agent

import (
	"context"
	"fmt"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

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
