package engine

import "container/heap"

// keyspace is a database.
type keyspace struct {
	keys      table[entry]
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

// sizeOf is what a string takes: the allocator rounds up.
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
	clone(*Engine) value
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
	for i := range ks.keys.items {
		if it := &ks.keys.items[i]; it.val.expires != 0 {
			ks.deadlines = append(ks.deadlines, deadline{it.val.expires, it.key})
		}
	}
	heap.Init(&ks.deadlines)
}

// due returns a key whose time has come.
func (ks *keyspace) due(now int64) (string, bool) {
	for len(ks.deadlines) > 0 && ks.deadlines[0].at <= now {
		d := heap.Pop(&ks.deadlines).(deadline)
		if ent := ks.keys.get(d.key); ent != nil && ent.expires != 0 && ent.expires <= now {
			return d.key, true
		}
	}
	return "", false
}

// deadlines is a heap, the earliest first.
type deadlines []deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at < q[j].at }
func (q deadlines) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *deadlines) Push(v any)        { *q = append(*q, v.(deadline)) }

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = deadline{}
	*q = (*q)[:last]
	return d
}
