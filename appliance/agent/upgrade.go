package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// stateCall asks a node which program it runs, and how its last upgrade went.
var stateCall = Call[None, upgrade.State]{
	Route:     routeUpgradeState,
	MaxAnswer: 64 << 10,
	Failed:    http.StatusInternalServerError,
}

type offerAnswer struct {
	Error string `json:"error,omitempty"` // why it does not take the offer
}

// offerCall offers a node a program, which it fetches from a manager.
var offerCall = Call[upgrade.Offer, offerAnswer]{
	Route:      routeUpgrade,
	MaxRequest: 4 << 10,
	MaxAnswer:  64 << 10,
	Invalid:    "not an offer",
}

func (n node) upgradeState(context.Context, Peer, None) (upgrade.State, error) {
	return n.upgrade.State()
}

func (n node) takeOffer(_ context.Context, _ Peer, o upgrade.Offer) (answer offerAnswer, _ error) {
	if err := n.upgrade.Take(o); err != nil {
		answer.Error = err.Error()
	}
	return answer, nil
}

// UpgradeStates implements upgrade.Nodes.
func (p *Peers) UpgradeStates(ctx context.Context) ([]upgrade.Answer, error) {
	answers, err := stateCall.DoAll(ctx, p, None{})
	list := make([]upgrade.Answer, len(answers))
	for i, a := range answers {
		list[i] = upgrade.Answer{Node: a.Node, Self: p.IsSelf(a.Node), State: a.Resp, Err: tooOld(a.Err)}
		if a.Node.State != fleet.StateReady {
			list[i].Err = fmt.Errorf("%w; run the same command again when it is back", a.Err)
		}
	}
	return list, err
}

// UpgradeState implements upgrade.Nodes.
func (p *Peers) UpgradeState(ctx context.Context, n fleet.Node) (upgrade.State, error) {
	state, err := stateCall.Do(ctx, p, n, None{})
	return state, tooOld(err)
}

// OfferUpgrade implements upgrade.Nodes.
func (p *Peers) OfferUpgrade(ctx context.Context, n fleet.Node, o upgrade.Offer) error {
	answer, err := offerCall.Do(ctx, p, n, o)
	if err == nil && answer.Error != "" {
		err = errors.New(answer.Error)
	}
	return tooOld(err)
}

// tooOld explains why a node knows nothing of upgrades.
func tooOld(err error) error {
	var status *StatusError
	switch {
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return errors.New(upgrade.TooOld)
	case errors.Is(err, deploy.ErrNoAgent):
		return errors.New("no crawlbox runs there")
	}
	return err
}

// AnswerProgram gives nodes the program that is offered to them.
func AnswerProgram(offers *upgrade.Offers) Handler {
	return Raw(routeProgram+"{sum}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		program, err := offers.Open(r.PathValue("sum"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusGone)
			return
		}
		defer program.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, program) // the node checks what it got
	}))
}

// FetchProgram opens what was offered at the first manager that has it.
func FetchProgram(ctx context.Context, managers []Target, o upgrade.Offer) (io.ReadCloser, error) {
	var errs []error
	for _, m := range managers {
		program, err := m.send(ctx, routeProgram+o.SHA256, None{})
		if err == nil {
			return program, nil
		}
		errs = append(errs, fmt.Errorf("ask %s: %w", m.Addr, err))
	}
	return nil, errors.Join(errs...)
}
