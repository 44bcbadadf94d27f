// Package table has the hash table that all values of the queue's engine stand on, and
// the keys themselves. An entry can be picked from it at random, and a scan of it can go
// on where it stopped: neither can be done with Go's maps.
package table

import (
	"hash/maphash"
	"math/bits"
	"math/rand/v2"
)

// Map is a map whose entries stand in a row, so that one can be picked by
// chance and a scan can go on where it stopped. An entry that is deleted leaves
// its place to the last one, so a scan from the end to the beginning meets every
// entry that is there all the time, and may meet one twice. It takes some 12
// bytes beside each item. The zero value is empty.
type Map[V any] struct {
	Items []Item[V]
	slots []slot // open addressing; the size is a power of two
}

// Item is one entry of a map.
type Item[V any] struct {
	Key string
	Val V
}

// slot is the upper half of a key's hash, and the key's place in items plus one;
// 0 is a free slot.
type slot uint64

const minSlots = 8

var seed = maphash.MakeSeed()

func (s slot) place() int { return int(uint32(s)) - 1 }

func makeSlot(hash uint64, place int) slot { return slot(hash&^0xffffffff | uint64(place+1)) }

// home returns where a key's search begins.
func (t *Map[V]) home(s slot) int {
	return int(uint64(s) >> 32 >> (32 - bits.TrailingZeros(uint(len(t.slots)))))
}

// Len returns how many entries there are; a table that is not there has none.
func (t *Map[V]) Len() int {
	if t == nil {
		return 0
	}
	return len(t.Items)
}

// find returns the slot of key, or the free one where its search ends.
func (t *Map[V]) find(key string, hash uint64) (at int, found bool) {
	want, mask := slot(hash)>>32, len(t.slots)-1
	for at = t.home(slot(hash)); t.slots[at] != 0; at = (at + 1) & mask {
		if s := t.slots[at]; s>>32 == want && t.Items[s.place()].Key == key {
			return at, true
		}
	}
	return at, false
}

// Get returns the value of key, which may be changed in place until the next
// call that changes the table; nil when there is none.
func (t *Map[V]) Get(key string) *V {
	if t.Len() == 0 {
		return nil
	}
	at, found := t.find(key, maphash.String(seed, key))
	if !found {
		return nil
	}
	return &t.Items[t.slots[at].place()].Val
}

// Set gives key a value and reports whether the key is new.
func (t *Map[V]) Set(key string, val V) bool {
	if 8*(len(t.Items)+1) > 7*len(t.slots) {
		t.resize(max(minSlots, 2*len(t.slots)))
	}
	hash := maphash.String(seed, key)
	at, found := t.find(key, hash)
	if found {
		t.Items[t.slots[at].place()].Val = val
		return false
	}
	t.slots[at] = makeSlot(hash, len(t.Items))
	t.Items = append(t.Items, Item[V]{key, val})
	return true
}

// Delete takes key out and reports whether it was there.
func (t *Map[V]) Delete(key string) (val V, found bool) {
	if len(t.Items) == 0 {
		return val, false
	}
	at, found := t.find(key, maphash.String(seed, key))
	if !found {
		return val, false
	}
	place, last := t.slots[at].place(), len(t.Items)-1
	val = t.Items[place].Val
	if place != last {
		moved := maphash.String(seed, t.Items[last].Key)
		at, _ := t.find(t.Items[last].Key, moved)
		t.slots[at] = makeSlot(moved, place)
		t.Items[place] = t.Items[last]
	}
	t.Items[last] = Item[V]{}
	t.Items = t.Items[:last]
	t.free(at)
	t.shrink()
	return val, true
}

// free empties a slot and moves those behind it up, so that no search ends early.
func (t *Map[V]) free(at int) {
	mask := len(t.slots) - 1
	for next := (at + 1) & mask; t.slots[next] != 0; next = (next + 1) & mask {
		if (next-t.home(t.slots[next]))&mask >= (next-at)&mask {
			t.slots[at] = t.slots[next]
			at = next
		}
	}
	t.slots[at] = 0
}

// shrink gives back what is not needed, so that what a table takes is never far from
// what its entries count for.
func (t *Map[V]) shrink() {
	if len(t.slots) > minSlots && 4*len(t.Items) < len(t.slots) {
		t.resize(len(t.slots) / 2)
	}
	if n := len(t.Items); cap(t.Items) > minSlots && 2*n < cap(t.Items) {
		t.Items = append(make([]Item[V], 0, n+n/4+1), t.Items...)
	}
}

// resize moves the slots without a look at the keys.
func (t *Map[V]) resize(size int) {
	old := t.slots
	t.slots = make([]slot, max(minSlots, size))
	mask := len(t.slots) - 1
	for _, s := range old {
		if s == 0 {
			continue
		}
		at := t.home(s)
		for t.slots[at] != 0 {
			at = (at + 1) & mask
		}
		t.slots[at] = s
	}
}

// Random returns an entry at random. The table must not be empty.
func (t *Map[V]) Random() *Item[V] { return &t.Items[rand.IntN(len(t.Items))] }

// Sample returns n different entries at random, n at most len.
func (t *Map[V]) Sample(n int) []Item[V] {
	if 3*n > len(t.Items) {
		all := append([]Item[V](nil), t.Items...)
		for i := range n {
			j := i + rand.IntN(len(all)-i)
			all[i], all[j] = all[j], all[i]
		}
		return all[:n]
	}
	seen, out := make(map[int]bool, n), make([]Item[V], 0, n)
	for len(out) < n {
		if i := rand.IntN(len(t.Items)); !seen[i] {
			seen[i] = true
			out = append(out, t.Items[i])
		}
	}
	return out
}

// Scan returns up to count entries, from the cursor of the last call or 0, and
// the next cursor, 0 at the end.
func (t *Map[V]) Scan(cursor uint64, count int) ([]Item[V], uint64) {
	to := t.Len()
	if to == 0 {
		return nil, 0
	}
	if cursor > 0 {
		to = int(min(cursor, uint64(to)))
	}
	from := max(0, to-count)
	return t.Items[from:to], uint64(from)
}

func (t *Map[V]) Keys() []string {
	out := make([]string, len(t.Items))
	for i := range t.Items {
		out[i] = t.Items[i].Key
	}
	return out
}

// Clone returns a table of the same entries that can only be walked.
func (t *Map[V]) Clone() Map[V] { return Map[V]{Items: append([]Item[V](nil), t.Items...)} }
