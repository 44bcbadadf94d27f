// Package control holds the use cases behind a node's local API: what each call asks
// of Docker, the registry, the queue and the other nodes, and the words in which it
// answers people. It knows the parts of a node by what it asks of them: the node that
// has them builds it, and nothing here runs by itself.
package control

import (
	"context"

	"github.com/crawlbox/crawlbox/appliance/controller/services"
	"github.com/crawlbox/crawlbox/appliance/deploy"
	"github.com/crawlbox/crawlbox/appliance/deploy/history"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/configs/compose"
)

// Sources finds out what the images are that services name.
type Sources interface {
	// Resolve names an image with its digest. from is nil for one that the nodes get
	// without a copy.
	Resolve(ctx context.Context, named string) (pinned string, from *deploy.Source, err error)
}

// History is the record of what was deployed. *history.Store is one.
type History interface {
	List(service string) []history.Entry
	Services() []string
	Source(service string) *history.Source
	Find(service string, version int) (history.Entry, bool)
	// Previous is the good version before the one that runs.
	Previous(service string) (history.Entry, bool)
}

// Numbers are those that images are given as their tags. history.Numbers is one.
type Numbers interface {
	// Next is the tag of the next image with a name, of which those given exist.
	Next(name string, existing []string) (tag string, err error)
	// Note has a tag never be the next one again.
	Note(name, tag string) error
}

// Defined holds the services of the config file. *services.Controller is one.
type Defined interface {
	Reload() error
	Config() configs.Config
	// Change brings a service to its definition.
	Change(svc compose.Service, req services.Request) deploy.Change
}
