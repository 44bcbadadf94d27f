package keeper

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// bells wake who waits for items of a key when the engine says that there may be some.
type bells struct {
	mu      sync.Mutex
	engine  *redis.PubSub
	waiting map[string][]*waiter // by channel, in the order they came
	done    chan struct{}        // closed when nobody listens any more

	telling sync.Mutex // held while the engine is told what is listened to; before mu
}

// waiter is a client that waits.
type waiter struct {
	of       *bells
	channels []string
	rings    chan struct{} // has room for one ring
}

// brings are the events after which a key may have an item more.
var brings = strings.Fields("lpush rpush linsert sadd zadd zincr rename_to copy_to restore move_to sortstore " +
	"sunionstore sinterstore sdiffstore zunionstore zinterstore zdiffstore zrangestore georadiusstore geosearchstore")

func channelOf(db int, key string) string { return "__keyspace@" + strconv.Itoa(db) + "__:" + key }

// listen begins to listen to an engine, and no longer listens to the one before.
func (b *bells) listen(client *redis.Client) {
	b.close()
	b.telling.Lock()
	defer b.telling.Unlock()
	engine, done := client.Subscribe(context.Background()), make(chan struct{})
	b.mu.Lock()
	b.engine, b.done = engine, done
	channels := slices.Collect(maps.Keys(b.waiting))
	b.mu.Unlock()
	if len(channels) > 0 {
		_ = engine.Subscribe(context.Background(), channels...) // without it they look from time to time
	}
	messages := engine.Channel(redis.WithChannelSize(1000))
	go func() {
		defer close(done)
		for m := range messages {
			if slices.Contains(brings, m.Payload) {
				b.ring(m.Channel)
			}
		}
	}()
}

func (b *bells) close() {
	b.mu.Lock()
	engine, done := b.engine, b.done
	b.engine = nil
	b.mu.Unlock()
	if engine != nil {
		engine.Close()
		<-done
	}
}

// ring wakes the first that waits.
func (b *bells) ring(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.waiting[channel] {
		select {
		case w.rings <- struct{}{}:
			return
		default: // it is awake
		}
	}
}

// mostChannels is of how many keys somebody who waits hears; of more it learns by looking.
const mostChannels = 100

// enter has somebody wait for items of some keys.
func (b *bells) enter(ctx context.Context, db int, keys []string) *waiter {
	w := &waiter{of: b, rings: make(chan struct{}, 1)}
	var fresh []string
	b.mu.Lock()
	for _, key := range keys[:min(len(keys), mostChannels)] {
		channel := channelOf(db, key)
		if len(b.waiting[channel]) == 0 {
			fresh = append(fresh, channel)
		}
		b.waiting[channel] = append(b.waiting[channel], w)
		w.channels = append(w.channels, channel)
	}
	engine := b.engine
	b.mu.Unlock()
	if engine != nil && len(fresh) > 0 {
		b.telling.Lock()
		defer b.telling.Unlock()
		_ = engine.Subscribe(ctx, fresh...) // without it they look from time to time
	}
	return w
}

// pass wakes the next that waits: there may be more.
func (w *waiter) pass() {
	for _, channel := range w.channels {
		w.of.ring(channel)
	}
}

// forget no longer listens for keys that nobody waits for.
func (b *bells) forget(channels []string) {
	b.telling.Lock()
	defer b.telling.Unlock()
	b.mu.Lock()
	engine := b.engine
	channels = slices.DeleteFunc(slices.Clone(channels), func(name string) bool { return len(b.waiting[name]) > 0 })
	b.mu.Unlock()
	if engine != nil && len(channels) > 0 {
		_ = engine.Unsubscribe(context.Background(), channels...) // what comes of it wakes nobody
	}
}

func (w *waiter) leave() {
	b := w.of
	last := false
	b.mu.Lock()
	for _, channel := range w.channels {
		rest := slices.DeleteFunc(b.waiting[channel], func(other *waiter) bool { return other == w })
		if b.waiting[channel] = rest; len(rest) == 0 {
			delete(b.waiting, channel)
			last = true
		}
	}
	b.mu.Unlock()
	if last {
		b.forget(w.channels)
	}
	select { // a ring that came too late is for the next
	case <-w.rings:
		w.pass()
	default:
	}
}
