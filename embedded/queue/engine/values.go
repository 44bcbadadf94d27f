package engine

import (
	"strconv"

	"github.com/alicebob/miniredis/v2"
	"github.com/tidwall/btree"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
)

// base holds what all values that change in place have. While a snapshot is under
// way a value is copied before its first change.
type base struct {
	owner *Engine // set while the value is in the keyspace
	bytes int64
	epoch uint32 // of the snapshot that has this value's state, or does not want it
	saved value  // that state, until the snapshot has taken it
}

func (b *base) size() int64 { return b.bytes }
func (b *base) meta() *base { return b }

func (b *base) grow(n int64) {
	b.bytes += n
	if b.owner != nil {
		b.owner.used += n
	}
}

// fresh returns the base of a new value, which no snapshot under way wants.
func (e *Engine) fresh() base { return base{epoch: e.epoch} }

// blob is a string that was changed in place.
type blob struct {
	base
	b []byte
}

func (e *Engine) newBlob(b []byte) *blob {
	v := &blob{base: e.fresh(), b: b}
	v.bytes = stringCost + int64(cap(b))
	return v
}

func (v *blob) clone() value { return &blob{b: append([]byte(nil), v.b...)} }

// resize makes the string n bytes long, zeros behind its end. It takes an eighth
// more than is asked for when it grows bit by bit.
func (v *blob) resize(n int) {
	if room := v.room(n); room > cap(v.b) {
		grown := make([]byte, len(v.b), room)
		copy(grown, v.b)
		v.grow(int64(room - cap(v.b)))
		v.b = grown
	}
	v.b = v.b[:n]
}

// room returns what n bytes will take.
func (v *blob) room(n int) int {
	if n > cap(v.b) && n < 2*len(v.b) {
		return n + n/8
	}
	return max(n, cap(v.b))
}

// list is a ring.
type list struct {
	base
	ring []string // its size is a power of two
	head int
	n    int
}

func (e *Engine) newList() *list { return &list{base: e.fresh(), ring: make([]string, 4)} }

func (l *list) clone() value { return &list{ring: l.all(), n: l.n} }

func (l *list) count() int {
	if l == nil {
		return 0
	}
	return l.n
}

func (l *list) index(i int) int {
	if i += l.head; i >= len(l.ring) {
		i -= len(l.ring)
	}
	return i
}

func (l *list) at(i int) string { return l.ring[l.index(i)] }

func (l *list) set(i int, s string) {
	at := l.index(i)
	l.grow(sizeOf(s) - sizeOf(l.ring[at]))
	l.ring[at] = s
}

func (l *list) push(left bool, s string) {
	if l.n == len(l.ring) {
		l.resize(2 * l.n)
	}
	l.n++
	l.grow(sizeOf(s) + stringCost)
	if left {
		l.head = l.index(len(l.ring) - 1)
		l.ring[l.head] = s
		return
	}
	l.ring[l.index(l.n-1)] = s
}

func (l *list) pop(left bool) string {
	at := l.index(l.n - 1)
	if left {
		at = l.head
		l.head = l.index(1)
	}
	s := l.ring[at]
	l.ring[at] = ""
	l.n--
	l.grow(-sizeOf(s) - stringCost)
	if len(l.ring) > 16 && 4*l.n < len(l.ring) {
		l.resize(len(l.ring) / 2)
	}
	return s
}

func (l *list) resize(size int) {
	ring := make([]string, size)
	copy(ring, l.all())
	l.ring, l.head = ring, 0
}

// all returns the items in a slice of their own.
func (l *list) all() []string {
	out := make([]string, 0, l.n)
	end := l.head + l.n
	out = append(out, l.ring[l.head:min(end, len(l.ring))]...)
	return append(out, l.ring[:max(0, end-len(l.ring))]...)
}

func (l *list) replace(items []string) {
	size := 4
	for size < len(items) {
		size *= 2
	}
	var bytes int64
	for _, item := range items {
		bytes += sizeOf(item) + stringCost
	}
	l.ring, l.head, l.n = append(items, make([]string, size-len(items))...), 0, len(items)
	l.grow(bytes - l.bytes)
}

type set struct {
	base
	members table.Map[struct{}]
}

func (e *Engine) newSet() *set { return &set{base: e.fresh()} }

func (s *set) clone() value { return &set{members: s.members.Clone()} }

func (s *set) has(m string) bool { return s != nil && s.members.Get(m) != nil }

func (s *set) table() *table.Map[struct{}] {
	if s == nil {
		return nil
	}
	return &s.members
}

func (s *set) count() int { return s.table().Len() }

func (s *set) add(m string) bool {
	if !s.members.Set(m, struct{}{}) {
		return false
	}
	s.grow(memberCost + sizeOf(m))
	return true
}

func (s *set) remove(m string) bool {
	if _, found := s.members.Delete(m); !found {
		return false
	}
	s.grow(-memberCost - sizeOf(m))
	return true
}

// hash is a hash. miniredis keeps what its fields hold, the table their order.
type hash struct {
	base
	fields table.Map[int32] // lengths of the values
	e      *Engine          // whose miniredis it is
	name   string           // in miniredis
	most   int              // fields since it has this name
	values []string         // of a copy
}

// hashNames holds the names of hashes in miniredis, whose maps neither shrink nor forget
// a name: names are used again, and a hash that has lost most of its fields gets another.
type hashNames struct {
	live int
	last uint64
	free []string
}

func (e *Engine) newHash() *hash { return &hash{base: e.fresh(), e: e, name: e.takeName()} }

func (e *Engine) takeName() (name string) {
	n := &e.names
	n.live++
	if last := len(n.free) - 1; last >= 0 {
		name, n.free = n.free[last], n.free[:last]
		return name
	}
	n.last++
	return strconv.FormatUint(n.last, 36)
}

// dropName deletes what is under a name. With the last one everything goes.
func (e *Engine) dropName(name string) {
	e.names.live--
	if e.names.live == 0 {
		e.fields, e.names = newFields(), hashNames{}
		return
	}
	e.fields.Del(name)
	e.names.free = append(e.names.free, name)
}

func newFields() *miniredis.RedisDB { return miniredis.NewMiniRedis().DB(0) }

func (h *hash) clone() value {
	c := &hash{fields: h.fields.Clone(), values: make([]string, h.fields.Len())}
	for i, f := range h.fields.Items {
		c.values[i] = h.e.fields.HGet(h.name, f.Key)
	}
	return c
}

func (h *hash) table() *table.Map[int32] {
	if h == nil {
		return nil
	}
	return &h.fields
}

func (h *hash) count() int { return h.table().Len() }

func (h *hash) get(f string) (string, bool) {
	if h == nil || h.fields.Get(f) == nil {
		return "", false
	}
	return h.e.fields.HGet(h.name, f), true
}

// set gives a field a value and reports whether the field is new.
func (h *hash) set(f, v string) bool {
	if old := h.fields.Get(f); old != nil {
		h.grow(int64(len(v)) - int64(*old))
		*old = int32(len(v))
		h.e.fields.HSet(h.name, f, v)
		return false
	}
	h.fields.Set(f, int32(len(v)))
	h.most = max(h.most, h.fields.Len())
	h.e.fields.HSet(h.name, f, v)
	h.grow(hashCost + sizeOf(f) + int64(len(v)))
	return true
}

const hashCost = 2*memberCost + 3*stringCost // a field

func (h *hash) remove(f string) bool {
	n, found := h.fields.Delete(f)
	if found {
		h.grow(-hashCost - sizeOf(f) - int64(n))
		h.e.fields.HDel(h.name, f)
	}
	if n := h.fields.Len(); n > 0 && h.most > 64 && 4*n < h.most {
		h.rename()
	}
	return found
}

// rename moves the values into a map that is as large as they need.
func (h *hash) rename() {
	e, old := h.e, h.name
	h.name, h.most = e.takeName(), h.fields.Len()
	for _, f := range h.fields.Items {
		e.fields.HSet(h.name, f.Key, e.fields.HGet(old, f.Key))
	}
	e.dropName(old)
}

// drop takes what the fields hold away, after a snapshot under way has it.
func (h *hash) drop(e *Engine) {
	e.keep(h)
	e.dropName(h.name)
}

// zset is a sorted set: scores by member, and members by score.
type zset struct {
	base
	scores table.Map[float64]
	order  *btree.BTreeG[scored]
}

type scored struct {
	score  float64
	member string
}

func (a scored) less(b scored) bool {
	return a.score < b.score || a.score == b.score && a.member < b.member
}

const orderCost = 36 // a member in the order

func (e *Engine) newZset() *zset {
	return &zset{base: e.fresh(), order: btree.NewBTreeGOptions(scored.less, btree.Options{NoLocks: true})}
}

func (z *zset) clone() value { return &zset{scores: z.scores.Clone()} }

func (z *zset) table() *table.Map[float64] {
	if z == nil {
		return nil
	}
	return &z.scores
}

func (z *zset) count() int { return z.table().Len() }

func (z *zset) score(m string) (float64, bool) {
	if z == nil {
		return 0, false
	}
	if s := z.scores.Get(m); s != nil {
		return *s, true
	}
	return 0, false
}

func (z *zset) set(m string, score float64) {
	if old := z.scores.Get(m); old != nil {
		if *old == score {
			return
		}
		z.order.Delete(scored{*old, m})
		*old = score
	} else {
		z.scores.Set(m, score)
		z.grow(memberCost + orderCost + sizeOf(m))
	}
	z.order.Set(scored{score, m})
}

func (z *zset) remove(m string) bool {
	score, found := z.scores.Delete(m)
	if found {
		z.order.Delete(scored{score, m})
		z.grow(-memberCost - orderCost - sizeOf(m))
	}
	return found
}

// rank returns how many members come before one that satisfies a condition that holds
// for all behind it too.
func (z *zset) rank(behind func(scored) bool) int {
	from, to := 0, z.count()
	for from < to {
		mid := (from + to) / 2
		if s, _ := z.order.GetAt(mid); behind(s) {
			to = mid
		} else {
			from = mid + 1
		}
	}
	return from
}

// span returns the members at ranks from up to to.
func (z *zset) span(from, to int) []scored {
	if from >= to {
		return nil
	}
	out := make([]scored, 0, to-from)
	first, _ := z.order.GetAt(from)
	z.order.Ascend(first, func(s scored) bool {
		out = append(out, s)
		return len(out) < to-from
	})
	return out
}
