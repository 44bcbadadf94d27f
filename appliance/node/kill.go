package node

import (
	"context"
	"fmt"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// pathKill is where a manager ends containers that Swarm is stopping already, without
// their grace time.
const pathKill = "/v1/kill"

type killRequest struct {
	Tasks []string `json:"tasks"` // IDs
}

// answerKill answers when the containers of the tasks are gone.
func (w *Worker) answerKill(rw http.ResponseWriter, r *http.Request) {
	var req killRequest
	if err := bound.JSON(r.Body, 1<<20, &req); err != nil {
		http.Error(rw, "not a list of tasks", http.StatusBadRequest)
		return
	}
	if err := w.engine.KillTasks(r.Context(), req.Tasks); err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
	}
}

// Kill implements deploy.Agents.
func (m *Manager) Kill(ctx context.Context, n fleet.Node, tasks []string) error {
	if n.Addr == m.addr.String() {
		return m.engine.KillTasks(ctx, tasks)
	}
	body, err := m.tellNode(ctx, n, pathKill, killRequest{Tasks: tasks})
	if err != nil {
		return fmt.Errorf("kill containers on %s: %w", n.Display, err)
	}
	return body.Close()
}
