package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Paths of an upgrade: a manager asks a node how it is and offers it a program, which
// the node fetches from a manager.
const (
	pathUpgradeState = "/v1/upgrade/state"
	pathUpgrade      = "/v1/upgrade"
	pathProgram      = "/v1/program/"
)

// upgradeAnswer is what a node answers to an offer.
type upgradeAnswer struct {
	Error string `json:"error,omitempty"` // why it does not take the offer
}

// upgradable makes this node one that can be upgraded.
func (g *ground) upgradable(fetch func(context.Context, upgrade.Offer) (io.ReadCloser, error)) *upgrade.Node {
	n := &upgrade.Node{Folder: upgrade.In(g.cfg.DataDir), Version: g.opts.Version, Fetch: fetch, Keep: g.opts.Keep, Log: g.log}
	return n.Init()
}

func upgradePart(n *upgrade.Node) lifecycle.Part {
	return lifecycle.Part{Name: "upgrade", Component: background(n.Run)}
}

// answerUpgradeState tells a manager how this node is.
func (w *Worker) answerUpgradeState(rw http.ResponseWriter, _ *http.Request) {
	state, err := w.upgrade.State()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(rw).Encode(state)
}

// answerUpgrade takes what a manager offers.
func (w *Worker) answerUpgrade(rw http.ResponseWriter, r *http.Request) {
	var o upgrade.Offer
	if err := bound.JSON(r.Body, 4<<10, &o); err != nil {
		http.Error(rw, "not an offer", http.StatusBadRequest)
		return
	}
	var answer upgradeAnswer
	if err := w.upgrade.Take(o); err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(rw).Encode(answer)
}

// fetchProgram gets what was offered from a manager that has it.
func (w *Worker) fetchProgram(ctx context.Context, o upgrade.Offer) (io.ReadCloser, error) {
	var errs []error
	for _, base := range w.bases() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+pathProgram+o.SHA256, nil)
		if err != nil {
			return nil, err
		}
		resp, err := w.client.Do(req)
		if err == nil && resp.StatusCode == http.StatusOK {
			return resp.Body, nil
		}
		if err == nil {
			resp.Body.Close()
			err = statusError(resp.StatusCode)
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", base, err))
	}
	return nil, errors.Join(errs...)
}

// UpgradeState implements upgrade.Nodes.
func (m *Manager) UpgradeState(ctx context.Context, n fleet.Node) (s upgrade.State, err error) {
	if n.Addr == m.addr.String() {
		return m.upgrade.State()
	}
	err = m.askUpgrade(ctx, n, pathUpgradeState, struct{}{}, &s)
	return s, err
}

// OfferUpgrade implements upgrade.Nodes.
func (m *Manager) OfferUpgrade(ctx context.Context, n fleet.Node, o upgrade.Offer) error {
	if n.Addr == m.addr.String() {
		return m.upgrade.Take(o)
	}
	var answer upgradeAnswer
	if err := m.askUpgrade(ctx, n, pathUpgrade, o, &answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return errors.New(answer.Error)
	}
	return nil
}

// askUpgrade asks another node and reads its answer.
func (m *Manager) askUpgrade(ctx context.Context, n fleet.Node, path string, what, answer any) error {
	body, err := m.tellNode(ctx, n, path, what)
	if err != nil {
		return tooOld(err)
	}
	defer body.Close()
	if err := bound.JSON(body, 64<<10, answer); err != nil {
		return fmt.Errorf("read the answer of %s: %w", n.Display, err)
	}
	return nil
}

// tooOld explains why a node knows nothing of upgrades.
func tooOld(err error) error {
	var status statusError
	switch {
	case errors.As(err, &status) && status == http.StatusNotFound:
		return errors.New(upgrade.TooOld)
	case errors.Is(err, deploy.ErrNotStageable):
		return errors.New("no crawlbox runs there")
	}
	return err
}
