package node

import (
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/relay"
)

func (n *Node) about() api.Status {
	return api.Status{
		Version: n.opts.Version,
		Mode:    n.role,
		Node:    n.name,
		Addr:    n.addr.String(),
		Started: n.started,
	}
}

// swarmAreas are those that every node answers by its engine, as far as it manages the
// swarm.
func (n *Node) swarmAreas(view *control.View, first func() netip.Addr, roles control.Roles,
	errs control.Errors) []api.Area {
	return []api.Area{
		api.NodesArea(control.NewNodes(n.engine, view, first, roles, n.checkup.Moved, errs)),
		api.ServicesArea(control.NewServices(n.engine, view, errs)),
		api.LogsArea(control.NewLogs(n.engine, errs)),
	}
}

// reports are what the status of every node has of its parts, after those that are its role's.
func (n *Node) reports(own ...control.Report) []control.Report {
	return append(own,
		control.UpgradeReport(n.upgrade),
		control.MachineReport(n.checkup.Findings, n.checkup.Moved),
		control.PartReport(api.Bad, api.CertificateEnds, n.identity.Problem),
		control.PartReport(api.Warning, api.AuditLog, n.audit.Problem),
	)
}

// areas are those of the local API of the primary, which has all of them, and which of them other managers
// pass on to it.
func (p *primary) areas(defined *services.Controller) (own, passed []api.Area) {
	errs, a := p.errs(), p.authority
	numbers := history.NewNumbers(a.Numbers())
	builds := control.NewBuilds(p.engine, p.registry, numbers, p.cfg.Registry.Port, errs)
	changes := control.NewChanges(p.engine, p.runner, p.log, errs)
	deploys := control.NewDeploys(changes, p.sources, p.past, defined, builds)
	local := control.LocalRegistry(p.cfg.Registry.Port)
	sent := func() int64 { return p.pieces.Stats().Sent }
	reports := p.reports(append(p.queue.Reports,
		control.PartReport(api.Bad, api.StateBehind, a.Problem),
		control.PartReport(api.Warning, api.Restoring, p.restoring.Problem),
		control.BackupsReport(p.backups.State, p.cfg.File),
		control.DeploysReport(p.past, defined.Notes, p.queue.Told.Mark()),
		control.RegistryReport(p.registry, local, p.registryAddr(), p.cfg.RegistryDir(), sent),
	)...)
	view := control.NewView(p.engine, p.gossip.Members, control.Settle(defined.Notes))
	return append(p.swarmAreas(view, func() netip.Addr { return p.addr }, a, errs),
			api.OverviewArea(control.NewOverview(p.about(), p.engine, view, p.runner.Why, reports...)),
			api.LocalArea(control.NewLocal(p.cfg, p.upgrade, p.checkup.Neighbours, p.leave, errs)),
			api.TokensArea(p.joinTokens()),
			api.RemovalsArea(control.NewRemovals(p.engine, a.Remove, a.RemoveMember, errs)),
		), []api.Area{
			api.AccountsArea(control.NewAccounts(a.Accounts, p.registryAddr(), a.CA.PEM(), errs)),
			api.ChangesArea(deploys),
			api.DeploysArea(deploys),
			api.BuildsArea(builds),
			api.ImagesArea(control.NewImages(p.registry, p.engine, numbers, p.past.KeptDigests, p.peers.Holders, p.log,
				errs)),
			api.QueuesArea(p.queue.Queues),
			api.UpgradesArea(control.NewUpgrades(p.upgrade, p.offers, errs)),
			api.ProgramsArea(control.NewPrograms(p.engine, p.peers.Execute, errs)),
			api.BackupsArea(control.NewBackups(p.backups, copies.Nodes{Peers: p.peers}, errs)),
		}
}

// areas are those of the local API of a node that joined: what it has not is elsewhere.
func (m *joined) areas() []api.Area {
	errs := control.NewErrors(m.name, m.view.PrimaryName)
	elsewhere := control.NewElsewhere(errs)
	runner := deploy.NewRunner(m.engine, nil, nil, m.log)
	roles := control.Roles(control.SwarmRoles{Engine: m.engine})
	view := control.NewView(m.engine, m.gossip.Members, nil)
	reports := m.reports(
		control.PartReport(api.Bad, api.Removed, m.news.Refused),
		control.PartReport(api.Bad, api.StateBehind, m.authority.Problem),
		control.FollowsReport(m.view.Primary, m.view.PrimaryName),
		control.MirrorReport(m.mirror, control.LocalRegistry(m.cfg.Registry.Port), m.cfg.MirrorDir()),
	)
	own := []api.Area{
		api.OverviewArea(control.NewOverview(m.about(), m.engine, view, runner.Why, reports...)),
		api.LocalArea(control.NewLocal(m.cfg, m.upgrade, m.checkup.Neighbours, m.leave, errs)),
	}
	tokens, removals := api.TokensArea(elsewhere), api.RemovalsArea(elsewhere)
	far := append(elsewhere.Areas(), api.ChangesArea(control.NewChanges(m.engine, runner, m.log, errs)))
	if a := m.authority; a != nil {
		roles = a
		tokens = api.TokensArea(control.NewTokens(a.Tokens, a.CA, a.Managers, m.engine, errs))
		removals = api.RemovalsArea(control.NewRemovals(m.engine, a.Remove, a.RemoveMember, errs))
		to := relay.ToPrimary(m.view, m.toManagers)
		for i := range far {
			far[i] = far[i].Relayed(to)
		}
	}
	return slices.Concat(own, m.swarmAreas(view, m.view.Primary, roles, errs), far, []api.Area{tokens, removals})
}
