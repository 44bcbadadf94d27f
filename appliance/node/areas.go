package node

import (
	"net/netip"
	"slices"

	"github.com/crawlbox/crawlbox/appliance/agent/copies"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
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
func (n *Node) swarmAreas(view *control.View, home func() netip.Addr, roles control.Roles,
	errs control.Errors) []api.Area {
	return []api.Area{
		api.NodesArea(control.NewNodes(n.engine, view, home, roles, n.checkup.Moved, errs)),
		api.ServicesArea(control.NewServices(n.engine, view, errs)),
		api.LogsArea(control.NewLogs(n.engine, n.logs, errs)),
	}
}

// reports are what the status of every node has of its parts, after those that are its role's.
func (n *Node) reports(own ...control.Report) []control.Report {
	return append(own,
		control.UpgradeReport(n.upgrade),
		control.MachineReport(n.checkup.Findings, n.checkup.Moved),
		control.PartReport(api.Bad, api.CertificateEnds, n.identity.Problem),
		control.PartReport(api.Warning, api.AuditLog, n.audit.Problem),
		control.PartReport(api.Warning, api.QueueFront, n.front.Problem),
	)
}

// areas are those of the local API of a manager: what each answers by itself, what the one that leads does, and what
// the home of the queue does.
func (m *manager) areas() (own, led, atHome []api.Area) {
	errs, a := m.errs(), m.authority
	numbers := history.NewNumbers(a.Numbers())
	builds := control.NewBuilds(m.engine, m.images.Registry, numbers, m.cfg.Registry.Port, errs)
	changes := control.NewChanges(m.engine, m.runner, m.log, errs)
	deploys := control.NewDeploys(changes, m.leading.Sources, m.past, m.leading.Services, builds, m.leading.Scaled)
	view := control.NewView(m.engine, m.gossip.Members, control.Settle(m.leading.Services.Notes, a.Replicas))
	return append(m.swarmAreas(view, a.HomeOfQueue, a, errs),
			api.OverviewArea(m.leading.Sees(control.NewOverview(m.about(), m.engine, view, m.runner.Why, m.told()...))),
			api.LocalArea(control.NewLocal(m.cfg, m.upgrade, m.checkup.Neighbours, m.leave, errs)),
			api.TokensArea(m.joinTokens(a)),
			api.RemovalsArea(control.NewRemovals(m.engine, a.Remove, a.RemoveMember, errs)),
			api.BuildsArea(builds),
			api.ImagesArea(control.NewImages(m.images.Registry, m.engine, numbers, m.past.KeptImages, m.images.GC,
				m.peers.Holders, m.log, errs)),
			api.AccountsArea(control.NewAccounts(a.Accounts, m.registryAddr(), a.CA.PEM(), errs)),
			api.ProgramsArea(control.NewPrograms(m.engine, m.peers.Execute, errs)),
			api.RunsArea(m.leading.Runs()), api.SchedulesArea(m.leading.Schedules()),
		), []api.Area{
			api.ChangesArea(deploys),
			api.DeploysArea(deploys),
			api.UpgradesArea(control.NewUpgrades(m.upgrade, m.offers, errs)), api.AlertsArea(m.leading.Alerts()),
			api.BackupsArea(control.NewBackups(m.backups, copies.Nodes{Peers: m.peers}, errs)),
		}, []api.Area{api.QueuesArea(m.queue.Queues)}
}

// told is what the status of a manager has of its parts.
func (m *manager) told() []control.Report {
	reports := append(slices.Clone(m.queue.Reports),
		control.PartReport(api.Bad, api.StateBehind, m.authority.Problem),
		control.QueueHomeReport(m.authority.HomeOfQueue), m.leading.Report,
		control.ConfigReport(m.leading.Services.Notes, m.queue.Marks),
		control.DeploysReport(m.past).While(m.leading.Services.Leads),
		control.PartReport(api.Warning, api.Restoring, m.restoring.Problem),
		control.BackupsReport(m.backups.State, m.cfg.File).While(m.leading.Services.Leads),
	)
	reports = append(reports, m.images.Reports(m.cfg, m.registryAddr())...)
	return m.reports(reports...)
}

// areas are those of the local API of a node that has not the cluster's state: what it has not is elsewhere.
func (m *joined) areas() []api.Area {
	errs := control.NewErrors(m.name, m.view.ManagerName)
	elsewhere := control.NewElsewhere(errs)
	runner := deploy.NewRunner(m.engine, nil, nil, m.log)
	roles := control.SwarmRoles{Engine: m.engine}
	view := control.NewView(m.engine, m.gossip.Members, nil)
	reports := m.reports(
		control.PartReport(api.Bad, api.Removed, m.news.Refused),
		control.FollowsReport(m.view.Manager, m.view.ManagerName),
		control.MirrorReport(m.mirror.Mirror, control.LocalRegistry(m.cfg.Registry.Port), m.cfg.MirrorDir()),
	)
	return slices.Concat([]api.Area{
		api.OverviewArea(control.NewOverview(m.about(), m.engine, view, runner.Why, reports...)),
		api.LocalArea(control.NewLocal(m.cfg, m.upgrade, m.checkup.Neighbours, m.leave, errs)),
		api.ChangesArea(control.NewChanges(m.engine, runner, m.log, errs)),
		api.TokensArea(elsewhere), api.RemovalsArea(elsewhere),
	}, m.swarmAreas(view, func() netip.Addr { return netip.Addr{} }, roles, errs), elsewhere.Areas())
}
