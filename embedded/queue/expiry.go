package queue

import "container/heap"

// expiry knows when to look at which key. An entry is a hint: the deadline in
// miniredis decides.
type expiry struct {
	index map[dbKey]*deadline
	queue deadlines
}

type deadline struct {
	dbKey
	at  int64 // Unix time, ms
	pos int   // in the heap
}

func newExpiry() *expiry { return &expiry{index: map[dbKey]*deadline{}} }

func (x *expiry) set(k dbKey, at int64) {
	if d, ok := x.index[k]; ok {
		d.at = at
		heap.Fix(&x.queue, d.pos)
		return
	}
	d := &deadline{dbKey: k, at: at}
	x.index[k] = d
	heap.Push(&x.queue, d)
}

func (x *expiry) forget(k dbKey) {
	if d, ok := x.index[k]; ok {
		heap.Remove(&x.queue, d.pos)
		delete(x.index, k)
	}
}

// due says whether the deadline of k may have passed.
func (x *expiry) due(k dbKey, now int64) bool {
	d, ok := x.index[k]
	return ok && d.at <= now
}

// next returns the earliest key whose deadline may have passed.
func (x *expiry) next(now int64) (dbKey, bool) {
	if len(x.queue) == 0 || x.queue[0].at > now {
		return dbKey{}, false
	}
	return x.queue[0].dbKey, true
}

// deadlines is a heap, the earliest first.
type deadlines []*deadline

func (q deadlines) Len() int           { return len(q) }
func (q deadlines) Less(i, j int) bool { return q[i].at < q[j].at }
func (q deadlines) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].pos, q[j].pos = i, j }
func (q *deadlines) Push(v any)        { d := v.(*deadline); d.pos = len(*q); *q = append(*q, d) }

func (q *deadlines) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return d
}
