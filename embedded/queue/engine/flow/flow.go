// Package flow counts how many items come into keys and go out of them. It counts for those who ask
// and no longer than they do: a queue that nobody looks at has nothing to do for it.
package flow

import "github.com/hashicorp/golang-lru/v2/simplelru"

const (
	// MaxKeys is how many keys are counted for at a time; the one asked for longest ago gives way.
	MaxKeys = 1000
	// keep is for how long after a question counting goes on, in ms.
	keep = 60_000
)

// Counts holds what has come and gone since a moment, the same one while somebody asks.
type Counts struct{ In, Out int64 }

// Table counts for keys. It is not safe for concurrent use; the empty one is ready.
type Table[K comparable] struct {
	keys  *simplelru.LRU[K, *entry]
	asked int64 // when the last question was, in ms
}

type entry struct {
	Counts
	items int
}

// Ask returns the counts of a key that has so many items now, at a time in ms.
func (t *Table[K]) Ask(key K, items int, now int64) Counts {
	if t.keys == nil {
		t.keys, _ = simplelru.NewLRU[K, *entry](MaxKeys, nil) // fails for sizes below 1 only
	}
	t.asked = now
	e, known := t.keys.Get(key)
	if !known {
		e = &entry{items: items}
		t.keys.Add(key, e)
	}
	e.see(items)
	return e.Counts
}

// Active reports whether anybody has asked of late, at a time in ms; See is needed then.
func (t *Table[K]) Active(now int64) bool {
	if t.keys == nil {
		return false
	}
	if now-t.asked > keep {
		t.keys = nil
		return false
	}
	return true
}

// See counts a change of a key that has so many items now.
func (t *Table[K]) See(key K, items int) {
	if e, known := t.keys.Peek(key); known {
		e.see(items)
	}
}

func (e *entry) see(items int) {
	if more := int64(items - e.items); more > 0 {
		e.In += more
	} else {
		e.Out -= more
	}
	e.items = items
}
