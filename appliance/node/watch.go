package node

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/lifecycle"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// watchInterval is how often a node looks at its own engine and disk.
const watchInterval = 2 * time.Second

// States of an engine, as gossip tells them.
const (
	dockerRunning = "running"
	dockerStopped = "stopped"
)

// watcher tells the others how this node's engine and disk are, and its own
// parts when the engine has come back.
type watcher struct {
	engine *swarm.Engine
	gossip *gossip.Gossip
	self   gossip.Node
	dir    string // whose disk is looked at
	back   func() // called when the engine answers after it did not
	log    *slog.Logger
	docker atomic.Value // string
}

func (w *watcher) component() lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		w.docker.Store(dockerRunning)
		ready()
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			w.look(ctx)
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (w *watcher) look(ctx context.Context) {
	err := w.engine.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	now := dockerRunning
	if err != nil {
		now = dockerStopped
	}
	if was := w.docker.Swap(now); was != now {
		w.changed(now, err)
	}
	if w.self.Swarm == "" && now == dockerRunning {
		if info, err := w.engine.Info(ctx); err == nil {
			w.self.Swarm = info.NodeID
		}
	}
	w.self.Docker, w.self.FreeDisk = now, freeDisk(w.dir)
	if err := w.gossip.Update(w.self); err != nil {
		w.log.Warn("tell the others about this node", "error", err)
	}
}

func (w *watcher) changed(now string, err error) {
	if now == dockerStopped {
		w.log.Warn("the Docker Engine does not answer; waiting for it", "error", err)
		return
	}
	w.log.Info("the Docker Engine answers again")
	w.self.Swarm = "" // it may have joined anew
	w.back()
}
