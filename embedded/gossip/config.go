package gossip

import (
	"context"
	"log"
	"time"

	"github.com/hashicorp/memberlist"
)

// config starts from memberlist's values for a LAN. Where they differ, it is to
// keep an idle node idle and to bound what a stranger can make it do.
func (g *Gossip) config(ctx context.Context) (*memberlist.Config, error) {
	logger := log.New(g.lines, "", 0)
	tr, err := newTransport(ctx, g.opts.Addr, g.opts.Port, g.mayReach, logger)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.local = tr.local()
	g.mu.Unlock()

	conf := memberlist.DefaultLANConfig()
	conf.Name = g.opts.Self.ID // host names need not be unique
	conf.Transport = tr
	conf.BindAddr, conf.BindPort = g.opts.Addr.String(), int(tr.local().Port())
	conf.AdvertiseAddr, conf.AdvertisePort = g.opts.Advertise.String(), conf.BindPort
	conf.Keyring = g.ring
	conf.Logger = logger
	conf.Delegate, conf.Events, conf.Alive = g, g.roster, g.roster

	// Spiders keep processors busy for hours, and a busy node is not a dead one.
	// Swarm itself takes 20 s to call a node down, so there is time.
	conf.ProbeInterval, conf.ProbeTimeout = 2*time.Second, time.Second
	conf.SuspicionMult = 5
	conf.TCPTimeout = 3 * time.Second
	// Messages are small; compressing each costs more than it saves.
	conf.EnableCompression = false
	// A node that comes back with another address need not wait to be forgotten.
	conf.DeadNodeReclaimTime = 5 * time.Second
	if g.opts.tune != nil {
		g.opts.tune(conf)
	}
	return conf, nil
}

// NodeMeta implements memberlist.Delegate.
func (g *Gossip) NodeMeta(int) []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.meta
}

// NotifyMsg implements memberlist.Delegate. The only message is a farewell,
// which is passed on the first time it is heard.
func (g *Gossip) NotifyMsg(msg []byte) {
	id, boot, err := decodeFarewell(msg)
	if err != nil || !g.roster.farewell(id, boot) {
		return
	}
	g.queue.QueueBroadcast(&broadcast{msg: encodeFarewell(id, boot)})
}

// GetBroadcasts implements memberlist.Delegate.
func (g *Gossip) GetBroadcasts(overhead, limit int) [][]byte {
	return g.queue.GetBroadcasts(overhead, limit)
}

// LocalState implements memberlist.Delegate: membership itself is all there is.
func (g *Gossip) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (g *Gossip) MergeRemoteState([]byte, bool) {}

// broadcast is one message to all, passed on from node to node.
type broadcast struct {
	msg  []byte
	sent chan struct{} // closed when sent often enough; may be nil
}

func (b *broadcast) Invalidates(memberlist.Broadcast) bool { return false }
func (b *broadcast) Message() []byte                       { return b.msg }
func (b *broadcast) UniqueBroadcast()                      {}

func (b *broadcast) Finished() {
	if b.sent != nil {
		close(b.sent)
	}
}
