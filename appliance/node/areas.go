package node

import (
	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/control"
)

// areas are those of the local API.
func areas(b *control.Backend) []api.Area {
	return []api.Area{
		api.OverviewArea(b), api.LocalArea(b), api.TokensArea(b), api.AccountsArea(b), api.NodesArea(b), api.RemovalsArea(b),
		api.ServicesArea(b), api.LogsArea(b), api.ChangesArea(b), api.DeploysArea(b), api.BuildsArea(b), api.ImagesArea(b),
		api.QueuesArea(b), api.UpgradesArea(b),
	}
}
