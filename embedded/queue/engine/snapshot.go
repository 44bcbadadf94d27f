package engine

import (
	"strconv"
	"sync"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// One command of a snapshot carries so many items, and bytes, of a long value.
const (
	chunk      = 500
	chunkBytes = 1 << 20
)

// Snapshot is the data as it was at one moment. Values that change later are
// copied before: the strings of a copy are shared, so it takes 16 to 40 bytes an
// item.
type Snapshot struct {
	e    *Engine
	mu   sync.Locker
	keys [Databases][]table.Item[entry]
}

// Begin begins a snapshot of the data as it is. There is one at a time. mu is
// what the caller holds, here and when it changes data.
func (e *Engine) Begin(mu sync.Locker) *Snapshot {
	e.lastSnap++
	e.epoch = e.lastSnap
	s := &Snapshot{e: e, mu: mu}
	for db := range e.dbs {
		s.keys[db] = append([]table.Item[entry](nil), e.dbs[db].keys.Items...)
	}
	return s
}

// keep saves the state of a value that is about to change for the snapshot.
func (e *Engine) keep(v value) {
	if f := v.meta(); e.epoch != 0 && f.epoch != e.epoch {
		f.epoch, f.saved = e.epoch, v.clone()
	}
}

// take returns the state of a value at the beginning, for the caller alone.
func (s *Snapshot) take(v any) any {
	val, ok := v.(value)
	if !ok {
		return v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.e.keep(val)
	f := val.meta()
	saved := f.saved
	f.saved = nil
	return saved
}

// Each emits the commands that make the data. The caller does not hold mu.
func (s *Snapshot) Each(emit func([]journal.Command) error) error {
	for db := range s.keys {
		for len(s.keys[db]) > 0 {
			it := s.keys[db][0]
			s.keys[db] = s.keys[db][1:]
			if err := dump(db, it.Key, s.take(it.Val.val), it.Val.expires, emit); err != nil {
				return err
			}
		}
	}
	return nil
}

// End lets go of what was not taken. The caller holds mu.
func (s *Snapshot) End() {
	s.e.epoch = 0
	for db := range s.keys {
		for _, it := range s.keys[db] {
			if v, ok := it.Val.val.(value); ok {
				v.meta().saved = nil
			}
		}
		s.keys[db] = nil
	}
}

func dump(db int, key string, v any, expires int64, emit func([]journal.Command) error) error {
	var err error
	send := func(args ...string) {
		if err == nil {
			err = emit([]journal.Command{{DB: db, Args: args}})
		}
	}
	switch v := v.(type) {
	case string:
		send("SET", key, v)
	case *blob:
		send("SET", key, string(v.b))
	case *list:
		inChunks(send, "RPUSH", key, v.n, func(i int) []string { return v.ring[i : i+1] })
	case *set:
		inChunks(send, "SADD", key, v.members.Len(), func(i int) []string { return []string{v.members.Items[i].Key} })
	case *hash:
		inChunks(send, "HSET", key, len(v.values), func(i int) []string {
			return []string{v.fields.Items[i].Key, v.values[i]}
		})
	case *zset:
		inChunks(send, "ZADD", key, v.scores.Len(), func(i int) []string {
			it := v.scores.Items[i]
			return []string{resp.FormatDouble(it.Val), it.Key}
		})
	}
	if expires != 0 {
		send("PEXPIREAT", key, strconv.FormatInt(expires, 10))
	}
	return err
}

func inChunks(send func(...string), name, key string, n int, at func(i int) []string) {
	for i := 0; i < n; {
		args := make([]string, 2, 2+2*chunk)
		args[0], args[1] = name, key
		for first, bytes := i, 0; i < n && i < first+chunk && bytes < chunkBytes; i++ {
			for _, arg := range at(i) {
				args = append(args, arg)
				bytes += len(arg)
			}
		}
		send(args...)
	}
}
