package node

import (
	"context"
	"io"

	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

func (b *backend) UpgradeState(context.Context) (upgrade.State, error) {
	s, err := b.upgradable.State()
	return s, b.explain(err)
}

func (b *backend) OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error) {
	if b.offers == nil {
		return upgrade.Offer{}, b.onlyOn("what upgrades the cluster")
	}
	o, err := b.offers.put(ctx, o, program)
	return o, b.explain(err)
}

func (b *backend) UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error) {
	if b.offers == nil {
		return nil, b.onlyOn("what upgrades the cluster")
	}
	steps, err := b.upgradePlan(ctx, o)
	return steps, b.explain(err)
}

func (b *backend) UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error {
	steps, err := b.UpgradePlan(ctx, o)
	if err != nil {
		return err
	}
	return b.explain(b.offers.bring(ctx, steps, o, fn))
}

func (b *backend) UpgradeSelf(_ context.Context, o upgrade.Offer) error {
	if b.offers == nil {
		return b.onlyOn("what upgrades the cluster")
	}
	if err := b.upgradable.Take(o); err != nil {
		return conflict("this node: %s", err)
	}
	return nil
}
