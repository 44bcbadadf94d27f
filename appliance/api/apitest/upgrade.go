package apitest

import (
	"context"
	"io"
	"runtime"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// oldSum stands for the checksum of the program that all nodes run.
const oldSum = "0ld"

func (c *Cluster) UpgradeState(context.Context) (upgrade.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := upgrade.State{Version: "0.1.0", SHA256: oldSum, Arch: runtime.GOARCH, Managed: true}
	if c.upgraded.SHA256 != "" {
		s.Version, s.SHA256 = c.upgraded.Version, c.upgraded.SHA256
		s.Journal = upgrade.Journal{
			Phase: upgrade.Done,
			From:  upgrade.Offer{Version: "0.1.0", SHA256: oldSum},
			To:    c.upgraded,
		}
	}
	return s, nil
}

func (c *Cluster) OfferProgram(_ context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error) {
	if err := c.manager(); err != nil {
		return upgrade.Offer{}, err
	}
	defer c.mu.Unlock()
	n, err := io.Copy(io.Discard, program)
	if err == nil && n != o.Size {
		err = fail(api.CodeInvalid, "it has another size than the %d bytes that it should have", o.Size)
	}
	if err != nil {
		return upgrade.Offer{}, err
	}
	o.Version, o.Arch = "dev", runtime.GOARCH // as the program of the tests
	return o, nil
}

func (c *Cluster) UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error) {
	if err := c.manager(); err != nil {
		return nil, err
	}
	c.mu.Unlock()
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]upgrade.Answer, len(nodes))
	for i, n := range nodes {
		state := upgrade.State{Version: "0.1.0", SHA256: oldSum, Arch: runtime.GOARCH, Managed: n.Agent != nil}
		answers[i] = upgrade.Answer{Node: n, Self: n.Self, State: state}
		if n.State != fleet.StateReady {
			answers[i].Err = fail(api.CodeUnavailable, "it is %s; run the same command again when it is back", n.State)
		}
	}
	return upgrade.Plan(answers, o), nil
}

func (c *Cluster) UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error {
	steps, err := c.UpgradePlan(ctx, o)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.Leave != "" || s.Last {
			continue
		}
		if err := fn(upgrade.Event{Node: s.Node.Display, Text: "runs " + o.Version}); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) UpgradeSelf(_ context.Context, o upgrade.Offer) error {
	if err := c.manager(); err != nil {
		return err
	}
	defer c.mu.Unlock()
	c.upgraded = o
	return nil
}
