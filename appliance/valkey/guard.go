package valkey

import (
	"context"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/clock"
)

const (
	// guardEvery is how often a guard has the replica acknowledge, and guardPatience how long it waits for that.
	guardEvery, guardPatience = 250 * time.Millisecond, 500 * time.Millisecond
	// held is how long writes are held at once. After it min-replicas-to-write refuses them.
	held = 30 * time.Second
	// guardChannel has no subscribers.
	guardChannel = "crawlbox:guard"
)

// Guard runs on each manager, for the engine that is there.
type Guard struct {
	Store Store
	Own   func(Engine) bool // reports whether an engine is on this node
	Log   *slog.Logger

	holds bool // writes
}

// Run holds writes back while the primary on this node wants its replica and that does not acknowledge, until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	var client *redis.Client
	var of Engine
	defer func() { closeClient(client) }()
	for {
		d, err := Load(g.Store)
		if e, _ := d.primary(); err == nil && g.Own(e) && d.Fenced {
			if client == nil || of != e {
				closeClient(client)
				client, of, g.holds = d.Open(e), e, false
			}
			g.look(ctx, client)
		} else if client != nil {
			client.Close()
			client, g.holds = nil, false // whoever changed that sees to it
		}
		if clock.Sleep(ctx, guardEvery) != nil {
			return nil
		}
	}
}

func closeClient(c *redis.Client) {
	if c != nil {
		c.Close()
	}
}

func (g *Guard) look(ctx context.Context, c *redis.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*answerTimeout)
	defer cancel()
	if !g.holds {
		conn := c.Conn()
		defer conn.Close()
		// WAIT is for what its connection has changed: this goes to the replica, and to nobody else.
		if conn.SPublish(ctx, guardChannel, "").Err() != nil {
			return
		}
		n, err := conn.Wait(ctx, 1, guardPatience).Result()
		if err != nil || n > 0 {
			return
		}
		if wants, err := c.ConfigGet(ctx, "min-replicas-to-write").Result(); err != nil ||
			wants["min-replicas-to-write"] != "1" {
			return // the engine is being told something else
		}
		if c.Do(ctx, "CLIENT", "PAUSE", held.Milliseconds(), "WRITE").Err() == nil {
			g.holds = true
			g.Log.Warn("the queue's replica does not acknowledge: writes wait")
		}
		return
	}
	text, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return
	}
	var o Observed
	readInfo(text, &o)
	if o.Replica {
		g.holds = false
	} else if o.Followed && o.Acked >= o.Offset && c.Do(ctx, "CLIENT", "UNPAUSE").Err() == nil {
		g.holds = false
		g.Log.Info("the queue's replica acknowledges again: writes go on")
	}
}
