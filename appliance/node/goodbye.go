package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/crawlbox/crawlbox/appliance/fleet"
)

// pathLeave is where a node that left tells a manager so.
const pathLeave = "/v1/leave"

// goodbyeTimeout bounds each question to a manager about leaving.
const goodbyeTimeout = 10 * time.Second

type goodbye struct {
	Node string `json:"node"` // Swarm's ID
}

// letGo takes a node that left off Swarm's list. Only the machine at the node's
// own address can say so, and only for a worker.
func (m *Manager) letGo(w http.ResponseWriter, r *http.Request) {
	var bye goodbye
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&bye); err != nil {
		http.Error(w, "not a goodbye", http.StatusBadRequest)
		return
	}
	nodes, err := m.engine.Nodes(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	for _, n := range nodes {
		// What a node was before it joined again is down, and goes with it.
		former := n.State != fleet.StateReady && n.Role == fleet.RoleWorker && sameHost(r.RemoteAddr, n.Addr)
		if n.ID != bye.Node && !former {
			continue
		}
		if n.Role != fleet.RoleWorker || !sameHost(r.RemoteAddr, n.Addr) {
			http.Error(w, "only a worker itself can take leave", http.StatusForbidden)
			return
		}
		if err := m.engine.RemoveNode(r.Context(), n.ID, true); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		m.log.Info("node left", "name", n.Name, "addr", n.Addr)
	}
	w.WriteHeader(http.StatusNoContent)
}

func sameHost(remote, addr string) bool {
	r, errR := netip.ParseAddrPort(remote)
	a, errA := netip.ParseAddr(addr)
	return errR == nil && errA == nil && r.Addr().Unmap() == a.Unmap()
}

// reachManager finds out whether a manager answers.
func (w *Worker) reachManager(ctx context.Context) error {
	return w.askManager(ctx, http.MethodGet, "/v1/time", nil)
}

func (w *Worker) sayGoodbye(ctx context.Context, swarmID string) error {
	body, err := json.Marshal(goodbye{Node: swarmID})
	if err != nil {
		return err
	}
	return w.askManager(ctx, http.MethodPost, pathLeave, body)
}

func (w *Worker) askManager(ctx context.Context, method, path string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, goodbyeTimeout)
	defer cancel()
	err := fmt.Errorf("no manager is known")
	for _, base := range w.bases() {
		if err = w.askOne(ctx, method, base+path, body); err == nil {
			return nil
		}
	}
	return err
}

func (w *Worker) askOne(ctx context.Context, method, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
