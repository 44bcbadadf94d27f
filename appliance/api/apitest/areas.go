package apitest

import (
	"log/slog"
	"net/http"

	"github.com/crawlbox/crawlbox/appliance/api"
)

// Backend is all areas of the API in one, as Cluster and api.Client are.
type Backend interface {
	api.Overview
	api.Local
	api.Tokens
	api.Accounts
	api.Nodes
	api.Removals
	api.Backups
	api.Services
	api.Logs
	api.Changes
	api.Deploys
	api.Builds
	api.Images
	api.Queues
	api.Upgrades
	api.Programs
	api.Runs
	api.Schedules
	api.Alerts
}

var (
	_ Backend = (*Cluster)(nil)
	_ Backend = (*api.Client)(nil)
)

func Handler(b Backend, audit api.Audit, log *slog.Logger) http.Handler {
	return api.Handler(audit, log, Areas(b)...)
}

// Areas returns all areas of b.
func Areas(b Backend) []api.Area {
	return []api.Area{
		api.OverviewArea(b), api.LocalArea(b), api.TokensArea(b), api.AccountsArea(b), api.NodesArea(b),
		api.RemovalsArea(b), api.ServicesArea(b), api.LogsArea(b), api.ChangesArea(b), api.DeploysArea(b),
		api.BuildsArea(b), api.ImagesArea(b), api.QueuesArea(b), api.UpgradesArea(b),
		api.ProgramsArea(b), api.BackupsArea(b), api.RunsArea(b),
		api.SchedulesArea(b), api.AlertsArea(b),
	}
}
