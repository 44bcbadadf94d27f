package engine

import (
	"math"
	"strconv"
	"time"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

func init() {
	register("BLMOVE", 6, grows, func(c *Context) { c.blockMove(c.args[:5], c.args[5]) })
	register("BLMPOP", -5, writes, func(c *Context) { c.blockMultiPop(kindList) })
	register("BLPOP", -3, writes, blockPop)
	register("BRPOP", -3, writes, blockPop)
	register("BRPOPLPUSH", 4, grows, func(c *Context) { c.blockMove(c.args[:3], c.args[3]) })
	register("BZMPOP", -5, writes, func(c *Context) { c.blockMultiPop(kindZset) })
	register("BZPOPMAX", -3, writes, blockPop)
	register("BZPOPMIN", -3, writes, blockPop)
}

// block describes what is tried with each of some keys, and what waits for one of
// them when there is nothing. A key counts once, however often it is mentioned.
func (c *Context) block(keys []string, k kind, serve func(*Context, string) bool) *Block {
	b := &Block{kind: k, serve: serve, none: (*resp.Writer).NullArray}
	var seen table.Map[struct{}]
	for _, key := range keys {
		if len(keys) == 1 || seen.Set(key, struct{}{}) {
			b.Keys = append(b.Keys, Key{c.db, key})
		}
	}
	return b
}

// tryPop takes from the first key that has something, and replies that there is
// nothing otherwise, or waits.
func (c *Context) tryPop(b *Block) {
	for _, key := range b.Keys {
		if b.serve(c, key.Name) {
			return
		}
	}
	if c.Wait && b.Timeout >= 0 {
		c.Block = b
		return
	}
	b.none(&c.Out)
}

const noWait = -1

// timeout reads seconds, with a fraction; 0 is for ever.
func (c *Context) timeout(arg string) time.Duration {
	d, number, inRange := argument.Seconds(arg)
	switch {
	case !number:
		c.fail("ERR timeout is not a float or out of range")
	case !inRange:
		c.fail("ERR timeout is negative")
	}
	return d
}

// blockPop implements BLPOP, BRPOP, BZPOPMIN and BZPOPMAX: key … timeout.
func blockPop(c *Context) {
	last := len(c.args) - 1
	timeout := c.timeout(c.args[last])
	k, serve := kindList, popItem(c.args[0] == "BLPOP")
	if c.args[0][1] == 'Z' {
		k, serve = kindZset, popScored(c.args[0] == "BZPOPMIN")
	}
	b := c.block(c.args[1:last], k, serve)
	b.Timeout = timeout
	c.tryPop(b)
}

func popItem(left bool) func(*Context, string) bool {
	return func(c *Context, key string) bool {
		l := edit[*list](c, key)
		if l == nil {
			return false
		}
		c.Out.Array(2)
		c.Out.Bulk(key)
		c.Out.Bulk(c.take(l, key, left))
		c.notePop(popEvent(left), key, 1)
		return true
	}
}

func popScored(low bool) func(*Context, string) bool {
	return func(c *Context, key string) bool {
		z := edit[*zset](c, key)
		if z == nil {
			return false
		}
		s := c.takeScored(z, key, low, 1)[0]
		c.Out.Array(3)
		c.Out.Bulk(key)
		c.Out.Bulk(s.member)
		c.Out.Double(s.score)
		c.notePop(zpopName(low), key, 1)
		return true
	}
}

func (c *Context) notePop(name, key string, n int) {
	c.note(name, key, strconv.Itoa(n))
}

// blockMove implements BLMOVE and BRPOPLPUSH.
func (c *Context) blockMove(args []string, timeout string) {
	b := c.parseMove(args)
	b.Timeout = c.timeout(timeout)
	c.tryPop(b)
}

// blockMultiPop implements BLMPOP and BZMPOP: timeout numkeys key … rest.
func (c *Context) blockMultiPop(k kind) {
	b := c.parseMultiPop(2, k)
	b.Timeout = c.timeout(c.args[1])
	c.tryPop(b)
}

// parseMultiPop reads numkeys key … LEFT|RIGHT|MIN|MAX [COUNT n] from the i-th
// argument on.
func (c *Context) parseMultiPop(i int, k kind) *Block {
	n := c.bounded(c.args[i], 1, math.MaxInt64, errNumKeys)
	if n >= len(c.args)-i-1 {
		c.fail(ErrSyntax)
	}
	keys, rest := c.args[i+1:i+1+n], c.args[i+1+n:]
	first, second := "LEFT", "RIGHT"
	if k == kindZset {
		first, second = "MIN", "MAX"
	}
	front, count := is(rest[0], first), 1
	if !front && !is(rest[0], second) {
		c.fail(ErrSyntax)
	}
	for i := 1; i < len(rest); i += 2 {
		if i > 1 || !is(rest[i], "COUNT") || i+1 == len(rest) {
			c.fail(ErrSyntax)
		}
		count = c.bounded(rest[i+1], 1, math.MaxInt64, errCount)
	}
	serve := popItems(front, count)
	if k == kindZset {
		serve = popScores(front, count)
	}
	b := c.block(keys, k, serve)
	b.Timeout = noWait
	return b
}

func popItems(left bool, count int) func(*Context, string) bool {
	return func(c *Context, key string) bool {
		l := edit[*list](c, key)
		if l == nil {
			return false
		}
		c.checkListReply(l, left, count)
		c.Out.Array(2)
		c.Out.Bulk(key)
		c.takeSome(l, key, left, count)
		c.notePop(popEvent(left), key, count)
		return true
	}
}

func popScores(low bool, count int) func(*Context, string) bool {
	return func(c *Context, key string) bool {
		z := edit[*zset](c, key)
		if z == nil {
			return false
		}
		c.checkZsetReply(z, low, count)
		taken := c.takeScored(z, key, low, count)
		c.Out.Array(2)
		c.Out.Bulk(key)
		c.replyScored(taken, true, true)
		c.notePop(zpopName(low), key, count)
		return true
	}
}
