package node

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/control"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
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
	dir    string        // whose disk is looked at
	known  *atomic.Value // gets the node's ID in the swarm
	back   func()        // called when the engine answers after it did not
	say    func(string)  // told what the node is about
	round  *round        // that is under way
	log    *slog.Logger
	docker atomic.Value // string
	twin   string       // the last node that was found to have this one's name
}

func (w *watcher) component() lifecycle.Component {
	return lifecycle.Func(func(ctx context.Context, ready func()) error {
		w.docker.Store(dockerRunning)
		ready()
		tick := time.NewTicker(watchInterval)
		defer tick.Stop()
		for {
			w.round.begin()
			w.look(ctx)
			w.round.end()
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func (w *watcher) look(ctx context.Context) {
	failpoint.Hang(failpoint.HangWatch)
	err := w.engine.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	now := dockerRunning
	if err != nil {
		now = dockerStopped
	}
	w.log.Debug("looked at the Docker Engine", "state", now)
	if was := w.docker.Swap(now); was != now {
		w.changed(now, err)
	}
	if w.self.Swarm == "" && now == dockerRunning {
		if info, err := w.engine.Info(ctx); err == nil {
			w.self.Swarm = info.NodeID
			w.known.Store(info.NodeID)
		}
	}
	w.namesake(w.gossip.Members())
	w.self.Docker, w.self.FreeDisk = now, control.FreeDisk(w.dir)
	if err := w.gossip.Update(w.self); err != nil {
		w.log.Warn("tell the others about this node", "error", err)
	}
}

// namesake warns of another machine with the same host name.
func (w *watcher) namesake(members []gossip.Member) {
	self := slices.IndexFunc(members, func(m gossip.Member) bool { return m.ID == w.self.ID })
	for _, m := range members {
		// What this machine was before it joined again has its address.
		other := self >= 0 && m.Addr != members[self].Addr
		if !other || m.State != gossip.Alive || m.Name != w.self.Name || m.Addr.String() == w.twin {
			continue
		}
		w.twin = m.Addr.String()
		w.log.Warn("another node has this machine's host name; give one of them a name of its own with `hostnamectl set-hostname NAME` and restart its Docker and crawlbox",
			"name", m.Name, "other", m.Addr)
	}
}

func (w *watcher) changed(now string, err error) {
	if now == dockerStopped {
		w.log.Warn("the Docker Engine does not answer; waiting for it", "error", err)
		w.say("ready; waiting for Docker, which does not answer")
		return
	}
	w.log.Info("the Docker Engine answers again")
	w.say("ready")
	w.self.Swarm = "" // it may have joined anew
	w.back()
}
