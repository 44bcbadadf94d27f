package control

import (
	"context"
	"errors"
	"io"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func (b *Backend) UpgradeState(context.Context) (upgrade.State, error) {
	s, err := b.Upgradable.State()
	return s, b.explain(err)
}

func (b *Backend) OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error) {
	if b.Offers == nil {
		return upgrade.Offer{}, b.onlyOn("what upgrades the cluster")
	}
	o, err := b.Offers.Put(ctx, o, program)
	if err != nil && !errors.Is(err, upgrade.ErrUnderWay) {
		err = api.Invalid("%s", err)
	}
	return o, b.explain(err)
}

func (b *Backend) UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error) {
	if b.Offers == nil {
		return nil, b.onlyOn("what upgrades the cluster")
	}
	steps, err := b.Offers.Plan(ctx, o)
	return steps, b.explain(err)
}

func (b *Backend) UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error {
	steps, err := b.UpgradePlan(ctx, o)
	if err != nil {
		return err
	}
	return b.explain(b.Offers.Bring(ctx, steps, o, fn))
}

func (b *Backend) UpgradeSelf(_ context.Context, o upgrade.Offer) error {
	if b.Offers == nil {
		return b.onlyOn("what upgrades the cluster")
	}
	if err := b.Upgradable.Take(o); err != nil {
		return api.Conflict("this node: %s", err)
	}
	return nil
}
