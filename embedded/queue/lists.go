package queue

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// miniredis keeps a list in a slice, and LPUSH copies all of it. So what is
// pushed to the left of a list of longHead items or more goes into a head of
// our own, in reverse, where a push is an append:
//
//	list  =  reversed head  +  miniredis' list (the tail, never empty)
//
// Push, pop, LLEN, LRANGE and LINDEX work on the two parts. Any other command
// that names the key has them joined first (fold).

const (
	longHead = 128 // below that the copy costs less than a head
	refill   = 64  // items moved at once from the head to a tail that runs dry
)

type dbKey struct {
	db  int
	key string
}

type lists struct {
	*engine
	heads map[dbKey][]string
}

// length returns the length of the list, or the error reply of miniredis.
func (l *lists) length(k dbKey) (int, string) {
	n, failed := l.tailLen(k)
	return n + len(l.heads[k]), failed
}

func (l *lists) tailLen(k dbKey) (int, string) {
	reply := l.ask(k.db, "LLEN", k.key)
	n, ok := parseInt(reply)
	if !ok {
		return 0, reply
	}
	return int(n), ""
}

// push adds values one after the other at one end.
func (l *lists) push(k dbKey, left bool, values []string) string {
	n, failed := l.tailLen(k)
	if failed != "" {
		return failed
	}
	head, hasHead := l.heads[k]
	if left && (hasHead || n+len(values) > longHead && n > 0) {
		l.heads[k] = append(head, values...)
		return replyInt(int64(n + len(head) + len(values)))
	}
	name := "RPUSH"
	if left {
		name = "LPUSH"
		if n == 0 { // the same list without a copy for each value
			name, values = "RPUSH", slices.Clone(values)
			slices.Reverse(values)
		}
	}
	l.ask(k.db, append([]string{name, k.key}, values...)...)
	return replyInt(int64(n + len(head) + len(values)))
}

// pop removes up to count items from one end. The list has to exist.
func (l *lists) pop(k dbKey, left bool, count int) []string {
	if !left {
		l.fillTail(k, count)
		return l.popTail(k, "RPOP", count)
	}
	head := l.heads[k]
	n := min(count, len(head))
	items := slices.Clone(head[len(head)-n:])
	slices.Reverse(items)
	clear(head[len(head)-n:]) // the array stays, the items need not
	l.setHead(k, head[:len(head)-n])
	if n < count {
		items = append(items, l.popTail(k, "LPOP", count-n)...)
	}
	return items
}

func (l *lists) popTail(k dbKey, name string, count int) []string {
	if count == 1 {
		return parseStrings(l.ask(k.db, name, k.key))
	}
	return parseStrings(l.ask(k.db, name, k.key, strconv.Itoa(count)))
}

// fillTail moves items from the head to the tail so that the tail outlives the
// removal of count items as long as there is a head.
func (l *lists) fillTail(k dbKey, count int) {
	head := l.heads[k]
	if len(head) == 0 {
		return
	}
	n, _ := l.tailLen(k)
	if n > count {
		return
	}
	if count >= longHead {
		l.fold(k)
		return
	}
	move := min(len(head), count+refill)
	l.ask(k.db, append([]string{"LPUSH", k.key}, head[:move]...)...)
	clear(head[:move])
	l.setHead(k, head[move:])
}

func (l *lists) setHead(k dbKey, head []string) {
	if len(head) == 0 {
		delete(l.heads, k)
		return
	}
	l.heads[k] = head
}

// slice returns the items between two offsets, both included, negative ones
// counted from the end.
func (l *lists) slice(k dbKey, start, stop int) ([]string, string) {
	n, failed := l.length(k)
	if failed != "" {
		return nil, failed
	}
	if start < 0 {
		start = max(0, n+start)
	}
	if stop < 0 {
		stop = n + stop
	}
	stop = min(stop, n-1)
	if start > stop {
		return nil, ""
	}
	head := l.heads[k]
	items := make([]string, 0, stop-start+1)
	for i := start; i <= min(stop, len(head)-1); i++ {
		items = append(items, head[len(head)-1-i])
	}
	if stop >= len(head) {
		from := max(0, start-len(head))
		items = append(items, parseStrings(l.ask(k.db, "LRANGE", k.key, strconv.Itoa(from), strconv.Itoa(stop-len(head))))...)
	}
	return items, ""
}

// fold joins head and tail in miniredis.
func (l *lists) fold(k dbKey) {
	head, ok := l.heads[k]
	if !ok {
		return
	}
	delete(l.heads, k)
	slices.Reverse(head)
	deadline := l.ask(k.db, "PEXPIRETIME", k.key)
	if l.inScript() {
		tail := parseStrings(l.ask(k.db, "LRANGE", k.key, "0", "-1"))
		l.ask(k.db, "DEL", k.key)
		l.ask(k.db, append(append([]string{"RPUSH", k.key}, head...), tail...)...)
	} else {
		db := l.redis.DB(k.db)
		tail, _ := db.List(k.key)
		db.Del(k.key)
		_, _ = db.Push(k.key, head...)
		_, _ = db.Push(k.key, tail...)
	}
	if at, _ := parseInt(deadline); at > 0 {
		l.ask(k.db, "PEXPIREAT", k.key, strconv.FormatInt(at, 10))
	}
}

// dropDB forgets the heads of a database that was emptied.
func (l *lists) dropDB(db int) {
	for k := range l.heads {
		if k.db == db {
			delete(l.heads, k)
		}
	}
}

func parseSide(s string) (left, ok bool) {
	switch strings.ToUpper(s) {
	case "LEFT":
		return true, true
	case "RIGHT":
		return false, true
	}
	return false, false
}

func parseCount(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n <= math.MaxInt32
}
