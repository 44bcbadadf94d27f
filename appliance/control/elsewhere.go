package control

import (
	"context"
	"io"
	"net/netip"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/cluster/token"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/runs"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Elsewhere answers for the areas of the API that live on another node: with the error
// that names the node, for every call of theirs.
type Elsewhere struct {
	Errors
	NoQueue
}

var (
	_ api.Tokens   = Elsewhere{}
	_ api.Accounts = Elsewhere{}
	_ api.Removals = Elsewhere{}
	_ api.Backups  = Elsewhere{}
	_ api.Deploys  = Elsewhere{}
	_ api.Builds   = Elsewhere{}
	_ api.Images   = Elsewhere{}
	_ api.Queues   = Elsewhere{}
	_ api.Upgrades = Elsewhere{}
	_ api.Programs = Elsewhere{}
	_ api.Runs     = Elsewhere{}

	_ api.Schedules = Elsewhere{}
	_ api.Alerts    = Elsewhere{}
)

// NewElsewhere returns what answers for the areas of the manager that errs names.
func NewElsewhere(errs Errors) Elsewhere {
	return Elsewhere{errs, func() error { return errs.onlyOn("the queue") }}
}

// Areas returns those that managers with the cluster's state answer.
func (e Elsewhere) Areas() []api.Area {
	return []api.Area{
		api.BuildsArea(e),
		api.ImagesArea(e),
		api.AccountsArea(e),
		api.DeploysArea(e),
		api.QueuesArea(e),
		api.UpgradesArea(e),
		api.ProgramsArea(e),
		api.BackupsArea(e),
		api.RunsArea(e),
		api.SchedulesArea(e),
		api.AlertsArea(e),
	}
}

func (e Elsewhere) ca() error       { return e.onlyOn("the cluster's CA") }
func (e Elsewhere) registry() error { return e.onlyOn("the registry") }
func (e Elsewhere) history() error  { return e.onlyOn("the history of deploys") }
func (e Elsewhere) config() error   { return e.onlyOn("the config file with the services") }
func (e Elsewhere) upgrade() error  { return e.onlyOn("what upgrades the cluster") }

// deploy returns the error of a call that brings a service to a version: of the config file, where it
// is defined there.
func (e Elsewhere) deploy(req api.DeployRequest) error {
	switch {
	case req.Defined:
		return e.config()
	case req.Image == "": // what is to be built is here
		return e.onlyOn("what builds and deploys directories")
	}
	return e.onlyOn("what deploys")
}

func (e Elsewhere) Backups(context.Context) ([]api.BackupHolder, error) { return nil, e.backups() }
func (e Elsewhere) BackUp(context.Context) error                        { return e.backups() }
func (e Elsewhere) backups() error                                      { return e.onlyOn("what backs the cluster up") }

func (e Elsewhere) runs() error { return e.onlyOn("what begins runs and keeps their records") }
func (e Elsewhere) Begin(context.Context, api.RunRequest) (runs.Record, error) {
	return runs.Record{}, e.runs()
}
func (e Elsewhere) Rerun(context.Context, string) (runs.Record, error) {
	return runs.Record{}, e.runs()
}
func (e Elsewhere) Run(context.Context, string) (runs.Record, error)          { return runs.Record{}, e.runs() }
func (e Elsewhere) Runs(context.Context, api.RunQuery) ([]runs.Record, error) { return nil, e.runs() }
func (e Elsewhere) StopRun(context.Context, string) error                     { return e.runs() }
func (e Elsewhere) RemoveRun(context.Context, string) error                   { return e.runs() }

func (e Elsewhere) schedules() error { return e.onlyOn("what keeps schedules") }
func (e Elsewhere) Schedules(context.Context) ([]api.Schedule, error) {
	return nil, e.schedules()
}
func (e Elsewhere) AddSchedule(context.Context, api.ScheduleRequest) (api.Schedule, error) {
	return api.Schedule{}, e.schedules()
}
func (e Elsewhere) RemoveSchedule(context.Context, string) error { return e.schedules() }
func (e Elsewhere) PauseSchedule(context.Context, string) error  { return e.schedules() }
func (e Elsewhere) ResumeSchedule(context.Context, string) error { return e.schedules() }

func (e Elsewhere) alerts() error { return e.onlyOn("what tells alerts") }
func (e Elsewhere) Alerts(context.Context) (api.AlertsSeen, error) {
	return api.AlertsSeen{}, e.alerts()
}
func (e Elsewhere) TestAlerts(context.Context, string) ([]api.AlertTest, error) {
	return nil, e.alerts()
}
func (e Elsewhere) SilenceAlerts(context.Context, api.SilenceRequest) error { return e.alerts() }
func (e Elsewhere) UnsilenceAlerts(context.Context, string) error           { return e.alerts() }

func (e Elsewhere) CA(context.Context) (string, error) { return "", e.ca() }
func (e Elsewhere) Token(context.Context, string) (api.Token, error) {
	return api.Token{}, e.ca()
}
func (e Elsewhere) NewToken(context.Context, api.TokenRequest) (api.Token, error) {
	return api.Token{}, e.ca()
}
func (e Elsewhere) Tokens(context.Context) ([]token.Info, error)              { return nil, e.ca() }
func (e Elsewhere) RevokeToken(context.Context, string) error                 { return e.ca() }
func (e Elsewhere) RotateTokens(context.Context, string) ([]api.Token, error) { return nil, e.ca() }
func (e Elsewhere) RemoveNode(context.Context, string, bool) error            { return e.ca() }
func (e Elsewhere) RegistryLogin(context.Context, string) (api.RegistryLogin, error) {
	return api.RegistryLogin{}, e.registry()
}
func (e Elsewhere) RegistryAccounts(context.Context) ([]api.RegistryAccount, error) {
	return nil, e.registry()
}
func (e Elsewhere) RegistryLogout(context.Context, string) error        { return e.registry() }
func (e Elsewhere) Images(context.Context, bool) ([]fleet.Image, error) { return nil, e.registry() }
func (e Elsewhere) RemoveImage(context.Context, string, bool) error     { return e.registry() }
func (e Elsewhere) CollectImages(context.Context) (api.GCReport, error) {
	return api.GCReport{}, e.registry()
}
func (e Elsewhere) Build(context.Context, api.BuildRequest, io.Reader, func(api.BuildEvent) error) error {
	return e.registry()
}
func (e Elsewhere) Push(context.Context, api.PushRequest, func(api.BuildEvent) error) error {
	return e.registry()
}
func (e Elsewhere) Deploy(_ context.Context, req api.DeployRequest, _ func(deploy.Progress) error) error {
	return e.deploy(req)
}
func (e Elsewhere) DeployPlan(_ context.Context, req api.DeployRequest) (deploy.Plan, error) {
	return deploy.Plan{}, e.deploy(req)
}
func (e Elsewhere) Definitions(context.Context) ([]api.Definition, error) { return nil, e.config() }
func (e Elsewhere) Rollback(context.Context, api.RollbackRequest, func(deploy.Progress) error) error {
	return e.history()
}
func (e Elsewhere) History(context.Context, string) ([]history.Entry, error) { return nil, e.history() }
func (e Elsewhere) Source(context.Context, string) (history.Source, error) {
	return history.Source{}, e.history()
}
func (e Elsewhere) Restart(context.Context, string, func(deploy.Progress) error) error {
	return e.onlyOn("what brings images to the nodes")
}
func (e Elsewhere) RestartPlan(context.Context, string) (deploy.Plan, error) {
	return deploy.Plan{}, e.onlyOn("what brings images to the nodes")
}
func (e Elsewhere) OfferProgram(context.Context, upgrade.Offer, io.Reader) (upgrade.Offer, error) {
	return upgrade.Offer{}, e.upgrade()
}
func (e Elsewhere) UpgradePlan(context.Context, upgrade.Offer) ([]upgrade.Step, error) {
	return nil, e.upgrade()
}
func (e Elsewhere) UpgradeNodes(context.Context, upgrade.Offer, func(upgrade.Event) error) error {
	return e.upgrade()
}
func (e Elsewhere) UpgradeSelf(context.Context, upgrade.Offer) error { return e.upgrade() }

// NoQueue answers for a queue that is not here, with the error that says why.
type NoQueue func() error

// QueueAway returns what answers for a queue that has its home on another manager, at the address that home
// returns; not valid: that manager is none any longer.
func QueueAway(home func() netip.Addr, errs Errors) NoQueue {
	return func() error {
		if home().IsValid() {
			return errs.onlyOn("the queue")
		}
		return api.Conflict("the manager that had the cluster's queue is gone, and the queue with it; give the " +
			"services a Redis of your own, see `crawlbox help queue`")
	}
}

// QueueIsOff returns what answers for a queue that the config file does not turn on.
func QueueIsOff(file string) NoQueue {
	return func() error {
		return api.Conflict("the queue is off; put `queue: {}` into %s and start crawlbox again", file)
	}
}

func (no NoQueue) QueueAddress(context.Context) (api.QueueAddress, error) {
	return api.QueueAddress{}, no()
}
func (no NoQueue) QueueLen(context.Context, string) ([]api.Items, error) { return nil, no() }
func (no NoQueue) QueueFlow(context.Context, []string, int) (api.QueueFlow, error) {
	return api.QueueFlow{}, no()
}
func (no NoQueue) QueuePeek(context.Context, string, int) (api.Items, error) {
	return api.Items{}, no()
}
func (no NoQueue) QueuePush(context.Context, string, []string) (api.Items, error) {
	return api.Items{}, no()
}
func (no NoQueue) QueueClear(context.Context, string) (api.Items, error) { return api.Items{}, no() }
func (no NoQueue) QueueInFlight(context.Context, string, int) (api.InFlight, error) {
	return api.InFlight{}, no()
}
func (no NoQueue) QueueDead(context.Context, string, int) ([]api.Items, error) { return nil, no() }
func (no NoQueue) QueueRetry(context.Context, api.Items) (api.Items, error)    { return api.Items{}, no() }
func (no NoQueue) QueueDrop(context.Context, api.Items) (api.Items, error)     { return api.Items{}, no() }

// Execute implements api.Programs.
func (e Elsewhere) Execute(context.Context, taskexec.Request) (io.ReadWriteCloser, error) {
	return nil, e.onlyOn("what runs programs in tasks")
}
