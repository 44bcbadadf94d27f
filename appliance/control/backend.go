package control

import (
	"log/slog"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/registry"
)

// Backend answers api.Changes, and where the history of deploys is, api.Deploys and
// api.Builds.
type Backend struct {
	Errors
	Cfg      configs.Config
	Log      *slog.Logger
	Engine   *swarm.Engine
	Runner   *deploy.Runner
	Sources  Sources
	Deploys  Deploys // nil where the cluster was not made
	Defined  Defined // of the services of the config file; nil there too
	Registry *registry.Registry
}
