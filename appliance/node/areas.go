package node

import (
	"context"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// about returns what a node is, for its status.
func (g *ground) about(role string) api.Status {
	return api.Status{Version: g.opts.Version, Mode: role, Node: g.name, Addr: g.addr.String(), Started: g.started}
}

// swarmAreas are those that every node answers by its engine, as far as it manages the
// swarm.
func (g *ground) swarmAreas(heard func() []gossip.Member, first func() netip.Addr, demoted func(context.Context) error, errs control.Errors) []api.Area {
	return []api.Area{
		api.NodesArea(control.NewNodes(g.engine, heard, first, demoted, errs)),
		api.ServicesArea(control.NewServices(g.engine, errs)),
		api.LogsArea(control.NewLogs(g.engine, errs)),
	}
}

func (m *Manager) errs() control.Errors {
	return control.NewErrors(m.name, func() string { return m.name })
}

// areas are those of the local API of the manager that has all of them.
func (m *Manager) areas(services *services.Controller) []api.Area {
	errs := m.errs()
	builds := control.NewBuilds(m.engine, m.registry, m.cfg.Registry.Port, errs)
	deploys := control.NewDeploys(control.NewChanges(m.engine, m.runner, m.log, errs), m.sources, m.past, services, builds)
	queues, queue := m.queues()
	local := control.LocalRegistry(m.cfg.Registry.Port)
	sent := func() int64 { return m.pieces.Stats().Sent }
	reports := append([]control.Report{
		control.Problems(services.Problems),
		control.UpgradeReport(m.upgrade),
		control.VersionsReport(m.gossip.Members),
		control.RegistryReport(m.registry, local, m.registryAddr(), m.cfg.RegistryDir(), sent),
	}, queue...)
	return append(m.swarmAreas(m.gossip.Members, func() netip.Addr { return m.addr }, m.demoted, errs),
		api.OverviewArea(control.NewOverview(m.about(fleet.RoleManager), m.engine, m.runner.Why, reports, m.runner.Failed)),
		api.LocalArea(control.NewLocal(m.cfg, m.upgrade, m.neighbours, m.leave, errs)),
		api.TokensArea(m.joinTokens()),
		api.AccountsArea(control.NewAccounts(m.accounts, m.registryAddr(), m.ca.PEM(), errs)),
		api.RemovalsArea(control.NewRemovals(m.engine, m.removeNode, m.removeMember, errs)),
		api.ChangesArea(deploys),
		api.DeploysArea(deploys),
		api.BuildsArea(builds),
		api.ImagesArea(control.NewImages(m.registry, m.engine, m.past.KeptDigests, m.peers.Holders, m.log, errs)),
		api.QueuesArea(queues),
		api.UpgradesArea(control.NewUpgrades(m.upgrade, m.offers, errs)),
	)
}

// joinTokens are what lets nodes in.
func (m *Manager) joinTokens() *control.Tokens {
	return control.NewTokens(m.tokens, m.ca, m.managers(), m.engine, m.errs())
}

// queues is what answers for the queue, and what the status has of it, if anything.
func (m *Manager) queues() (api.Queues, []control.Report) {
	if m.queue == nil {
		return control.QueueIsOff(m.cfg.File), nil
	}
	addr := netip.AddrPortFrom(m.addr, m.cfg.Queue.Port).String()
	queues := control.NewQueues(m.redis, m.queue.State, addr, m.cfg.Queue.TLS)
	return queues, []control.Report{queues.Report}
}

// areas are those of the local API of a node that joined: what it has not is elsewhere.
func (w *Worker) areas() []api.Area {
	errs := control.NewErrors(w.name, w.primary)
	elsewhere := control.NewElsewhere(errs)
	runner := deploy.NewRunner(w.engine, nil, nil, w.log)
	demoted := func(ctx context.Context) error {
		return w.engine.RotateJoinTokens(ctx, fleet.RoleWorker, fleet.RoleManager)
	}
	return append(w.swarmAreas(w.gossip.Members, w.first, demoted, errs),
		api.OverviewArea(control.NewOverview(w.about(w.role), w.engine, runner.Why, []control.Report{
			control.Problems(w.problems),
			control.UpgradeReport(w.upgrade),
			control.MirrorReport(w.mirror, control.LocalRegistry(w.cfg.Registry.Port), w.cfg.MirrorDir()),
		})),
		api.LocalArea(control.NewLocal(w.cfg, w.upgrade, w.neighbours, w.leave, errs)),
		api.ChangesArea(control.NewChanges(w.engine, runner, w.log, errs)),
		api.TokensArea(elsewhere),
		api.AccountsArea(elsewhere),
		api.RemovalsArea(elsewhere),
		api.DeploysArea(elsewhere),
		api.BuildsArea(elsewhere),
		api.ImagesArea(elsewhere),
		api.QueuesArea(elsewhere),
		api.UpgradesArea(elsewhere),
	)
}
