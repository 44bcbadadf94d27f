package control

import (
	"context"
	"errors"
	"io"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
	"github.com/crawlbox/crawlbox/configs"
)

// Local answers api.Local.
type Local struct {
	cfg        configs.Config
	upgrade    *upgrade.Node
	neighbours func(context.Context) []doctor.Neighbour
	leave      func(ctx context.Context, force bool) error
	errs       Errors
}

// NewLocal returns what a node answers of itself. neighbours has it and others try each
// other's ports, and leave takes it out of the cluster.
func NewLocal(cfg configs.Config, u *upgrade.Node, neighbours func(context.Context) []doctor.Neighbour,
	leave func(ctx context.Context, force bool) error, errs Errors) *Local {
	return &Local{
		cfg:        cfg,
		upgrade:    u,
		neighbours: neighbours,
		leave:      leave,
		errs:       errs,
	}
}

func (l *Local) Config(context.Context) (string, error) {
	out, err := configs.Show(l.cfg)
	return string(out), l.errs.explain(err)
}

func (l *Local) Leave(ctx context.Context, force bool) error {
	return l.errs.explain(l.leave(ctx, force))
}

func (l *Local) Neighbours(ctx context.Context) ([]doctor.Neighbour, error) {
	return l.neighbours(ctx), nil
}

func (l *Local) UpgradeState(context.Context) (upgrade.State, error) {
	s, err := l.upgrade.State()
	return s, l.errs.explain(err)
}

// Upgrades answers api.Upgrades on the node that upgrades the others.
type Upgrades struct {
	node   *upgrade.Node
	offers *upgrade.Offers
	errs   Errors
}

// NewUpgrades returns the upgrades of the other nodes by what they are offered, and of
// this node.
func NewUpgrades(node *upgrade.Node, offers *upgrade.Offers, errs Errors) *Upgrades {
	return &Upgrades{node, offers, errs}
}

func (u *Upgrades) OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error) {
	o, err := u.offers.Put(ctx, o, program)
	if err != nil && !errors.Is(err, upgrade.ErrUnderWay) {
		err = api.Invalid("%s", err)
	}
	return o, u.errs.explain(err)
}

func (u *Upgrades) UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error) {
	steps, err := u.offers.Plan(ctx, o)
	return steps, u.errs.explain(err)
}

func (u *Upgrades) UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error {
	steps, err := u.UpgradePlan(ctx, o)
	if err != nil {
		return err
	}
	return u.errs.explain(u.offers.RollOut(ctx, steps, o, fn))
}

func (u *Upgrades) UpgradeSelf(_ context.Context, o upgrade.Offer) error {
	if err := u.node.Take(o); err != nil {
		return api.Conflict("this node: %s", err)
	}
	return nil
}
