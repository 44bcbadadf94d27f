package keeper

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

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
	more     bool          // it waits for keys without a channel
	rings    chan struct{} // has room for one ring
	asks     time.Time     // since when it is busy with the engine; zero: it is not
	away     bool          // it gets nothing for now
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

// ring wakes the first that waits. It passes that on when it no longer waits.
func (b *bells) ring(channel string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.waiting[channel] {
		if w.stuck() {
			continue
		}
		select {
		case w.rings <- struct{}{}:
		default: // it is awake
		}
		return
	}
}

// mostChannels is of how many keys somebody who waits hears; of more it learns by looking.
const mostChannels = 100

// enter has somebody wait for items of some keys.
func (b *bells) enter(ctx context.Context, db int, keys []string) *waiter {
	w := &waiter{of: b, more: len(keys) > mostChannels, rings: make(chan struct{}, 1), asks: time.Now()}
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

// stuckAfter is how long who was there first may be busy with the engine before others no longer wait for it.
const stuckAfter = time.Second

// stuck reports whether others do not wait for a waiter. It is called with the lock of the bells.
func (w *waiter) stuck() bool { return w.away || !w.asks.IsZero() && time.Since(w.asks) > stuckAfter }

// turn reports whether nobody who was there first looks for items of one of the waiter's keys.
func (w *waiter) turn() bool {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	for _, channel := range w.channels {
		for _, first := range w.of.waiting[channel] {
			if first == w {
				return true
			}
			if !first.stuck() {
				break
			}
		}
	}
	return w.more
}

// asking notes that the waiter begins to ask the engine.
func (w *waiter) asking() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.asks = time.Now()
}

// asked notes that it has its reply, and whether it gets nothing for now: others do then.
func (w *waiter) asked(away bool) {
	w.of.mu.Lock()
	went := away && !w.away
	w.asks, w.away = time.Time{}, away
	w.of.mu.Unlock()
	if went {
		w.pass()
	}
}

// pass wakes the next that waits.
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

// leave ends the waiting, and wakes the next: there may be more, or a ring came too late.
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
	w.pass()
	if last {
		b.forget(w.channels)
	}
}
