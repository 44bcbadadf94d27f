package engine

import (
	"math"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
)

func init() {
	register("COPY", -3, grows, copyCommand)
	register("DBSIZE", 1, reads, func(c *Context) { c.Out.Int(c.e.dbs[c.db].keys.Len()) })
	register("DEL", -2, writes, del)
	register("EXISTS", -2, reads, exists)
	register("EXPIRE", -3, writes, expireIn(unit{ms: 1000}))
	register("EXPIREAT", -3, writes, expireIn(unit{ms: 1000, absolute: true}))
	register("EXPIRETIME", 2, reads, timeLeft(unit{ms: 1000, absolute: true}))
	register("FLUSHALL", -1, writes, flush)
	register("FLUSHDB", -1, writes, flush)
	register("KEYS", 2, reads, keysCommand)
	register("PERSIST", 2, writes, persist)
	register("PEXPIRE", -3, writes, expireIn(unit{ms: 1}))
	register("PEXPIREAT", -3, writes, expireIn(unit{ms: 1, absolute: true}))
	register("PEXPIRETIME", 2, reads, timeLeft(unit{ms: 1, absolute: true}))
	register("PTTL", 2, reads, timeLeft(unit{ms: 1}))
	register("RANDOMKEY", 1, reads, randomKey)
	register("RENAME", 3, writes, rename)
	register("RENAMENX", 3, writes, rename)
	register("SCAN", -2, reads, scan)
	register("TOUCH", -2, reads, exists)
	register("TTL", 2, reads, timeLeft(unit{ms: 1000}))
	register("TYPE", 2, reads, typeCommand)
	register("UNLINK", -2, writes, del)
}

type unit struct {
	ms       int64
	absolute bool // a Unix time
}

func unitOf(arg string) unit {
	switch {
	case is(arg, "EX"):
		return unit{ms: 1000}
	case is(arg, "PX"):
		return unit{ms: 1}
	case is(arg, "EXAT"):
		return unit{1000, true}
	case is(arg, "PXAT"):
		return unit{1, true}
	}
	return unit{}
}

// deadline reads a time as a Unix time in ms.
func (c *Context) deadline(arg string, u unit, positive bool) int64 {
	n := c.integer(arg)
	now := c.e.clock
	if u.absolute {
		now = 0
	}
	if positive && n <= 0 || n > math.MaxInt64/u.ms || n < math.MinInt64/u.ms || n*u.ms > math.MaxInt64-now {
		c.fail("ERR invalid expire time in '" + lower(c.args[0]) + "' command")
	}
	return n*u.ms + now
}

// expire sets the deadline of a key that is there; 0 is none.
func (c *Context) expire(key string, at int64) {
	ks := &c.e.dbs[c.db]
	if ent := ks.keys.Get(key); ent != nil && (at != 0 || ent.expires != 0) {
		ks.expire(key, ent, at)
	}
}

// setDeadline gives a key that is there a deadline, or deletes it when that has
// passed.
func (c *Context) setDeadline(key string, at int64) {
	if at <= c.e.clock && !c.e.loading {
		c.e.remove(c.db, key)
		c.touch(key, "del")
		c.note("DEL", key)
		return
	}
	c.expire(key, at)
	c.touch(key, "expire")
	c.note("PEXPIREAT", key, strconv.FormatInt(at, 10))
}

func expireIn(u unit) func(*Context) {
	return func(c *Context) {
		var nx, xx, gt, lt bool
		for _, opt := range c.args[3:] {
			switch {
			case is(opt, "NX"):
				nx = true
			case is(opt, "XX"):
				xx = true
			case is(opt, "GT"):
				gt = true
			case is(opt, "LT"):
				lt = true
			default:
				c.fail("ERR Unsupported option " + argument.CString(opt))
			}
		}
		switch {
		case nx && (xx || gt || lt):
			c.fail("ERR NX and XX, GT or LT options at the same time are not compatible")
		case gt && lt:
			c.fail("ERR GT and LT options at the same time are not compatible")
		}
		at := c.deadline(c.args[2], u, false)
		ent := c.e.lookup(c.db, c.args[1])
		if ent == nil || nx && ent.expires != 0 || xx && ent.expires == 0 ||
			gt && (ent.expires == 0 || at <= ent.expires) || lt && ent.expires != 0 && at >= ent.expires {
			c.Out.Int(0)
			return
		}
		c.setDeadline(c.args[1], at)
		c.Out.Int(1)
	}
}

func timeLeft(u unit) func(*Context) {
	return func(c *Context) {
		ent := c.e.lookup(c.db, c.args[1])
		switch {
		case ent == nil:
			c.Out.Int(-2)
		case ent.expires == 0:
			c.Out.Int(-1)
		case u.absolute:
			c.Out.Int64(u.rounded(ent.expires))
		default:
			c.Out.Int64(u.rounded(max(0, ent.expires-c.e.clock)))
		}
	}
}

// rounded returns a time in ms, which is not negative and may be the largest, in its unit.
func (u unit) rounded(ms int64) int64 { return int64((uint64(ms) + uint64(u.ms/2)) / uint64(u.ms)) }

func persist(c *Context) {
	ent := c.e.lookup(c.db, c.args[1])
	if ent == nil || ent.expires == 0 {
		c.Out.Int(0)
		return
	}
	c.expire(c.args[1], 0)
	c.touch(c.args[1], "persist")
	c.Out.Int(1)
}

func del(c *Context) {
	n := 0
	for _, key := range c.args[1:] {
		if c.e.lookup(c.db, key) != nil {
			c.e.remove(c.db, key)
			c.touch(key, "del")
			n++
		}
	}
	c.Out.Int(n)
}

func exists(c *Context) {
	n := 0
	for _, key := range c.args[1:] {
		if c.e.lookup(c.db, key) != nil {
			n++
		}
	}
	c.Out.Int(n)
}

func typeCommand(c *Context) {
	if ent := c.e.lookup(c.db, c.args[1]); ent != nil {
		c.Out.Status(string(kindOf(ent.val)))
		return
	}
	c.Out.Status("none")
}

func flush(c *Context) {
	if len(c.args) > 2 || len(c.args) == 2 && !is(c.args[1], "ASYNC") && !is(c.args[1], "SYNC") {
		c.fail(ErrSyntax)
	}
	from, to := c.db, c.db
	if c.args[0] == "FLUSHALL" {
		from, to = 0, Databases-1
	}
	for db := from; db <= to; db++ {
		c.e.flush(db)
	}
	c.note(c.args[0])
	c.Out.OK()
}

func keysCommand(c *Context) {
	if len(c.args[1]) > argument.MaxPattern {
		c.fail(ErrPattern)
	}
	var found []string
	for _, key := range c.e.dbs[c.db].keys.Keys() {
		if argument.Match(c.args[1], key) && c.e.lookup(c.db, key) != nil {
			found = append(found, key)
		}
	}
	c.Out.Bulks(found)
}

func randomKey(c *Context) {
	for keys := &c.e.dbs[c.db].keys; keys.Len() > 0; {
		key := keys.Random().Key
		if c.e.lookup(c.db, key) != nil {
			c.Out.Bulk(key)
			return
		}
	}
	c.Out.Null()
}

func rename(c *Context) {
	from, to := c.args[1], c.args[2]
	ent := c.e.lookup(c.db, from)
	if ent == nil {
		c.fail("ERR no such key")
	}
	nx := c.args[0] == "RENAMENX"
	if nx && c.e.lookup(c.db, to) != nil {
		c.Out.Int(0)
		return
	}
	if from != to {
		c.e.move(c.db, from, to)
		c.touch(from, "rename_from")
		c.touch(to, "rename_to")
	}
	if nx {
		c.Out.Int(1)
		return
	}
	c.Out.OK()
}

// move gives a key's value and deadline to another key.
func (e *Engine) move(db int, from, to string) {
	e.remove(db, to)
	ks := &e.dbs[db]
	ent, _ := ks.keys.Delete(from)
	ks.keys.Set(to, entry{val: ent.val})
	if ent.expires != 0 {
		ks.expiring--
		ks.expire(to, ks.keys.Get(to), ent.expires)
	}
	e.used += sizeOf(to) - sizeOf(from)
}

func copyCommand(c *Context) {
	db, replace := c.db, false
	for i := 3; i < len(c.args); i++ {
		switch {
		case is(c.args[i], "REPLACE"):
			replace = true
		case is(c.args[i], "DB") && i+1 < len(c.args):
			i++
			n := c.integer(c.args[i])
			if n < 0 || n >= Databases {
				c.fail("ERR DB index is out of range")
			}
			db = int(n)
		default:
			c.fail(ErrSyntax)
		}
	}
	from, to := c.args[1], c.args[2]
	if db == c.db && from == to {
		c.fail("ERR source and destination objects are the same")
	}
	ent := c.e.lookup(c.db, from)
	if ent == nil || c.e.lookup(db, to) != nil && !replace {
		c.Out.Int(0)
		return
	}
	v, expires := ent.val, ent.expires
	c.checkRoom(keyCost + sizeOf(to) + valueSize(v))
	c.e.put(db, to, c.e.duplicate(v))
	if expires != 0 {
		c.e.dbs[db].expire(to, c.e.dbs[db].keys.Get(to), expires)
	}
	c.changed = true
	c.e.touch(db, to)
	if c.e.Notify {
		c.e.events = append(c.e.events, Event{Key{db, to}, "copy_to"})
	}
	c.Out.Int(1)
}

// duplicate returns a value of its own that is equal.
func (e *Engine) duplicate(v any) any {
	switch v := v.(type) {
	case *blob:
		return string(v.b)
	case *list:
		l := e.newList()
		l.replace(v.all())
		return l
	case *set:
		s := e.newSet()
		for _, it := range v.members.Items {
			s.add(it.Key)
		}
		return s
	case *hash:
		h := e.newHash()
		for _, it := range v.fields.Items {
			h.set(it.Key, e.fields.HGet(v.name, it.Key))
		}
		return h
	case *zset:
		z := e.newZset()
		for _, it := range v.scores.Items {
			z.set(it.Key, it.Val)
		}
		return z
	}
	return v
}

func scan(c *Context) {
	o := c.parseCursor(1)
	o = c.parseScan(2, o, true)
	items, next := c.e.dbs[c.db].keys.Scan(o.cursor, o.count)
	found := make([]string, 0, len(items))
	for _, it := range items {
		if argument.Match(o.pattern, it.Key) && (!o.typed || o.kind == kindOf(it.Val.val)) {
			found = append(found, it.Key)
		}
	}
	alive := found[:0]
	for _, key := range found {
		if c.e.lookup(c.db, key) != nil {
			alive = append(alive, key)
		}
	}
	c.replyScan(next, alive)
}

type scanOptions struct {
	cursor  uint64
	count   int
	pattern string
	kind    kind // of keys, if typed
	typed   bool
}

// parseCursor reads the cursor, the i-th argument of all commands that scan.
func (c *Context) parseCursor(i int) (o scanOptions) {
	digits := argument.CString(c.args[i])
	var err error
	if o.cursor, err = strconv.ParseUint(strings.TrimPrefix(digits, "-"), 10, 64); err != nil && digits != "" {
		c.fail("ERR invalid cursor")
	}
	o.count, o.pattern = 10, "*"
	return o
}

// parseScan reads the options, from the i-th argument on.
func (c *Context) parseScan(i int, o scanOptions, keys bool) scanOptions {
	for ; i < len(c.args); i += 2 {
		last := i == len(c.args)-1
		switch {
		case is(c.args[i], "COUNT") && !last:
			n := c.integer(c.args[i+1])
			if n < 1 {
				c.fail(ErrSyntax)
			}
			o.count = int(min(n, math.MaxInt32))
		case is(c.args[i], "MATCH") && !last:
			if o.pattern = c.args[i+1]; len(o.pattern) > argument.MaxPattern {
				c.fail(ErrPattern)
			}
		case is(c.args[i], "TYPE") && !last && keys:
			o.kind, o.typed = kind(lower(c.args[i+1])), true
		default:
			c.fail(ErrSyntax)
		}
	}
	return o
}

func (c *Context) replyScan(next uint64, items []string) {
	c.Out.Array(2)
	c.Out.Bulk(strconv.FormatUint(next, 10))
	c.Out.Bulks(items)
}

// smallValue is up to how many entries a value is scanned at once, as Redis does
// with values that it keeps in one piece.
const smallValue = 128

// scanValue scans the entries of a value; parts writes what is told of one.
func scanValue[V any](c *Context, o scanOptions, t *table.Map[V], parts func(table.Item[V]) []string) {
	if t != nil { // or nobody looks at the options
		o = c.parseScan(3, o, false)
	}
	if t.Len() <= smallValue {
		o.cursor, o.count = 0, smallValue
	}
	items, next := t.Scan(o.cursor, o.count)
	var out []string
	for _, it := range items {
		if argument.Match(o.pattern, it.Key) {
			out = append(out, parts(it)...)
		}
	}
	c.replyScan(next, out)
}
