// Package control holds the use cases behind a node's local API: what each call asks
// of Docker, the registry, the queue and the other nodes, and the words in which it
// answers people. It knows the parts of a node by what it asks of them: the node that
// has them builds it, and nothing here runs by itself.
package control

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Sources finds out what the images are that services name.
type Sources interface {
	// Resolve names an image with its digest. from is nil for one that the nodes get
	// without more ado.
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// Deploys is the record of what was deployed, and deploys on it.
type Deploys interface {
	List(service string) []history.Entry
	Services() []string
	Source(service string) *history.Source
	// Target is the version to go back to; 0 is the good one before that which runs.
	Target(svc fleet.Service, version int) (history.Entry, error)
	// Run deploys and writes down how that goes.
	Run(ctx context.Context, e history.Entry, d deploy.Deploy, deploy func(deploy.Deploy) (deploy.Summary, error)) (deploy.Summary, error)
}

// Defined are the services of the config file.
type Defined interface {
	Reload() error
	Config() configs.Config
	// Begin makes a job for a service, or returns the one that is under way.
	Begin(service, hash string) (j Job, mine bool)
	// Asked is the deploy of a definition, and the service that there is, or nil.
	Asked(ctx context.Context, svc compose.Service, image string) (*fleet.Service, deploy.Deploy, error)
	// Run deploys a service and writes that down.
	Run(ctx context.Context, svc compose.Service, now *fleet.Service, dep deploy.Deploy, e history.Entry, emit deploy.Emit) (deploy.Summary, error)
	// Settled takes back what was to be known of a service.
	Settled(service string)
	// Again asks for another round.
	Again()
}

// Job is a change of a service to its definition while it is under way.
type Job interface {
	Hash() string // of the definition
	Emit(step string, p deploy.Progress)
	Follow(ctx context.Context, see deploy.Emit) (deploy.Summary, error)
	End(sum deploy.Summary, err error) // once, by who began it
}
