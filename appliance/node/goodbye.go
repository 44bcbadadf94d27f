package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/join"
)

// pathLeave is where a node that left tells a manager so.
const pathLeave = "/v1/leave"

// goodbyeTimeout bounds each question to a manager about leaving.
const goodbyeTimeout = 10 * time.Second

type goodbye struct {
	Node string `json:"node"` // Swarm's ID
}

// letGo ends the access of a node that left, and takes it off Swarm's list. Only
// the node itself can say so.
func (m *Manager) letGo(w http.ResponseWriter, r *http.Request) {
	var bye goodbye
	if err := bound.JSON(r.Body, 4<<10, &bye); err != nil {
		http.Error(w, "not a goodbye", http.StatusBadRequest)
		return
	}
	peer, ok := join.PeerFrom(r.Context())
	if !ok {
		http.Error(w, "only a node itself can take leave", http.StatusForbidden)
		return
	}
	// Its access ends in any case; what is left on Swarm's list can be removed later.
	err := errors.Join(m.takeOff(r, bye.Node, m.members.Swarm(peer.ID)), m.cutOff(r.Context(), peer.Role, peer.ID))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// takeOff takes a node off Swarm's list that has one of the IDs and the address
// of the request, and what it was there before it joined again.
func (m *Manager) takeOff(r *http.Request, ids ...string) error {
	nodes, err := m.engine.Nodes(r.Context())
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Role != fleet.RoleWorker || !sameHost(r.RemoteAddr, n.Addr) || n.State == fleet.StateReady && !slices.Contains(ids, n.ID) {
			continue
		}
		if err := m.engine.RemoveNode(r.Context(), n.ID, true); err != nil {
			return err
		}
		m.log.Info("node left", "name", n.Name, "addr", n.Addr)
	}
	return nil
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
	err = w.askManager(ctx, http.MethodPost, pathLeave, body)
	if errors.Is(err, join.ErrRemoved) {
		return nil // there is nothing left to take leave of
	}
	return err
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
		text, _ := bound.ReadAll(resp.Body, 1<<10)
		if err := join.Refused(text); err != nil {
			return err
		}
		return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
