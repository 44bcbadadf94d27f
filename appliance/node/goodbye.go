package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
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
	// Only what is bound to it, never what else is at its address: behind NAT its
	// siblings are.
	m.around.forget() // it may have come and gone within a moment
	m.joins.Claim(r, bye.Node)
	member, ok := m.members.Get(peer.ID)
	if !ok {
		http.Error(w, "this node is not of the cluster", http.StatusForbidden)
		return
	}
	if err := m.joins.Remove(r.Context(), member.Bound, peer.ID); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	m.log.Info("node left", "name", member.Name, "addr", member.Remote)
	w.WriteHeader(http.StatusNoContent)
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
