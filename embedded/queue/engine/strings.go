package engine

import (
	"math"
	"strconv"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
)

// maxString is the longest string, as in Redis.
const maxString = 512 << 20

func init() {
	register("APPEND", 3, grows, appendCommand)
	register("DECR", 2, grows, func(c *Context) { c.incr(c.args[1], -1) })
	register("DECRBY", 3, grows, decrBy)
	register("GET", 2, reads, func(c *Context) { c.reply(c.args[1]) })
	register("GETDEL", 2, writes, getDel)
	register("GETEX", -2, writes, getEx)
	register("GETRANGE", 4, reads, getRange)
	register("GETSET", 3, grows, getSet)
	register("INCR", 2, grows, func(c *Context) { c.incr(c.args[1], 1) })
	register("INCRBY", 3, grows, func(c *Context) { c.incr(c.args[1], c.integer(c.args[2])) })
	register("INCRBYFLOAT", 3, grows, incrByFloat)
	register("MGET", -2, reads, mget)
	register("MSET", -3, grows, mset)
	register("MSETNX", -3, grows, mset)
	register("PSETEX", 4, grows, setEx)
	register("SET", -3, grows, setCommand)
	register("SETEX", 4, grows, setEx)
	register("SETNX", 3, grows, setNX)
	register("SETRANGE", 4, grows, setRange)
	register("STRLEN", 2, reads, strLen)
	register("SUBSTR", 4, reads, getRange)
}

// text is a string value, either as it was set or changed in place.
type text struct {
	s string
	b []byte
}

func (t text) len() int { return len(t.s) + len(t.b) }

func (t text) slice(from, to int) string {
	if t.b != nil {
		return string(t.b[from:to])
	}
	return t.s[from:to]
}

func (t text) string() string { return t.slice(0, t.len()) }

// text returns the string at a key. It fails when the key holds something else.
func (c *Context) text(key string) (t text, found bool) {
	ent := c.e.lookup(c.db, key)
	if ent == nil {
		return text{}, false
	}
	switch v := ent.val.(type) {
	case string:
		return text{s: v}, true
	case *blob:
		return text{b: v.b}, true
	}
	c.fail(errWrongType)
	return text{}, false
}

// reply writes the string at a key, or null.
func (c *Context) reply(key string) {
	t, found := c.text(key)
	switch {
	case found && t.b != nil:
		c.Out.Bytes(t.b)
	case found:
		c.Out.Bulk(t.s)
	default:
		c.Out.Null()
	}
}

// store puts a string under a key whose deadline stays.
func (c *Context) store(key, s string) {
	var expires int64
	if ent := c.e.lookup(c.db, key); ent != nil {
		expires = ent.expires
	}
	c.e.put(c.db, key, s)
	c.expire(key, expires)
	c.touch(key)
}

// blob returns the string at a key, made n bytes long if it is shorter, for a
// change in place. The caller has looked at its type. It fails when memory is full.
func (c *Context) blob(key string, n int) []byte {
	ent := c.e.lookup(c.db, key)
	if ent == nil {
		c.checkRoom(int64(n))
		return add(c, key, c.e.newBlob(make([]byte, n))).b
	}
	v, inPlace := ent.val.(*blob)
	if !inPlace {
		s := ent.val.(string)
		c.checkRoom(int64(max(n-len(s), 0)))
		v = c.e.newBlob(append(make([]byte, 0, max(n, len(s))), s...))
		v.owner = c.e
		c.e.used += v.bytes - sizeOf(s)
		ent.val = v
	}
	c.checkRoom(int64(v.room(n) - cap(v.b)))
	c.e.keep(v)
	v.resize(max(n, len(v.b)))
	return v.b
}

func setCommand(c *Context) {
	opts := c.parseSet()
	key := c.args[1]
	if opts.get {
		c.reply(key)
	}
	ent := c.e.lookup(c.db, key)
	if opts.nx && ent != nil || opts.xx && ent == nil {
		if !opts.get {
			c.Out.Null()
		}
		return
	}
	effect := []string{"SET", key, c.args[2]}
	expires := opts.expires
	switch {
	case opts.keep && ent != nil && ent.expires != 0:
		expires = ent.expires
		effect = append(effect, "KEEPTTL")
	case expires != 0:
		effect = append(effect, "PXAT", strconv.FormatInt(expires, 10))
	}
	c.e.put(c.db, key, c.args[2])
	c.expire(key, expires)
	c.touch(key)
	if opts.expires != 0 {
		c.tell(key, "expire")
	}
	c.note(effect...)
	if !opts.get {
		c.Out.OK()
	}
}

type setOptions struct {
	nx, xx, get, keep bool
	expires           int64
}

func (c *Context) parseSet() (o setOptions) {
	for i := 3; i < len(c.args); i++ {
		arg := c.args[i]
		last := i == len(c.args)-1
		switch {
		case is(arg, "NX") && !o.xx:
			o.nx = true
		case is(arg, "XX") && !o.nx:
			o.xx = true
		case is(arg, "GET"):
			o.get = true
		case is(arg, "KEEPTTL") && o.expires == 0:
			o.keep = true
		case unitOf(arg).ms != 0 && !last && !o.keep && o.expires == 0:
			o.expires = int64(i) // until all of it is read
			i++
		default:
			c.fail(ErrSyntax)
		}
	}
	if i := o.expires; i != 0 {
		o.expires = c.deadline(c.args[i+1], unitOf(c.args[i]), true)
	}
	return o
}

func setEx(c *Context) {
	u := unit{ms: 1000}
	if c.args[0] == "PSETEX" {
		u.ms = 1
	}
	at := c.deadline(c.args[2], u, true)
	c.e.put(c.db, c.args[1], c.args[3])
	c.expire(c.args[1], at)
	c.touch(c.args[1], "expire")
	c.note("SET", c.args[1], c.args[3], "PXAT", strconv.FormatInt(at, 10))
	c.Out.OK()
}

func setNX(c *Context) {
	if c.e.lookup(c.db, c.args[1]) != nil {
		c.Out.Int(0)
		return
	}
	c.e.put(c.db, c.args[1], c.args[2])
	c.touch(c.args[1])
	c.Out.Int(1)
}

func getSet(c *Context) {
	c.reply(c.args[1])
	c.e.put(c.db, c.args[1], c.args[2])
	c.touch(c.args[1])
	c.note("SET", c.args[1], c.args[2])
}

func getDel(c *Context) {
	c.reply(c.args[1])
	if c.e.remove(c.db, c.args[1]) {
		c.touch(c.args[1], "del")
	}
}

func getEx(c *Context) {
	key, persist, timed := c.args[1], false, 0
	for i := 2; i < len(c.args); i++ {
		switch {
		case is(c.args[i], "PERSIST") && timed == 0:
			persist = true
		case unitOf(c.args[i]).ms != 0 && i+1 < len(c.args) && !persist && timed == 0:
			timed = i
			i++
		default:
			c.fail(ErrSyntax)
		}
	}
	_, found := c.text(key)
	var at int64
	if timed > 0 && found {
		at = c.deadline(c.args[timed+1], unitOf(c.args[timed]), true)
	}
	c.reply(key)
	ent := c.e.lookup(c.db, key)
	switch {
	case ent == nil:
	case timed > 0:
		c.setDeadline(key, at)
	case persist && ent.expires != 0:
		c.expire(key, 0)
		c.touch(key, "persist")
		c.note("PERSIST", key)
	}
}

func mget(c *Context) {
	c.Out.Array(len(c.args) - 1)
	for _, key := range c.args[1:] {
		ent := c.e.lookup(c.db, key)
		if ent == nil || kindOf(ent.val) != kindString {
			c.Out.Null()
			continue
		}
		c.reply(key)
	}
}

func mset(c *Context) {
	pairs := c.args[1:]
	if len(pairs)%2 != 0 {
		c.failArity()
	}
	fresh := c.args[0] == "MSETNX"
	for i := 0; fresh && i < len(pairs); i += 2 {
		if c.e.lookup(c.db, pairs[i]) != nil {
			c.Out.Int(0)
			return
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		c.e.put(c.db, pairs[i], pairs[i+1])
		c.touch(pairs[i])
	}
	if fresh {
		c.Out.Int(1)
		return
	}
	c.Out.OK()
}

func decrBy(c *Context) {
	by := c.integer(c.args[2])
	if by == math.MinInt64 {
		c.fail("ERR decrement would overflow")
	}
	c.incr(c.args[1], -by)
}

func (c *Context) incr(key string, by int64) {
	t, found := c.text(key)
	var n int64
	if found {
		n = c.integer(t.string())
	}
	n = c.addInts(n, by)
	c.store(key, strconv.FormatInt(n, 10))
	c.Out.Int64(n)
}

func incrByFloat(c *Context) {
	t, found := c.text(c.args[1])
	old := "0"
	if found {
		old = t.string()
	}
	sum := c.addFloats(old, c.args[2], errNotFloat)
	c.store(c.args[1], sum)
	c.note("SET", c.args[1], sum, "KEEPTTL")
	c.Out.Bulk(sum)
}

func appendCommand(c *Context) {
	key := c.args[1]
	t, found := c.text(key)
	if !found {
		c.store(key, c.args[2])
		c.Out.Int(len(c.args[2]))
		return
	}
	n := t.len() + len(c.args[2])
	if n > maxString {
		c.fail(errTooLong)
	}
	b := c.blob(key, n)
	copy(b[n-len(c.args[2]):], c.args[2])
	c.touch(key)
	c.Out.Int(n)
}

func strLen(c *Context) {
	t, _ := c.text(c.args[1])
	c.Out.Int(t.len())
}

func getRange(c *Context) {
	start, stop := c.integer(c.args[2]), c.integer(c.args[3])
	t, _ := c.text(c.args[1])
	if start < 0 && stop < 0 && start > stop {
		c.Out.Bulk("")
		return
	}
	from, to := argument.Range(start, max(stop, -int64(t.len())), t.len())
	c.Out.Bulk(t.slice(from, to))
}

func setRange(c *Context) {
	key, piece := c.args[1], c.args[3]
	offset := c.integer(c.args[2])
	if offset < 0 {
		c.fail("ERR offset is out of range")
	}
	t, _ := c.text(key)
	if piece == "" {
		c.Out.Int(t.len())
		return
	}
	if offset > maxString-int64(len(piece)) {
		c.fail(errTooLong)
	}
	n := max(t.len(), int(offset)+len(piece))
	b := c.blob(key, n)
	copy(b[offset:], piece)
	c.touch(key)
	c.Out.Int(n)
}
