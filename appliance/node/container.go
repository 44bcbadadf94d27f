package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// pathContainer is where a manager asks a node what became of a task's container.
const pathContainer = "/v1/container"

// containerTimeout bounds the question. Who asks can do without an answer.
const containerTimeout = 3 * time.Second

type containerQuestion struct {
	ID string `json:"id"`
}

// answerContainer tells a manager what this node's engine knows of a container.
func (w *Worker) answerContainer(rw http.ResponseWriter, r *http.Request) {
	var q containerQuestion
	if err := bound.JSON(r.Body, 4<<10, &q); err != nil || q.ID == "" {
		http.Error(rw, "not the ID of a container", http.StatusBadRequest)
		return
	}
	c, err := w.engine.Container(r.Context(), q.ID)
	switch {
	case errors.Is(err, swarm.ErrNotFound):
		http.Error(rw, "no such container", http.StatusNotFound)
	case err != nil:
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
	default:
		_ = json.NewEncoder(rw).Encode(c)
	}
}

// Container implements deploy.Agents.
func (m *Manager) Container(ctx context.Context, n fleet.Node, id string) (c swarm.Container, err error) {
	ctx, cancel := context.WithTimeout(ctx, containerTimeout)
	defer cancel()
	if n.Addr == m.addr.String() {
		return m.engine.Container(ctx, id)
	}
	body, err := m.tellNode(ctx, n, pathContainer, containerQuestion{ID: id})
	if err != nil {
		return c, err
	}
	defer body.Close()
	if err := bound.JSON(body, 64<<10, &c); err != nil {
		return c, fmt.Errorf("read what %s knows of a container: %w", n.Display, err)
	}
	return c, nil
}
