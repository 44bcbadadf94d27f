// Package engine holds the queue's data and runs Redis' commands on it, one at a
// time: strings, lists, sets, hashes, sorted sets and deadlines, with the
// replies of Redis 7.0 to the byte.
//
// # Values
//
// Everything that can be scanned or picked from is a table, a map whose entries
// stand in a row. A sorted set has an order beside it (tidwall/btree, which
// counts, so that ranks are found at once), a list is a ring, a string is bytes
// once it was changed in place. miniredis keeps what the fields of hashes hold;
// of its other structures none can be asked for an order, an end or a random
// entry without a walk over all, so they are not used, nor are its commands.
//
// # Effects
//
// A command notes what it changed as commands that make the same change whenever
// they run: most note themselves, SPOP an SREM, EXPIRE a PEXPIREAT, a key that
// expired a DEL. What was noted is the caller's to keep, see [Engine.Effects].
//
// # Memory
//
// What data takes is estimated when it changes. Commands that make data larger
// are refused beyond the bound as Redis refuses them, and so is a single command
// whose result would not fit.
package engine

import (
	"container/heap"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/flow"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
)

// Databases is how many numbered databases there are, as in Redis.
const Databases = 16

// Key is a key in a database.
type Key struct {
	DB   int
	Name string
}

// Engine is the data. It is not safe for concurrent use.
type Engine struct {
	Flushing func(db int) // called before a database is emptied; may be nil
	Notify   bool         // somebody listens to events: see [Engine.Events]

	dbs    [Databases]keyspace
	fields *miniredis.RedisDB // of hashes
	names  hashNames

	now     func() time.Time
	clock   int64 // Unix time in ms that the command under way goes by
	loading bool  // effects are replayed: deadlines don't pass, nothing is noted
	used    int64 // bytes, estimated
	max     int64 // 0: no bound

	effects []journal.Command
	touched []Key
	ready   []Key // of touched, those that had what clients wait for by then
	events  []Event

	reading bool  // the command under way only reads
	stats   Stats // since the start
	flows   flow.Table[Key]

	epoch    uint32 // of the snapshot under way; 0: none
	lastSnap uint32
}

// New returns an empty engine whose data may take max bytes; 0 is no bound.
func New(max int64) *Engine {
	return &Engine{fields: newFields(), now: time.Now, max: max}
}

// Used returns how many bytes the data takes, estimated.
func (e *Engine) Used() int64 { return e.used }

// Stats holds what Redis counts under these names.
type Stats struct{ Hits, Misses, Expired int64 }

// Stats returns the figures since the start.
func (e *Engine) Stats() Stats { return e.stats }

// Keys returns how many keys a database has, and how many of them have a deadline.
func (e *Engine) Keys(db int) (keys, expiring int) {
	return e.dbs[db].keys.Len(), e.dbs[db].expiring
}

// Effects returns what was noted since the last time: commands to keep, and the
// keys that changed, in the order in which Redis serves who waits for them: as they got
// a list or a sorted set, not as they lost one. Both are valid until the next command.
func (e *Engine) Effects() (effects []journal.Command, touched []Key) {
	effects, touched = e.effects, append(e.ready, e.touched...)
	if len(e.touched) > 0 && e.flows.Active(e.clock) {
		for _, key := range e.touched {
			e.flows.See(key, e.items(key))
		}
	}
	e.effects, e.touched, e.ready = e.effects[:0], e.touched[:0], touched[:0]
	return effects, touched
}

// maxFlowName bounds the names of keys whose items are counted, in bytes.
const maxFlowName = 1024

// Flow returns how many items have come into a key and gone out of it since it was first asked for; a
// key that nobody asks for is forgotten. What one command, or a transaction, adds and takes counts as
// the difference. For names of more than 1024 bytes nothing is counted.
func (e *Engine) Flow(k Key) flow.Counts {
	if len(k.Name) > maxFlowName {
		return flow.Counts{}
	}
	return e.flows.Ask(k, e.items(k), e.clock)
}

// items returns how many items a key has; a string is one.
func (e *Engine) items(k Key) int {
	ent := e.dbs[k.DB].keys.Get(k.Name)
	if ent == nil {
		return 0
	}
	if val, ok := ent.val.(counted); ok {
		return val.count()
	}
	return 1
}

// Event is what happened to a key, as Redis' keyspace notifications call it.
type Event struct {
	Key
	Name string
}

// Notified are the classes of events that are noted, and the kinds of channels they are told
// on, as Redis writes its notify-keyspace-events: those of all keys, lists, sets and sorted sets.
const Notified = "glszKE"

// Events returns the events that were noted since the last time, in their order; they are
// valid until the next command.
func (e *Engine) Events() []Event {
	events := e.events
	e.events = e.events[:0]
	return events
}

// Tick sets the time that the next commands go by.
func (e *Engine) Tick() { e.clock = e.now().UnixMilli() }

// Replay makes the change that noted effects stand for.
func (e *Engine) Replay(batch []journal.Command) error {
	e.loading = true
	defer func() { e.loading = false }()
	c := Context{e: e}
	for _, cmd := range batch {
		known := Lookup(cmd.Args[0])
		if known == nil || !known.Write || !known.ArityOK(len(cmd.Args)) || cmd.DB >= Databases {
			return &ReplayError{
				cmd.Args[0], "this version does not serve it: start the version before, and take out its keys",
			}
		}
		c.begin(cmd.DB, cmd.Args)
		c.try(known.run)
		if len(c.Out.Buf) > 0 && c.Out.Buf[0] == '-' {
			return &ReplayError{cmd.Args[0], string(c.Out.Buf[1 : len(c.Out.Buf)-2])}
		}
		c.Out.Buf = c.Out.Buf[:0]
	}
	e.touched, e.ready = e.touched[:0], e.ready[:0]
	return nil
}

// Full reports whether the data takes more than it may.
func (e *Engine) Full() bool { return e.max > 0 && e.used > e.max }

// ReplayError says which effect could not be made again.
type ReplayError struct{ Name, Reason string }

func (e *ReplayError) Error() string { return "command " + e.Name + ": " + e.Reason }

// Alive reports whether there is a key, and takes away one whose time has come.
func (e *Engine) Alive(k Key) bool { return e.lookup(k.DB, k.Name) != nil }

// lookup returns the entry of a key, nil when there is none. One whose time has
// come goes.
func (e *Engine) lookup(db int, key string) *entry {
	ent := e.dbs[db].keys.Get(key)
	switch {
	case !e.reading:
	case ent == nil:
		e.stats.Misses++
	default:
		e.stats.Hits++
	}
	if ent == nil || e.loading || ent.expires == 0 || ent.expires > e.clock {
		return ent
	}
	e.stats.Expired++
	e.remove(db, key)
	e.note(db, "DEL", key)
	e.touch(db, key)
	return nil
}

func (e *Engine) note(db int, args ...string) {
	if !e.loading {
		e.effects = append(e.effects, journal.Command{DB: db, Args: args})
	}
}

func (e *Engine) touch(db int, key string) {
	if e.loading {
		return
	}
	e.touched = append(e.touched, Key{db, key})
	if ent := e.dbs[db].keys.Get(key); ent != nil {
		switch ent.val.(type) {
		case *list, *zset:
			e.ready = append(e.ready, Key{db, key})
		}
	}
}

// put gives key a value and no deadline, whatever it had before.
func (e *Engine) put(db int, key string, v any) {
	e.remove(db, key)
	if val, ok := v.(value); ok {
		val.meta().owner = e
	}
	e.dbs[db].keys.Set(key, entry{val: v})
	e.used += keyCost + sizeOf(key) + valueSize(v)
}

// remove takes a key out and reports whether it was there.
func (e *Engine) remove(db int, key string) bool {
	ks := &e.dbs[db]
	ent, found := ks.keys.Delete(key)
	if !found {
		return false
	}
	if ent.expires != 0 {
		ks.expiring--
	}
	e.used -= keyCost + sizeOf(key) + valueSize(ent.val)
	e.release(ent.val)
	return true
}

// release lets go of a value that no key has.
func (e *Engine) release(v any) {
	if val, ok := v.(value); ok {
		val.meta().owner = nil
	}
	if h, ok := v.(*hash); ok {
		h.drop(e)
	}
}

func (e *Engine) flush(db int) {
	if e.dbs[db].keys.Len() == 0 {
		return
	}
	if e.Flushing != nil && !e.loading {
		e.Flushing(db)
	}
	for i := range e.dbs[db].keys.Items {
		it := &e.dbs[db].keys.Items[i]
		e.used -= keyCost + sizeOf(it.Key) + valueSize(it.Val.val)
		e.release(it.Val.val)
	}
	e.dbs[db] = keyspace{}
}

// Expire deletes up to limit keys whose time has come, and reports whether there
// may be more.
func (e *Engine) Expire(limit int) (more bool) {
	e.Tick()
	for db := range e.dbs {
		gone := []string{"DEL"}
		for len(gone) <= limit {
			key, due := e.dbs[db].due(e.clock)
			if !due {
				break
			}
			e.stats.Expired++
			e.remove(db, key)
			e.touch(db, key)
			gone = append(gone, key)
		}
		if len(gone) > 1 {
			e.note(db, gone...)
			limit -= len(gone) - 1
		}
		if limit == 0 {
			return true
		}
	}
	return false
}

type keyspace struct {
	keys      table.Map[entry]
	expiring  int       // keys with a deadline
	deadlines deadlines // when to look at which key
}

type entry struct {
	val     any   // string, *blob, *list, *set, *hash or *zset
	expires int64 // Unix time in ms; 0: never
}

// What is taken beside the bytes, measured.
const (
	keyCost    = 112 // a key
	memberCost = 28  // an entry of a table
	stringCost = 16  // a string
)

// sizeOf returns what a string takes: the allocator rounds up.
func sizeOf(s string) int64 { return stringCost + int64(len(s)+len(s)/8) }

func valueSize(v any) int64 {
	switch v := v.(type) {
	case string:
		return sizeOf(v)
	case value:
		return v.size()
	}
	return 0
}

// value is a value that can change in place.
type value interface {
	size() int64 // bytes it takes, estimated
	meta() *base // its part in a snapshot
	clone() value
}

// deadline is a hint: the entry of the key decides.
type deadline struct {
	at  int64 // Unix time, ms
	key string
}

// expire sets the deadline of an entry, 0 for none.
func (ks *keyspace) expire(key string, ent *entry, at int64) {
	if ent.expires != 0 {
		ks.expiring--
	}
	ent.expires = at
	if at == 0 {
		return
	}
	ks.expiring++
	if len(ks.deadlines) > 2*ks.expiring+1000 {
		ks.rebuild() // finds this one too
		return
	}
	heap.Push(&ks.deadlines, deadline{at, key})
}

// rebuild drops the hints that are no longer true.
func (ks *keyspace) rebuild() {
	ks.deadlines = make(deadlines, 0, ks.expiring+ks.expiring/8)
	for i := range ks.keys.Items {
		if it := &ks.keys.Items[i]; it.Val.expires != 0 {
			ks.deadlines = append(ks.deadlines, deadline{it.Val.expires, it.Key})
		}
	}
	heap.Init(&ks.deadlines)
}

// due returns a key whose time has come.
func (ks *keyspace) due(now int64) (string, bool) {
	for len(ks.deadlines) > 0 && ks.deadlines[0].at <= now {
		d := heap.Pop(&ks.deadlines).(deadline)
		if ent := ks.keys.Get(d.key); ent != nil && ent.expires != 0 && ent.expires <= now {
			return d.key, true
		}
	}
	return "", false
}

// deadlines is a heap, the earliest first.
type deadlines []deadline

func (q deadlines) Len() int { return len(q) }

func (q deadlines) Less(i, j int) bool { return q[i].at < q[j].at }

func (q deadlines) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *deadlines) Push(v any) { *q = append(*q, v.(deadline)) }

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = deadline{}
	*q = (*q)[:last]
	return d
}
