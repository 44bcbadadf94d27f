package node

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// pathUnstage is where a manager lets a node drop images that no service goes back
// to.
const pathUnstage = "/v1/unstage"

// unstageTimeout bounds the whole of it. What is left is dropped the next time.
const unstageTimeout = time.Minute

type unstageRequest struct {
	Images []string `json:"images"` // with their digests
}

// answerUnstage removes the images that nothing on this node uses, and all of them
// from its mirror.
func (w *Worker) answerUnstage(rw http.ResponseWriter, r *http.Request) {
	var req unstageRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&req); err != nil {
		http.Error(rw, "not a list of images", http.StatusBadRequest)
		return
	}
	w.unpin(req.Images...)
	removeUnused(r.Context(), w.ground, req.Images)
}

func removeUnused(ctx context.Context, g *ground, images []string) {
	for _, image := range images {
		if err := g.engine.RemoveUnused(ctx, swarm.WithoutTag(image)); err != nil {
			g.log.Debug("drop an image of an old version", "image", image, "error", err)
		}
	}
}

// unstage drops images from all nodes that are up, where nothing uses them.
func (m *Manager) unstage(ctx context.Context, images []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unstageTimeout)
	defer cancel()
	nodes, err := m.engine.Nodes(ctx)
	if err != nil {
		m.log.Debug("drop images of old versions", "error", err)
		return
	}
	var all sync.WaitGroup
	for _, n := range nodes {
		if n.State != fleet.StateReady {
			continue
		}
		all.Go(func() {
			if n.Addr == m.addr.String() {
				removeUnused(ctx, m.ground, images)
				return
			}
			body, err := m.tellNode(ctx, n, pathUnstage, unstageRequest{Images: images})
			if err != nil {
				m.log.Debug("drop images of old versions", "node", n.Display, "error", err)
				return
			}
			body.Close()
		})
	}
	all.Wait()
}
