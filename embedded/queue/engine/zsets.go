package engine

import (
	"math"
	"strconv"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

func init() {
	register("ZADD", -4, grows, zsetAdd)
	register("ZCARD", 2, reads, replyLen[*zset])
	register("ZINCRBY", 4, grows, zsetIncr)
	register("ZMPOP", -4, writes, func(c *Context) { c.tryPop(c.parseMultiPop(1, kindZset)) })
	register("ZMSCORE", -3, reads, zsetScore)
	register("ZPOPMAX", -2, writes, func(c *Context) { c.popZset(false) })
	register("ZPOPMIN", -2, writes, func(c *Context) { c.popZset(true) })
	register("ZRANDMEMBER", -2, reads, zsetRandom)
	register("ZRANK", 3, reads, zsetRank)
	register("ZREM", -3, writes, removeItems[*zset])
	register("ZREVRANK", 3, reads, zsetRank)
	register("ZSCAN", -3, reads, zsetScan)
	register("ZSCORE", 3, reads, zsetScore)
}

const errNaN = "ERR resulting score is not a number (NaN)"

type addOptions struct{ nx, xx, gt, lt, ch, incr bool }

// parseAdd reads ZADD's options and returns what follows them.
func (c *Context) parseAdd() (o addOptions, pairs []string) {
	pairs = c.args[2:]
	flags := map[string]*bool{"NX": &o.nx, "XX": &o.xx, "GT": &o.gt, "LT": &o.lt, "CH": &o.ch, "INCR": &o.incr}
	for len(pairs) > 0 {
		f := flags[upper(pairs[0])]
		if f == nil {
			break
		}
		*f, pairs = true, pairs[1:]
	}
	switch {
	case len(pairs) == 0 || len(pairs)%2 != 0:
		c.fail(ErrSyntax)
	case o.nx && o.xx:
		c.fail("ERR XX and NX options at the same time are not compatible")
	case o.gt && o.nx || o.lt && o.nx || o.gt && o.lt:
		c.fail("ERR GT, LT, and/or NX options at the same time are not compatible")
	case o.incr && len(pairs) > 2:
		c.fail("ERR INCR option supports a single increment-element pair")
	}
	return o, pairs
}

func zsetAdd(c *Context) {
	o, pairs := c.parseAdd()
	scores := make([]float64, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		scores = append(scores, c.float(pairs[i], errNotFloat))
	}
	z := edit[*zset](c, c.args[1])
	if z == nil && !o.xx {
		z = add(c, c.args[1], c.e.newZset())
	}
	added, updated, last := 0, 0, math.NaN()
	for i, score := range scores {
		if z == nil {
			break
		}
		old, found := z.score(pairs[2*i+1])
		if found && o.nx || !found && o.xx {
			continue
		}
		if found && o.incr {
			if score += old; math.IsNaN(score) {
				c.fail(errNaN)
			}
		}
		if found && (o.gt && score <= old || o.lt && score >= old) {
			continue
		}
		last = score
		switch {
		case !found:
			added++
		case score != old:
			updated++
		}
		z.set(pairs[2*i+1], unsigned(score))
	}
	event := "zadd"
	if o.incr {
		event = "zincr"
	}
	if added+updated > 0 {
		c.touch(c.args[1], event)
	}
	switch {
	case o.incr && math.IsNaN(last):
		c.Out.Null()
	case o.incr:
		c.Out.Double(last)
	case o.ch:
		c.Out.Int(added + updated)
	default:
		c.Out.Int(added)
	}
}

func zsetIncr(c *Context) {
	by := c.float(c.args[2], errNotFloat)
	z := edit[*zset](c, c.args[1])
	score := by
	old, found := z.score(c.args[3])
	if found {
		score += old
	}
	if math.IsNaN(score) {
		c.fail(errNaN)
	}
	if z == nil {
		z = add(c, c.args[1], c.e.newZset())
	}
	z.set(c.args[3], unsigned(score))
	c.touch(c.args[1])
	if !found || score != old {
		c.tell(c.args[1], "zincr")
	}
	c.note("ZADD", c.args[1], resp.FormatDouble(score), c.args[3])
	c.Out.Double(score)
}

func zsetScore(c *Context) {
	z := find[*zset](c, c.args[1])
	if c.args[0] == "ZMSCORE" {
		c.Out.Array(len(c.args) - 2)
	}
	for _, m := range c.args[2:] {
		if score, found := z.score(m); found {
			c.Out.Double(score)
		} else {
			c.Out.Null()
		}
	}
}

func zsetRank(c *Context) {
	z := find[*zset](c, c.args[1])
	score, found := z.score(c.args[2])
	if !found {
		c.Out.Null()
		return
	}
	rank := z.rank(func(s scored) bool { return !s.less(scored{score, c.args[2]}) })
	if c.args[0] == "ZREVRANK" {
		rank = z.count() - 1 - rank
	}
	c.Out.Int(rank)
}

// takeScored takes up to count members from the low or the high end.
func (c *Context) takeScored(z *zset, key string, low bool, count int) []scored {
	taken := make([]scored, 0, min(count, z.count()))
	for range min(count, z.count()) {
		s, _ := z.order.Max()
		if low {
			s, _ = z.order.Min()
		}
		z.remove(s.member)
		taken = append(taken, s)
	}
	c.finishChange(key, z.count(), zpopName(low))
	return taken
}

// checkZsetReply fails unless there is room for a reply with count members.
func (c *Context) checkZsetReply(z *zset, low bool, count int) {
	c.checkReply(min(count, z.count()), func(i int) int {
		if !low {
			i = z.count() - 1 - i
		}
		s, _ := z.order.GetAt(i)
		return len(s.member)
	})
}

func zpopName(low bool) string {
	if low {
		return "ZPOPMIN"
	}
	return "ZPOPMAX"
}

// popZset implements ZPOPMIN and ZPOPMAX.
func (c *Context) popZset(low bool) {
	count, said := c.popCount(ErrSyntax)
	z := edit[*zset](c, c.args[1])
	var taken []scored
	if z != nil && count > 0 {
		c.checkZsetReply(z, low, count)
		taken = c.takeScored(z, c.args[1], low, count)
	}
	c.replyScored(taken, true, c.Out.V3 && said)
}

// replyScored replies members, with their scores if asked for, those in arrays of
// two if nested.
func (c *Context) replyScored(some []scored, withScores, nested bool) {
	n := len(some)
	if withScores && !nested {
		n *= 2
	}
	c.Out.Array(n)
	for _, s := range some {
		if withScores && nested {
			c.Out.Array(2)
		}
		c.Out.Bulk(s.member)
		if withScores {
			c.Out.Double(s.score)
		}
	}
}

func zsetRandom(c *Context) {
	r := c.parseRandom("WITHSCORES")
	z := find[*zset](c, c.args[1])
	replyRandom(c, r, z.table(), func(it table.Item[float64]) { c.Out.Double(it.Val) })
}

func zsetScan(c *Context) {
	o := c.parseCursor(2)
	z := find[*zset](c, c.args[1])
	small := z.count() <= smallValue
	scanValue(c, o, z.table(), func(it table.Item[float64]) []string {
		if n := int64(it.Val); small && math.Abs(it.Val) < math.MaxInt64/2 && float64(n) == it.Val {
			return []string{it.Key, strconv.FormatInt(n, 10)} // Redis keeps those as integers
		}
		return []string{it.Key, resp.FormatDouble(it.Val)}
	})
}

// unsigned makes -0, which Redis does not keep, 0.
func unsigned(score float64) float64 { return score + 0 }
