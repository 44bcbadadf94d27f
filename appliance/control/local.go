package control

import (
	"context"

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
func NewLocal(cfg configs.Config, u *upgrade.Node, neighbours func(context.Context) []doctor.Neighbour, leave func(ctx context.Context, force bool) error, errs Errors) *Local {
	return &Local{cfg: cfg, upgrade: u, neighbours: neighbours, leave: leave, errs: errs}
}

// Config implements api.Local.
func (l *Local) Config(context.Context) (string, error) {
	out, err := configs.Show(l.cfg)
	return string(out), l.errs.explain(err)
}

// Leave implements api.Local.
func (l *Local) Leave(ctx context.Context, force bool) error {
	return l.errs.explain(l.leave(ctx, force))
}

// Neighbours implements api.Local.
func (l *Local) Neighbours(ctx context.Context) ([]doctor.Neighbour, error) {
	return l.neighbours(ctx), nil
}

// UpgradeState implements api.Local.
func (l *Local) UpgradeState(context.Context) (upgrade.State, error) {
	s, err := l.upgrade.State()
	return s, l.errs.explain(err)
}
