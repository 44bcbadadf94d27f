// Package watch observes this machine's Docker Engine and disk and tells the other nodes by
// gossip how they are, and has what its tasks take observed. It warns of another machine with
// the same host name, which would make the same words mean two nodes.
package watch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crawlbox/crawlbox/appliance/agent"
	"github.com/crawlbox/crawlbox/appliance/agent/peaks"
	"github.com/crawlbox/crawlbox/appliance/base/clock"
	"github.com/crawlbox/crawlbox/appliance/base/disk"
	"github.com/crawlbox/crawlbox/appliance/failpoint"
	"github.com/crawlbox/crawlbox/appliance/fleet"
	"github.com/crawlbox/crawlbox/appliance/health"
	"github.com/crawlbox/crawlbox/appliance/swarm"
	"github.com/crawlbox/crawlbox/appliance/swarm/containers"
	"github.com/crawlbox/crawlbox/embedded/gossip"
)

// Interval is how often a node looks at its own engine and disk.
const Interval = 2 * time.Second

// States of an engine, as gossip tells them.
const (
	Running = "running"
	Stopped = "stopped"
)

// Watcher knows how this node's engine and disk are. It tells the others, and its own parts
// when the engine has come back.
type Watcher struct {
	engine *swarm.Engine
	dir    string // whose disk is looked at
	phase  func(text string)
	Rounds health.LoopWatchdog // of the loop
	Queue  func() string       // what gossip tells of the queue here; nil: nothing
	peaks  *peaks.Watcher
	log    *slog.Logger

	swarmID atomic.Value // string: the node's ID in the swarm, once it is known
	self    gossip.Node  // what Run tells
	twin    string       // the last node that was found to have this one's name
}

// New returns a watcher of a node with an engine, whose data is below a directory. phase is
// told what the node is about.
func New(e *swarm.Engine, self gossip.Node, dir string, phase func(text string), log *slog.Logger) *Watcher {
	return &Watcher{
		engine: e,
		self:   self,
		dir:    dir,
		phase:  phase,
		peaks:  peaks.New(containers.New(e.Client()), log),
		log:    log,
	}
}

// Begin returns a watcher that has asked Docker for the node's ID in the swarm already, for a moment.
func Begin(e *swarm.Engine, self gossip.Node, dir string, phase func(string), log *slog.Logger) *Watcher {
	w := New(e, self, dir, phase, log)
	ctx, cancel := context.WithTimeout(context.Background(), Interval)
	defer cancel()
	w.Learn(ctx)
	return w
}

// SwarmID returns the node's ID in the swarm, empty until it is known.
func (w *Watcher) SwarmID() string {
	id, _ := w.swarmID.Load().(string)
	return id
}

// Learn asks Docker for the node's ID in the swarm. A node that starts without Docker learns
// it later, in Run.
func (w *Watcher) Learn(ctx context.Context) {
	if info, err := w.engine.Info(ctx); err == nil && info.NodeID != "" {
		w.swarmID.Store(info.NodeID)
	}
}

// Self returns what the others hear first. That Docker runs is known where it has just told
// the node's ID; each correction later would be news for the whole cluster. It must not be
// called after Run.
func (w *Watcher) Self() gossip.Node {
	self := w.self
	self.Swarm, self.Docker, self.FreeDisk = w.SwarmID(), Stopped, disk.FreeBytes(w.dir)
	self.DiskSize = disk.Size(w.dir)
	if self.Swarm != "" {
		self.Docker = Running
	}
	self.Queue = w.queue()
	return self
}

func (w *Watcher) queue() string {
	if w.Queue == nil {
		return ""
	}
	return w.Queue()
}

// Run looks, and tells the others by gossip, until ctx ends. back is called when the engine
// answers after it did not.
func (w *Watcher) Run(ctx context.Context, g *gossip.Gossip, back func()) error {
	var observed sync.WaitGroup
	observed.Go(func() { w.peaks.Run(ctx) })
	defer observed.Wait()
	w.self = w.Self()
	w.self.Docker = Running
	for {
		w.Rounds.Begin()
		w.look(ctx, g, back)
		w.Rounds.End()
		if clock.Sleep(ctx, Interval) != nil {
			return nil
		}
	}
}

func (w *Watcher) look(ctx context.Context, g *gossip.Gossip, back func()) {
	failpoint.Hang(failpoint.HangWatch)
	err := w.engine.Ping(ctx)
	if ctx.Err() != nil {
		return
	}
	was, now := w.self.Docker, Running
	if err != nil {
		now = Stopped
	}
	w.log.Debug("looked at the Docker Engine", "state", now)
	if was != now {
		w.changed(now, err, back)
	}
	if w.self.Swarm == "" && now == Running {
		if info, err := w.engine.Info(ctx); err == nil {
			w.self.Swarm = info.NodeID
			w.swarmID.Store(info.NodeID)
		}
	}
	w.warnDuplicateHostname(g.Members())
	w.self.Docker, w.self.FreeDisk, w.self.Queue = now, disk.FreeBytes(w.dir), w.queue()
	w.self.DiskSize = disk.Size(w.dir)
	if err := g.Update(w.self); err != nil {
		w.log.Warn("failed to tell the other nodes about this one", "error", err)
	}
}

// Answer tells managers what tasks on this node take at the highest.
func (w *Watcher) Answer(log *slog.Logger) agent.Handler {
	return peaks.Answer(func(tasks []string) map[string]fleet.Peak { return w.peaks.Of(tasks) }, log)
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

func (w *Watcher) changed(now string, err error, back func()) {
	if now == Stopped {
		w.log.Warn("the Docker Engine does not answer; waiting for it", "error", err)
		w.phase("ready; waiting for Docker, which does not answer")
		return
	}
	w.log.Info("the Docker Engine answers again")
	w.phase("ready")
	w.self.Swarm = "" // it may have joined again
	back()
}
