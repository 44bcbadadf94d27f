package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/swarm"
)

// pathStage is where a manager has a node fetch an image before tasks want it.
const pathStage = "/v1/stage"

const (
	// stageNews is how often a node says how far it is, also where nothing moved.
	stageNews = time.Second
	// stageQuiet is after what time without a word the manager gives up.
	stageQuiet = 10 * time.Second
	// maxStageLine bounds what a node says at a time, in bytes.
	maxStageLine = 64 << 10
)

type stageRequest struct {
	Image string `json:"image"` // with its digest
}

// stageAnswer is one line of the answer. The last has Done or an error.
type stageAnswer struct {
	swarm.Pulled
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
	NoImage bool   `json:"no_image,omitempty"` // the registry has none of that name
}

// answerStage lets this node's Docker pull an image, and tells the manager how far
// that is. The mirror keeps the image until the manager takes it back; what has come
// of one whose pull fails is there for the next attempt.
func (w *Worker) answerStage(rw http.ResponseWriter, r *http.Request) {
	var req stageRequest
	if err := bound.JSON(r.Body, 4<<10, &req); err != nil || !strings.Contains(req.Image, "@sha256:") {
		http.Error(rw, "not an image with its digest", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	added := w.pin(req.Image)
	var mu sync.Mutex
	var now swarm.Pulled
	pulled := make(chan error, 1)
	go func() {
		pulled <- w.engine.Pull(ctx, req.Image, func(p swarm.Pulled) {
			mu.Lock()
			defer mu.Unlock()
			now = p
		})
	}()
	say := func(a stageAnswer) bool {
		mu.Lock()
		a.Pulled = now
		mu.Unlock()
		return json.NewEncoder(rw).Encode(a) == nil && http.NewResponseController(rw).Flush() == nil
	}
	tick := time.NewTicker(stageNews)
	defer tick.Stop()
	for say(stageAnswer{}) {
		select {
		case <-tick.C:
		case err := <-pulled:
			if added && errors.Is(err, swarm.ErrNoImage) {
				w.unpin(req.Image)
			}
			say(stageEnd(err))
			return
		}
	}
}

func stageEnd(err error) stageAnswer {
	if err == nil {
		return stageAnswer{Done: true}
	}
	return stageAnswer{Error: err.Error(), NoImage: errors.Is(err, swarm.ErrNoImage)}
}

// Stage implements deploy.Agents.
func (m *Manager) Stage(ctx context.Context, n fleet.Node, image string, see func(swarm.Pulled)) error {
	if n.Addr == m.addr.String() {
		return m.engine.Pull(ctx, image, see)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(stageQuiet, cancel)
	defer quiet.Stop()
	body, err := m.tellNode(ctx, n, pathStage, stageRequest{Image: image})
	if err != nil {
		return err
	}
	defer body.Close()
	return readStage(body, func(p swarm.Pulled) { quiet.Reset(stageQuiet); see(p) })
}

// tellNode asks the crawlbox on a node for something and returns its answer.
func (m *Manager) tellNode(ctx context.Context, n fleet.Node, path string, what any) (io.ReadCloser, error) {
	addr, err := netip.ParseAddr(n.Addr)
	nodes := m.members.Of(memberNode(n))
	if err != nil || len(nodes) == 0 {
		return nil, fmt.Errorf("no crawlbox is known on %s: %w", n.Display, deploy.ErrNotStageable)
	}
	body, err := m.askNode(ctx, addr, nodes, path, what)
	if err != nil {
		return nil, fmt.Errorf("ask the crawlbox there: %w", err)
	}
	return body, nil
}

// readStage reads what a node says, to its last line.
func readStage(body io.Reader, see func(swarm.Pulled)) error {
	lines := bound.NewStream(body, maxStageLine)
	for {
		var a stageAnswer
		if err := lines.Next(&a); err != nil {
			return fmt.Errorf("the node went silent: %w", err)
		}
		see(a.Pulled)
		switch {
		case a.Done:
			return nil
		case a.NoImage:
			return fmt.Errorf("%w: %.1000s", swarm.ErrNoImage, a.Error)
		case a.Error != "":
			return fmt.Errorf("%.1000s", a.Error)
		}
	}
}
