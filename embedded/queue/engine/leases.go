package engine

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

// The scripts of the leases, done without Lua. What package script has in Lua is what they
// do, down to what happens when a key that is theirs holds something else. They are not
// refused when memory is full, as a pop is not: an entry takes some hundred bytes more than
// its item, for as long as it is held, and a holder has no more of them than its window, or
// its last pop, is large. A pop of so many that this counts needs room.

const errLease = "ERR wrong arguments for a script of the leases"

// popKinds says of each pop what kind its entries are.
var popKinds = map[string]byte{
	"LPOP": script.Left, "RPOP": script.Right, "SPOP": script.Set, "ZPOPMIN": script.Sorted, "ZPOPMAX": script.Sorted,
}

// take is a call of script.Take.
type take struct {
	held, holders, tries string
	head                 string // kind and stamp of the entries
	pop                  string
	count, window        int
	shape                byte
	info                 string
}

func leaseTake(c *Context, keys, argv []string) {
	if len(keys) < 4 || len(argv) != 6 || len(argv[4]) != len(keys) || argv[0] == "" ||
		strings.Contains(argv[0], ":") || popKinds[argv[1]] != argv[0][0] {
		c.fail(errLease)
	}
	options := argv[4]
	t := take{
		held: keys[0], holders: keys[1], tries: keys[2],
		head:   argv[0],
		pop:    argv[1],
		count:  c.bounded(argv[2], 1, math.MaxInt64, errLease),
		window: c.bounded(argv[3], 1, math.MaxInt32, errLease),
		shape:  options[0],
		info:   argv[5],
	}
	name, _ := strings.CutPrefix(t.held, script.HeldPrefix)
	if options[2] != 'x' && c.e.lookup(c.db, script.Leaving+script.IDOf(name)) != nil {
		c.fail(script.ErrLeaving)
	}
	for i, key := range keys[3:] {
		ent := c.e.lookup(c.db, key)
		if ent == nil {
			continue
		}
		if kindOf(ent.val) != t.kind() {
			if options[2] != 'w' {
				c.fail(errWrongType)
			}
			continue
		}
		leased := options[3+i] == '1'
		if leased {
			find[*list](c, t.held) // or it would fail once the item is gone
		}
		if leased {
			c.checkEntries(t, key, ent.val.(counted).count())
		}
		got := c.popSome(t.pop, key, t.count)
		if leased {
			c.hold(t, key, got)
		}
		c.replyTaken(t, key, got)
		return
	}
	c.Out.Null()
}

// checkEntries refuses a pop of many out of n items whose entries have no room.
func (c *Context) checkEntries(t take, key string, n int) {
	const few = 1 << 20 // bytes
	entry := script.Entry{Kind: t.head[0], Stamp: t.head[1:], Key: key}
	if more := int64(min(t.count, n)) * (sizeOf(entry.String()) + stringCost); more > few {
		c.checkRoom(more)
	}
}

func (t take) kind() kind {
	switch t.head[0] {
	case script.Set:
		return kindSet
	case script.Sorted:
		return kindZset
	}
	return kindList
}

// popSome pops up to count items of a key that has some; those that are not of a sorted set
// have no score.
func (c *Context) popSome(pop, key string, count int) (got []scored) {
	switch v := c.e.lookup(c.db, key).val.(type) {
	case *list:
		left := pop == "LPOP"
		c.checkListReply(v, left, count)
		c.e.keep(v)
		for range min(count, v.n) {
			got = append(got, scored{member: v.pop(left)})
		}
		c.finishChange(key, v.n, pop)
		c.notePop(pop, key, len(got))
	case *set:
		got = c.popMembers(v, key, count)
	case *zset:
		low := pop == "ZPOPMIN"
		c.checkZsetReply(v, low, count)
		c.e.keep(v)
		got = c.takeScored(v, key, low, count)
		c.notePop(pop, key, len(got))
	}
	return got
}

// hold writes down who holds items of a key, and takes away entries that are done.
func (c *Context) hold(t take, key string, got []scored) {
	entry := script.Entry{Kind: t.head[0], Stamp: t.head[1:], Key: key}
	entries := make([]string, len(got))
	for i, it := range got {
		if entry.Item = it.member; entry.Kind == script.Sorted {
			entry.Score = resp.FormatDouble(it.score)
		}
		entries[i] = entry.String()
	}
	held := c.pushed(t.held, false, entries...)
	if held.n == len(entries) {
		c.setField(t.holders, t.held[min(len(script.HeldPrefix), len(t.held)):], t.info)
	}
	last := entries[len(entries)-1]
	over := held.n - max(t.window, len(entries))
	if over > script.Slack || over > 0 && len(last) > script.SlackBytes {
		var fields []string
		for range over {
			if e, ok := script.Parse(held.pop(true)); ok {
				fields = append(fields, e.Field())
			}
		}
		c.finishChange(t.held, held.n, "lpop")
		c.notePop("LPOP", t.held, over)
		c.removeFields(t.tries, fields...)
	}
}

// replyTaken replies in the shape that is asked for: see take.lua.
func (c *Context) replyTaken(t take, key string, got []scored) {
	sorted := t.kind() == kindZset
	switch t.shape {
	case 'i':
		c.Out.Bulk(got[0].member)
	case 'o':
		c.Out.OK()
	case 'n':
		c.Out.Int(len(got))
	case 'k':
		if !sorted {
			c.Out.Bulks([]string{key, got[0].member})
			return
		}
		c.Out.Array(3)
		c.Out.Bulk(key)
		c.Out.Bulk(got[0].member)
		c.Out.Double(got[0].score)
	case 'm':
		c.Out.Array(2)
		c.Out.Bulk(key)
		c.replyScored(got, sorted, sorted)
	case 's':
		c.Out.Set(len(got))
		for _, it := range got {
			c.Out.Bulk(it.member)
		}
	default:
		c.replyScored(got, sorted, sorted && t.shape != 'a')
	}
}

func leaseSettle(c *Context, keys, argv []string) {
	if len(keys) < 4 || len(keys)%2 != 0 || len(argv) < 3 {
		c.fail(errLease)
	}
	held, holders, tries, died := keys[0], keys[1], keys[2], keys[3]
	how, most := argv[1], c.bounded(argv[2], 1, math.MaxInt64, errLease)
	deadOf := map[string]string{}
	for i := 4; i < len(keys); i += 2 {
		deadOf[keys[i]] = keys[i+1]
	}
	gone, dead := 0, 0
	var stuck []string
	for _, text := range argv[3:] {
		if !c.removeLast(held, text) {
			continue
		}
		gone++
		e, ok := script.Parse(text)
		list, known := deadOf[e.Key]
		switch {
		case ok && how == "done":
			c.removeFields(tries, e.Field())
			continue
		case !ok || !known:
			continue
		}
		came := 0
		if how == "back" {
			came = c.countTry(tries, e.Field())
		}
		switch {
		case came < most && c.giveBack(e, false):
		case !c.pushedSoftly(list, false, e.Item):
			stuck = append(stuck, text)
		default:
			dead++
			c.setField(died, e.Field(), string(e.Kind)+e.Score)
			c.removeFields(tries, e.Field())
		}
	}
	slices.Reverse(stuck)
	for _, text := range stuck {
		c.pushed(held, false, text)
	}
	if c.e.lookup(c.db, held) == nil {
		c.removeFields(holders, argv[0])
	}
	c.replyInts(gone-len(stuck), dead, len(stuck))
}

func leaseRetry(c *Context, keys, argv []string) {
	if len(keys) != 3 || len(argv) < 1 {
		c.fail(errLease)
	}
	key, dead, died := keys[0], keys[1], keys[2]
	moved, stuck := 0, 0
	for _, item := range argv[1:] {
		if !c.removeFirst(dead, item) {
			continue
		}
		e := script.Entry{Kind: script.Left, Key: key, Item: item, Score: "0"}
		h, _ := soft[*hash](c, died)
		if was, found := h.get(e.Field()); found && was != "" {
			e.Kind, e.Score = was[0], was[1:]
		} else if ent := c.e.lookup(c.db, key); ent != nil {
			switch ent.val.(type) {
			case *set:
				e.Kind = script.Set
			case *zset:
				e.Kind = script.Sorted
			}
		}
		if argv[0] == "retry" && !c.giveBack(e, true) {
			stuck++
			c.pushed(dead, false, item)
			continue
		}
		moved++
		c.removeFields(died, e.Field())
	}
	c.replyInts(moved, stuck)
}

// giveBack puts an item back to where it was popped, or at the other end of its list, and
// reports false when its key holds something else.
func (c *Context) giveBack(e script.Entry, far bool) bool {
	switch e.Kind {
	case script.Left, script.Right:
		return c.pushedSoftly(e.Key, (e.Kind == script.Left) != far, e.Item)
	case script.Set:
		s, ok := soft[*set](c, e.Key)
		if !ok {
			return false
		}
		if s == nil {
			s = add(c, e.Key, c.e.newSet())
		}
		if s.add(e.Item) {
			c.touch(e.Key, "sadd")
			c.note("SADD", e.Key, e.Item)
		}
		return true
	}
	z, ok := soft[*zset](c, e.Key)
	score, valid := argument.Float(e.Score)
	if !ok || !valid {
		return false
	}
	if z == nil {
		z = add(c, e.Key, c.e.newZset())
	}
	if _, found := z.score(e.Item); !found {
		z.set(e.Item, unsigned(score))
		c.touch(e.Key, "zadd")
		c.note("ZADD", e.Key, resp.FormatDouble(score), e.Item)
	}
	return true
}

// soft is edit for a key that may hold something else; then it reports false.
func soft[T value](c *Context, key string) (v T, ok bool) {
	ent := c.e.lookup(c.db, key)
	if ent == nil {
		return v, true
	}
	if v, ok = ent.val.(T); ok {
		c.e.keep(v)
	}
	return v, ok
}

// pushed pushes items to a list and returns it, or fails.
func (c *Context) pushed(key string, left bool, items ...string) *list {
	l := edit[*list](c, key)
	if l == nil {
		l = add(c, key, c.e.newList())
	}
	for _, item := range items {
		l.push(left, item)
	}
	c.touch(key, pushEvent(left))
	c.note(append([]string{pushEvent(left), key}, items...)...)
	return l
}

// pushedSoftly pushes an item to a list, and reports whether it could.
func (c *Context) pushedSoftly(key string, left bool, item string) bool {
	if _, ok := soft[*list](c, key); !ok {
		return false
	}
	c.pushed(key, left, item)
	return true
}

// removeFirst takes the first of some equal items out of a list, and reports whether there
// was one.
func (c *Context) removeFirst(key, item string) bool {
	l := edit[*list](c, key)
	for i := range l.count() {
		if l.at(i) == item {
			c.removeAt(l, key, i, "1")
			return true
		}
	}
	return false
}

// removeLast is removeFirst from the other end.
func (c *Context) removeLast(key, item string) bool {
	l := edit[*list](c, key)
	for i := l.count() - 1; i >= 0; i-- {
		if l.at(i) == item {
			c.removeAt(l, key, i, "-1")
			return true
		}
	}
	return false
}

// removeAt takes the i-th item out of a list; count is what LREM finds it by.
func (c *Context) removeAt(l *list, key string, i int, count string) {
	item := l.at(i)
	switch i {
	case 0:
		l.pop(true)
	case l.n - 1:
		l.pop(false)
	default:
		l.replace(slices.Delete(l.all(), i, i+1))
	}
	c.finishChange(key, l.n, "lrem")
	c.note("LREM", key, count, item)
}

// setField sets a field of a hash, unless the key holds something else.
func (c *Context) setField(key, field, v string) {
	h, ok := soft[*hash](c, key)
	if !ok {
		return
	}
	if h == nil {
		h = add(c, key, c.e.newHash())
	}
	h.set(field, v)
	c.touch(key)
	c.note("HSET", key, field, v)
}

// removeFields takes fields out of a hash, unless the key holds something else.
func (c *Context) removeFields(key string, fields ...string) {
	h, _ := soft[*hash](c, key)
	args := []string{"HDEL", key}
	for _, f := range fields {
		if h.count() > 0 && h.remove(f) {
			args = append(args, f)
		}
	}
	if len(args) > 2 {
		c.finishChange(key, h.count(), "HDEL")
		c.note(args...)
	}
}

// countTry counts that an item came back, and returns how often it has.
func (c *Context) countTry(tries, field string) int {
	h, ok := soft[*hash](c, tries)
	old, _ := h.get(field)
	n := int64(0)
	if old != "" {
		var fine bool
		if n, fine = argument.Int(old); !fine || n == math.MaxInt64 {
			return 1
		}
	}
	if !ok {
		return 1
	}
	c.setField(tries, field, strconv.FormatInt(n+1, 10))
	return int(n + 1)
}

func (c *Context) replyInts(some ...int) {
	c.Out.Array(len(some))
	for _, n := range some {
		c.Out.Int(n)
	}
}
