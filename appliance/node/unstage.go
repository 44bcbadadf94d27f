package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// pathUnstage is where a manager lets a node drop images that no service goes back
// to.
const pathUnstage = "/v1/unstage"

// unstageTimeout bounds the whole of it. What is left is dropped the next time.
const unstageTimeout = time.Minute

type unstageRequest struct {
	Images []string `json:"images"` // with their digests
}

// unstageAnswer says how many of the images are still there, since something holds
// them.
type unstageAnswer struct {
	Held int `json:"held"`
}

// answerUnstage removes the images that nothing on this node uses, and all of them
// from its mirror.
func (w *Worker) answerUnstage(rw http.ResponseWriter, r *http.Request) {
	var req unstageRequest
	if err := bound.JSON(r.Body, 64<<10, &req); err != nil {
		http.Error(rw, "not a list of images", http.StatusBadRequest)
		return
	}
	w.unpin(req.Images...)
	_ = json.NewEncoder(rw).Encode(unstageAnswer{Held: removeUnused(r.Context(), w.ground, req.Images)})
}

// removeUnused returns how many of the images it had to leave.
func removeUnused(ctx context.Context, g *ground, images []string) (held int) {
	for _, image := range images {
		gone, err := g.engine.RemoveUnused(ctx, image)
		if err != nil {
			g.log.Debug("drop an image of an old version", "image", image, "error", err)
		}
		if !gone {
			held++
		}
	}
	return held
}

// unstage drops images from all nodes that are up, where nothing uses them, and says
// whether none of those has one left.
func (m *Manager) unstage(ctx context.Context, images []string) bool {
	ctx, cancel := context.WithTimeout(ctx, unstageTimeout)
	defer cancel()
	nodes, err := m.engine.Nodes(ctx)
	if err != nil {
		m.log.Debug("drop images of old versions", "error", err)
		return false
	}
	var all sync.WaitGroup
	var held atomic.Int64
	for _, n := range nodes {
		if n.State != fleet.StateReady {
			continue
		}
		all.Go(func() {
			left, err := m.unstageOn(ctx, n, images)
			if err != nil {
				m.log.Debug("drop images of old versions", "node", n.Display, "error", err)
				left = len(images)
			}
			held.Add(int64(left))
		})
	}
	all.Wait()
	return held.Load() == 0
}

func (m *Manager) unstageOn(ctx context.Context, n fleet.Node, images []string) (held int, err error) {
	if n.Addr == m.addr.String() {
		return removeUnused(ctx, m.ground, images), nil
	}
	body, err := m.tellNode(ctx, n, pathUnstage, unstageRequest{Images: images})
	if errors.Is(err, deploy.ErrNotStageable) {
		return 0, nil // nothing will ever be dropped there
	}
	if err != nil {
		return 0, err
	}
	defer body.Close()
	var answer unstageAnswer
	err = bound.JSON(body, 4<<10, &answer)
	return answer.Held, err
}
