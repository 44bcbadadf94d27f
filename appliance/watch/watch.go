// Package watch observes this machine's Docker Engine and disk and tells the other nodes by
// gossip how they are. It warns of another machine with the same host name, which would make
// the same words mean two nodes.
package watch

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/health"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Interval is how often a node looks at its own engine and disk.
const Interval = 2 * time.Second

// States of an engine, as gossip tells them.
const (
	Running = "running"
	Stopped = "stopped"
)

// Watcher tells the others how this node's engine and disk are, and its own parts when
// the engine has come back.
type Watcher struct {
	engine *swarm.Engine
	gossip *gossip.Gossip
	self   gossip.Node
	dir    string // whose disk is looked at
	opts   Options
	log    *slog.Logger
	docker atomic.Value // string
	twin   string       // the last node that was found to have this one's name
}

// Options holds whom a Watcher tells what it sees.
type Options struct {
	SwarmID func(id string)      // told the node's ID in the swarm
	Back    func()               // called when the engine answers after it did not
	Phase   func(text string)    // told what the node is about
	Rounds  *health.LoopWatchdog // of the loop
}

// New returns a watcher of a node with an engine, whose data is below a directory.
func New(e *swarm.Engine, g *gossip.Gossip, self gossip.Node, dir string, opts Options, log *slog.Logger) *Watcher {
	return &Watcher{
		engine: e,
		gossip: g,
		self:   self,
		dir:    dir,
		opts:   opts,
		log:    log,
	}
}

// Run looks until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	w.docker.Store(Running)
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		w.opts.Rounds.Begin()
		w.look(ctx)
		w.opts.Rounds.End()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watcher) look(ctx context.Context) {
	failpoint.Hang(failpoint.HangWatch)
	err := w.engine.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	now := Running
	if err != nil {
		now = Stopped
	}
	w.log.Debug("looked at the Docker Engine", "state", now)
	if was := w.docker.Swap(now); was != now {
		w.changed(now, err)
	}
	if w.self.Swarm == "" && now == Running {
		if info, err := w.engine.Info(ctx); err == nil {
			w.self.Swarm = info.NodeID
			w.opts.SwarmID(info.NodeID)
		}
	}
	w.warnDuplicateHostname(w.gossip.Members())
	w.self.Docker, w.self.FreeDisk = now, disk.FreeBytes(w.dir)
	if err := w.gossip.Update(w.self); err != nil {
		w.log.Warn("failed to tell the other nodes about this one", "error", err)
	}
}

// warnDuplicateHostname warns of another machine with the same host name.
func (w *Watcher) warnDuplicateHostname(members []gossip.Member) {
	self := slices.IndexFunc(members, func(m gossip.Member) bool { return m.ID == w.self.ID })
	for _, m := range members {
		// What this machine was before it joined again has its address.
		other := self >= 0 && m.Addr != members[self].Addr
		if !other || m.State != gossip.Alive || m.Name != w.self.Name || m.Addr.String() == w.twin {
			continue
		}
		w.twin = m.Addr.String()
		w.log.Warn("another node has this machine's host name; give one of them a name of its own with `hostnamectl "+
			"set-hostname NAME` and restart its Docker and crawlbox",
			"name", m.Name, "other", m.Addr)
	}
}

func (w *Watcher) changed(now string, err error) {
	if now == Stopped {
		w.log.Warn("the Docker Engine does not answer; waiting for it", "error", err)
		w.opts.Phase("ready; waiting for Docker, which does not answer")
		return
	}
	w.log.Info("the Docker Engine answers again")
	w.opts.Phase("ready")
	w.self.Swarm = "" // it may have joined anew
	w.opts.Back()
}
