// Package leading puts together what runs on one manager at a time, the one that leads the cluster: the services of the
// config file that is in force, services that follow a queue, the runs of schedules, the ends of runs, clean-up of
// images, deploys of managers that are gone, backups, alerts, and what is left of removals. It is made anew each time,
// so that nothing is remembered of the last.
package leading

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/peaks"
	told "github.com/crawlbox/crawlbox/appliance/alerts"
	"github.com/crawlbox/crawlbox/appliance/alerts/channels"
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/authority"
	"github.com/crawlbox/crawlbox/appliance/cluster/leader"
	"github.com/crawlbox/crawlbox/appliance/control"
	controlalerts "github.com/crawlbox/crawlbox/appliance/control/alerts"
	"github.com/crawlbox/crawlbox/appliance/control/problems"
	controlruns "github.com/crawlbox/crawlbox/appliance/control/runs"
	controlschedules "github.com/crawlbox/crawlbox/appliance/control/schedules"
	"github.com/crawlbox/crawlbox/appliance/controller"
	"github.com/crawlbox/crawlbox/appliance/controller/alerts"
	"github.com/crawlbox/crawlbox/appliance/controller/backups"
	"github.com/crawlbox/crawlbox/appliance/controller/imagegc"
	"github.com/crawlbox/crawlbox/appliance/controller/readmit"
	runskeeper "github.com/crawlbox/crawlbox/appliance/controller/runs"
	"github.com/crawlbox/crawlbox/appliance/controller/scaling"
	"github.com/crawlbox/crawlbox/appliance/controller/schedules"
	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/image"
	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/node/queue"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/appliance/relay"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/runs/starter"
	"github.com/crawlbox/crawlbox/appliance/schedule"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/valkey"
	valkeyservices "github.com/crawlbox/crawlbox/appliance/valkey/services"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Manager is one that may lead, and what it does so with. Init has to be called before its methods.
type Manager struct {
	Created   bool       // the cluster, or restored it
	Name      string     // for people
	Addr      netip.Addr // that others reach it at
	Config    configs.Config
	Reload    func() (configs.Config, error) // reads the config file again
	Authority *authority.Authority
	Engine    *swarm.Engine
	Sources   *deploy.Sources
	Runner    *deploy.Runner
	Past      *history.Store
	Registry  http.Handler // the cluster's, as this manager has it
	Peers     *agent.Peers
	Backups   *backups.Controller
	Queue     func(context.Context) error // runs where this manager leads, for the queue, each time until ctx ends
	View      *agent.View
	Members   func() []gossip.Member
	Started   time.Time
	Log       *slog.Logger

	Services *services.Current // made by Init
	runs     *runs.Store
	starter  *starter.Starter // of runs
	planned  *schedule.Store
	id       string        // of its certificate
	watch    *leader.Watch // of who leads
	file     *services.File
	unused   atomic.Pointer[controller.Loop]
	valkey   *valkey.Status // of the queue's
	scaling  atomic.Pointer[scaling.Controller]
	alerts   *told.Store
	sender   *channels.Sender
	overview *control.Overview
	telling  atomic.Pointer[alerts.Controller]
}

// Sees has alerts tell of what a manager sees. It is to be called before Areas.
func (m *Manager) Sees(o *control.Overview) api.Overview {
	m.overview = o
	return o
}

// Init makes what is the same whether it leads or not.
func (m *Manager) Init() (err error) {
	m.id = m.Authority.Identity.Node.ID
	m.watch = leader.New(leader.Options{
		Self:     m.Addr,
		Nodes:    m.Engine.Nodes,
		Replicas: m.Authority.Replicas,
		Gone:     m.View.IsGone,
	})
	m.file, err = services.NewFile(m.Authority.Services(), services.Owner{
		ID:       m.id,
		Name:     m.Name,
		Created:  m.Created,
		First:    func() bool { return m.Created || !m.Authority.HomeOfQueue().IsValid() },
		Managers: m.Authority.ManagerIDs,
	}, m.Config, m.Reload, m.Log)
	if err != nil {
		return err
	}
	m.file.Sync = m.Authority.Sync
	m.Services = services.NewCurrent(m.file)
	m.runs, m.planned = runs.NewStore(m.Authority.Runs()), schedule.NewStore(m.Authority.Schedules())
	m.alerts = told.NewStore(m.Authority.Alerts())
	m.sender = channels.New(m.Name)
	m.starter = &starter.Starter{
		Engine:  m.Engine,
		Sources: m.Sources,
		Store:   m.runs,
		Queue:   m.Runner.Queue,
		Program: func(ctx context.Context, pinned string) (entrypoint, command []string) {
			return image.Program(ctx, m.Registry, pinned)
		},
	}
	m.valkey = &valkey.Status{Store: m.Authority.Valkey()}
	m.Runner.As(m.id)
	m.Runner.OnEnd(m.Services.Again)
	m.Runner.OnEnd(func() {
		if unused := m.unused.Load(); unused != nil {
			unused.Again()
		}
	})
	return nil
}

// Areas returns areas of the API that the manager which leads answers, and those that the home of the queue does where
// it has the items: as users of this manager ask for them, and as other managers pass calls on. client speaks to
// managers only.
func (m *Manager) Areas(led, atHome []api.Area, client *http.Client) (local, passed []api.Area) {
	to := relay.New(m.View, client)
	leads := to.ToLeader(func() netip.Addr { addr, _ := m.watch.Leader(); return addr }, m.Services.Leads)
	leader := func() (api.Pass, bool) {
		pass, known := leads()
		if pass != nil {
			_ = m.file.Read() // what is in it now is meant; the status says if it is broken
		}
		return pass, known
	}
	home := to.To(func() netip.Addr {
		if queue.Apart(m.Authority.Queue()) {
			return netip.Addr{}
		}
		return m.Authority.HomeOfQueue()
	})
	for _, area := range led {
		local, passed = append(local, area.Relayed(leader)), append(passed, area.While(m.Services.Leads))
	}
	for _, area := range atHome {
		local, passed = append(local, area.Relayed(home)), append(passed, area)
	}
	return local, passed
}

// Runs returns what begins runs and knows of them, on each manager.
func (m *Manager) Runs() api.Runs {
	errs := control.NewErrors(m.Name, m.View.ManagerName)
	return controlruns.New(m.Engine, m.starter, m.runs, errs.Explain)
}

// Schedules returns what knows schedules, on each manager.
func (m *Manager) Schedules() api.Schedules {
	errs := control.NewErrors(m.Name, m.View.ManagerName)
	return controlschedules.New(m.Engine, m.planned, m.runs.Has, errs.Explain)
}

func (m *Manager) alertsConfig() (configs.Alerts, error) {
	cfg, _, err := m.file.Config()
	return cfg.Alerts, err
}

// Alerts returns what people ask of alerts, on each manager.
func (m *Manager) Alerts() *controlalerts.Alerts {
	errs := control.NewErrors(m.Name, m.View.ManagerName)
	return &controlalerts.Alerts{
		Store:  m.alerts,
		Config: m.alertsConfig,
		Send:   m.sender.Send,
		Check:  channels.Check,
		Called: func() (at time.Time, why string) {
			if telling := m.telling.Load(); telling != nil {
				called := telling.Called()
				return called.At, called.Why
			}
			return at, ""
		},
		Explain: errs.Explain,
	}
}

// tellAlerts returns what tells them, by what the queue has.
func (m *Manager) tellAlerts(items *backlog.Reader) *alerts.Controller {
	q := &control.Queues{Reach: func() (at control.Reached, err error) {
		at.Client, at.Leases, err = items.Connect()
		return at, err
	}}
	facts := controlalerts.NewFacts(controlalerts.Sources{
		Look:      m.overview.Look,
		Runs:      m.runs,
		Schedules: m.planned.List,
		Backups:   m.Backups.State,
		Queue: func(ctx context.Context) ([]api.Items, error) {
			if queue.Reached(m.Authority.Queue()).URL == "" {
				return nil, nil
			}
			return q.QueueLen(ctx, "")
		},
		Since: time.Now(),
		Now:   time.Now,
	})
	return alerts.New(alerts.Options{
		Store:  m.alerts,
		Config: m.alertsConfig,
		See:    facts.See,
		Send:   m.sender.Send,
		Call:   m.sender.Call,
		Now:    time.Now,
		Log:    m.Log,
	})
}

// Report reports where the queue's Valkey is, and how, and which schedules begin no runs.
func (m *Manager) Report(ctx context.Context, st *api.Status, seen *problems.Seen) {
	control.PartReport(api.Bad, api.QueueDown, m.valkey.Bad)(ctx, st, seen)
	control.PartReport(api.Warning, api.QueueAlone, m.valkey.Warn)(ctx, st, seen)
	control.PartReport(api.Warning, api.ScheduleHeld, controlschedules.Problem(m.planned))(ctx, st, seen)
	control.PartReport(api.Warning, api.AlertsHeld, m.Alerts().Problem)(ctx, st, seen)
	seen.QueueApart = queue.Apart(m.Authority.Queue())
	if st.Queue != nil {
		st.Queue.Primary, st.Queue.Replica = m.valkey.Where()
	}
}

// Parts run on each manager, whether it leads or not.
func (m *Manager) Parts() []lifecycle.Part {
	own := func(e valkey.Engine) bool { return e.Addr.Addr() == m.Addr }
	guard := valkey.Guard{Store: m.Authority.Valkey(), Own: own, Log: m.Log}
	return []lifecycle.Part{
		m.file.Part(),
		lifecycle.Background("leader", m.watch.Run),
		lifecycle.Background("guard of the queue", guard.Run),
		m.watch.Part(m.Log, m.lead),
		lifecycle.Background("deploys", func(ctx context.Context) error { return m.Runner.Resume(ctx, m.isOwn) }),
	}
}

// lead makes the parts of the manager that leads. ended is to be called when they have stopped.
func (m *Manager) lead() (parts []lifecycle.Part, ended func()) {
	away := m.Authority.ServicesAway()
	defined := services.New(m.Engine, m.Sources, m.Runner, m.Past, away, m.file, m.Log)
	unused := imagegc.New(m.Engine, m.Past, m.Peers.Prune, m.Log)
	m.unused.Store(unused)
	engines := valkey.New(m.Authority.Valkey(), valkeyservices.New(m.Engine, m.Sources, m.Log), m.Log)
	engines.Tell = func(d valkey.Document) error { return queue.Point(m.Authority.Queue(), d) }
	m.valkey.Lead(engines)
	done := m.Services.Lead(defined)
	items := backlog.New(func() backlog.Queue { return queue.Reached(m.Authority.Queue()) })
	scaled := scaling.New(m.Engine, items, m.Runner, m.Log)
	m.scaling.Store(scaled)
	agents := func(node string) *fleet.Agent { return control.AgentOn(node, m.Members()) }
	telling := m.tellAlerts(items)
	m.telling.Store(telling)
	return append(telling.Parts(), []lifecycle.Part{
		lifecycle.Background("home of the queue", m.Queue),
		lifecycle.Background("keys", m.Authority.Run),
		lifecycle.Background("deploys of others", func(ctx context.Context) error {
			return m.Runner.Resume(ctx, func(e history.Entry) bool { return !m.isOwn(e) && m.isGone(e.Manager) })
		}),
		defined.Part(),
		unused.Part(),
		m.Backups.Part(),
		readmit.New(m.Engine, m.Runner, agents, m.Log).Part(),
		lifecycle.Background("Valkey of the queue", engines.Run),
		scaled.Part(),
		runskeeper.New(m.Engine, m.runs, m.Runner.Why, peaks.Nodes{Peers: m.Peers}.Of, m.Log).Part(),
		schedules.New(schedules.Options{
			Store:   m.planned,
			Engine:  m.Engine,
			Starter: m.starter,
			Ended:   m.runs.Has,
			Sync:    m.Authority.Sync,
			Defined: func() ([]schedule.Schedule, error) {
				cfg, _, err := m.file.Config()
				return schedule.FromConfig(cfg.Schedules), err
			},
			Now: time.Now,
			Log: m.Log,
		}).Part(),
	}...), func() { m.valkey.Lead(nil); m.scaling.Store(nil); m.telling.Store(nil); done(); items.Close() }
}

// Scaled returns what is known of each service that follows a queue, and reports whether this manager leads.
func (m *Manager) Scaled() (list []fleet.Scaling, leads bool) {
	if now := m.scaling.Load(); now != nil {
		return now.States(), true
	}
	return nil, false
}

// isOwn reports whether this manager makes a change.
func (m *Manager) isOwn(e history.Entry) bool { return e.Manager == m.id }

// unheard is how long after the start a manager of which nothing was heard may be there for all that.
const unheard = 30 * time.Second

// isGone reports whether a manager, by the ID of its certificate, is at none of the changes any more that it began.
// Those of versions before did not say which they were.
func (m *Manager) isGone(id string) bool {
	heard := false
	for _, member := range m.Members() {
		if member.ID == id && member.State == gossip.Alive {
			return false
		}
		heard = heard || member.ID == id
	}
	return heard || id == "" || time.Since(m.Started) > unheard
}
