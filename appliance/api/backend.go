package api

import (
	"context"
	"io"

	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/doctor"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Backend answers the calls of the API. It has the methods of Client, with
// the same meaning, so that a Client is a Backend too. All methods may be
// called at the same time and end soon after their context does. The functions
// given to Logs, Scale, Update, RemoveService, Build, Deploy, Rollback, Restart and
// UpgradeNodes are called by one goroutine at
// a time, and not any more once the method has returned; a method stops when
// they fail. An error that the user can do something about is an *Error.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Config(ctx context.Context) (string, error)
	Leave(ctx context.Context, force bool) error
	Neighbours(ctx context.Context) ([]doctor.Neighbour, error)

	UpgradeState(ctx context.Context) (upgrade.State, error)
	OfferProgram(ctx context.Context, o upgrade.Offer, program io.Reader) (upgrade.Offer, error)
	UpgradePlan(ctx context.Context, o upgrade.Offer) ([]upgrade.Step, error)
	UpgradeNodes(ctx context.Context, o upgrade.Offer, fn func(upgrade.Event) error) error
	UpgradeSelf(ctx context.Context, o upgrade.Offer) error

	Token(ctx context.Context, role string) (Token, error)
	NewToken(ctx context.Context, req TokenRequest) (Token, error)
	Tokens(ctx context.Context) ([]TokenInfo, error)
	RevokeToken(ctx context.Context, id string) error
	RotateTokens(ctx context.Context, role string) ([]Token, error)
	RegistryLogin(ctx context.Context, name string) (RegistryLogin, error)
	RegistryAccounts(ctx context.Context) ([]RegistryAccount, error)
	RegistryLogout(ctx context.Context, name string) error
	CA(ctx context.Context) (string, error)

	Nodes(ctx context.Context) ([]fleet.Node, error)
	SetNode(ctx context.Context, node, verb string) error
	RemoveNode(ctx context.Context, node string, force bool) error

	Services(ctx context.Context) ([]fleet.Service, error)
	Inspect(ctx context.Context, service string) (Inspect, error)
	Tasks(ctx context.Context, q TaskQuery) ([]fleet.Task, error)
	Logs(ctx context.Context, q LogQuery, fn func(LogLine) error) error
	Scale(ctx context.Context, req ScaleRequest, fn func(Event) error) error
	ScalePlan(ctx context.Context, req ScaleRequest) (Plan, error)
	Update(ctx context.Context, req UpdateRequest, fn func(Event) error) error
	UpdatePlan(ctx context.Context, req UpdateRequest) (Plan, error)
	RemoveService(ctx context.Context, service string, fn func(Event) error) error
	Build(ctx context.Context, req BuildRequest, files io.Reader, fn func(BuildEvent) error) error
	Deploy(ctx context.Context, req DeployRequest, fn func(Event) error) error
	DeployPlan(ctx context.Context, req DeployRequest) (Plan, error)
	Source(ctx context.Context, service string) (history.Source, error)
	Definitions(ctx context.Context) ([]Definition, error)
	Rollback(ctx context.Context, req RollbackRequest, fn func(Event) error) error
	Restart(ctx context.Context, service string, fn func(Event) error) error
	RestartPlan(ctx context.Context, service string) (Plan, error)
	History(ctx context.Context, service string) ([]history.Entry, error)

	Images(ctx context.Context, nodes bool) ([]fleet.Image, error)
	RemoveImage(ctx context.Context, ref string) error
	CollectImages(ctx context.Context) (GCReport, error)

	QueueAddress(ctx context.Context) (QueueAddress, error)
	QueueLen(ctx context.Context, key string) ([]Items, error)
	QueuePeek(ctx context.Context, key string, n int) (Items, error)
	QueuePush(ctx context.Context, key string, items []string) (Items, error)
	QueueClear(ctx context.Context, key string) (Items, error)
}

var _ Backend = (*Client)(nil)
