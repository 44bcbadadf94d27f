package engine

import (
	"strconv"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
)

func init() {
	register("HDEL", -3, writes, removeItems[*hash])
	register("HEXISTS", 3, reads, hashGet)
	register("HGET", 3, reads, hashGet)
	register("HGETALL", 2, reads, hashAll)
	register("HINCRBY", 4, grows, hashIncr)
	register("HINCRBYFLOAT", 4, grows, hashIncrFloat)
	register("HKEYS", 2, reads, hashAll)
	register("HLEN", 2, reads, replyLen[*hash])
	register("HMGET", -3, reads, hashGet)
	register("HMSET", -4, grows, hashSet)
	register("HRANDFIELD", -2, reads, hashRandom)
	register("HSCAN", -3, reads, hashScan)
	register("HSET", -4, grows, hashSet)
	register("HSETNX", 4, grows, hashSet)
	register("HSTRLEN", 3, reads, hashGet)
	register("HVALS", 2, reads, hashAll)
}

func hashSet(c *Context) {
	pairs := c.args[2:]
	if len(pairs)%2 != 0 {
		c.failArity()
	}
	h := c.hash(c.args[1])
	if _, there := h.get(pairs[0]); there && c.args[0] == "HSETNX" {
		c.Out.Int(0)
		return
	}
	n := 0
	for i := 0; i < len(pairs); i += 2 {
		if h.set(pairs[i], pairs[i+1]) {
			n++
		}
	}
	c.touch(c.args[1])
	if c.args[0] == "HMSET" {
		c.Out.OK()
		return
	}
	c.Out.Int(n)
}

// hash returns the hash at a key for a change, a new one if there is none.
func (c *Context) hash(key string) *hash {
	h := edit[*hash](c, key)
	if h == nil {
		h = add(c, key, c.e.newHash())
	}
	return h
}

// hashGet implements HGET, HMGET, HEXISTS and HSTRLEN.
func hashGet(c *Context) {
	h := find[*hash](c, c.args[1])
	if c.args[0] == "HMGET" {
		c.Out.Array(len(c.args) - 2)
	}
	for _, f := range c.args[2:] {
		v, found := h.get(f)
		switch {
		case c.args[0] == "HEXISTS":
			c.Out.Flag(found)
		case c.args[0] == "HSTRLEN":
			c.Out.Int(len(v))
		case found:
			c.Out.Bulk(v)
		default:
			c.Out.Null()
		}
	}
}

// hashAll implements HGETALL, HKEYS and HVALS.
func hashAll(c *Context) {
	h := find[*hash](c, c.args[1])
	var fields []table.Item[int32]
	if h != nil {
		fields = h.fields.Items
	}
	if c.args[0] == "HGETALL" {
		c.Out.Map(len(fields))
	} else {
		c.Out.Array(len(fields))
	}
	for _, f := range fields {
		if c.args[0] != "HVALS" {
			c.Out.Bulk(f.Key)
		}
		if c.args[0] != "HKEYS" {
			c.Out.Bulk(c.e.fields.HGet(h.name, f.Key))
		}
	}
}

func hashIncr(c *Context) {
	by := c.integer(c.args[3])
	h := find[*hash](c, c.args[1])
	var n int64
	if old, found := h.get(c.args[2]); found {
		var ok bool
		if n, ok = argument.Int(old); !ok {
			c.fail("ERR hash value is not an integer")
		}
	}
	n = c.addInts(n, by)
	c.hash(c.args[1]).set(c.args[2], strconv.FormatInt(n, 10))
	c.touch(c.args[1])
	c.Out.Int64(n)
}

func hashIncrFloat(c *Context) {
	by, ok := argument.Long(c.args[3])
	switch {
	case !ok:
		c.fail(errNotFloat)
	case by.IsInf():
		c.fail("ERR value is NaN or Infinity")
	}
	h := find[*hash](c, c.args[1])
	old, found := h.get(c.args[2])
	if !found {
		old = "0"
	}
	sum := c.addFloats(old, c.args[3], "ERR hash value is not a float")
	c.hash(c.args[1]).set(c.args[2], sum)
	c.touch(c.args[1])
	c.note("HSET", c.args[1], c.args[2], sum)
	c.Out.Bulk(sum)
}

func hashRandom(c *Context) {
	r := c.parseRandom("WITHVALUES")
	h := find[*hash](c, c.args[1])
	replyRandom(c, r, h.table(), func(it table.Item[int32]) { c.Out.Bulk(c.e.fields.HGet(h.name, it.Key)) })
}

func hashScan(c *Context) {
	o := c.parseCursor(2)
	h := find[*hash](c, c.args[1])
	scanValue(c, o, h.table(), func(it table.Item[int32]) []string {
		return []string{it.Key, c.e.fields.HGet(h.name, it.Key)}
	})
}
