package agent

import (
	"context"
	"log/slog"

	"github.com/opencontainers/go-digest"

	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/taskexec"
	"github.com/crawlbox/crawlbox/appliance/upgrade"
)

// Engine is the Docker Engine of a node, as far as calls need it.
type Engine interface {
	Container(ctx context.Context, id string) (swarm.Container, error)
	Exec(ctx context.Context, r taskexec.Request) (taskexec.Process, error)
	ImageDigests(ctx context.Context) ([]string, error)
	KillTasks(ctx context.Context, tasks []string) error
	Pull(ctx context.Context, image string, see func(swarm.Pulled)) error
	RemoveUnused(ctx context.Context, image string) (gone bool, err error)
}

// Pins keep images in a node's mirror longest.
type Pins interface {
	Pin(d digest.Digest) (added bool)
	Unpin(d digest.Digest)
}

// NoPins are the pins of a node that has all images: none.
type NoPins struct{}

func (NoPins) Pin(digest.Digest) bool { return false }

func (NoPins) Unpin(digest.Digest) {}

// node answers for the node that it is on.
type node struct {
	engine  Engine
	pins    Pins
	upgrade *upgrade.Node
	log     *slog.Logger
}

// Answers returns the handlers of what every node answers about itself, whatever its role.
func Answers(e Engine, pins Pins, u *upgrade.Node, log *slog.Logger) []Handler {
	n := node{e, pins, u, log}
	return []Handler{
		pullCall.Handler(log, n.pull),
		pruneCall.Handler(log, n.prune),
		imagesCall.Handler(log, n.images),
		killCall.Handler(log, n.kill),
		containerCall.Handler(log, n.container),
		stateCall.Handler(log, n.upgradeState),
		offerCall.Handler(log, n.takeOffer),
		newExecuting(e, log),
	}
}
