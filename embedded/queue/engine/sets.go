package engine

import (
	"cmp"
	"math"
	"slices"

	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
)

func init() {
	register("SADD", -3, grows, setAdd)
	register("SCARD", 2, reads, replyLen[*set])
	register("SDIFF", -2, reads, func(c *Context) { c.combineSets(c.args[1:], setDiff) })
	register("SDIFFSTORE", -3, grows, func(c *Context) { c.storeSets(setDiff) })
	register("SINTER", -2, reads, func(c *Context) { c.combineSets(c.args[1:], setInter) })
	register("SINTERCARD", -3, reads, setInterCard)
	register("SINTERSTORE", -3, grows, func(c *Context) { c.storeSets(setInter) })
	register("SISMEMBER", 3, reads, setIsMember)
	register("SMEMBERS", 2, reads, func(c *Context) { c.combineSets(c.args[1:], setUnion) })
	register("SMISMEMBER", -3, reads, setIsMember)
	register("SMOVE", 4, grows, setMove)
	register("SPOP", -2, writes, setPop)
	register("SRANDMEMBER", -2, reads, setRandom)
	register("SREM", -3, writes, removeItems[*set])
	register("SSCAN", -3, reads, setScan)
	register("SUNION", -2, reads, func(c *Context) { c.combineSets(c.args[1:], setUnion) })
	register("SUNIONSTORE", -3, grows, func(c *Context) { c.storeSets(setUnion) })
}

func setAdd(c *Context) {
	s := edit[*set](c, c.args[1])
	if s == nil {
		s = add(c, c.args[1], c.e.newSet())
	}
	n := 0
	for _, m := range c.args[2:] {
		if s.add(m) {
			n++
		}
	}
	if n > 0 {
		c.touch(c.args[1], "sadd")
	}
	c.Out.Int(n)
}

func setIsMember(c *Context) {
	s := find[*set](c, c.args[1])
	if c.args[0] == "SMISMEMBER" {
		c.Out.Array(len(c.args) - 2)
	}
	for _, m := range c.args[2:] {
		c.Out.Flag(s.has(m))
	}
}

func setMove(c *Context) {
	from := edit[*set](c, c.args[1])
	if from == nil {
		c.Out.Int(0)
		return
	}
	to := edit[*set](c, c.args[2])
	m := c.args[3]
	if c.args[1] == c.args[2] || !from.remove(m) {
		c.Out.Flag(from.has(m))
		return
	}
	c.finishChange(c.args[1], from.members.Len(), "srem")
	if to == nil {
		to = add(c, c.args[2], c.e.newSet())
	}
	if to.add(m) {
		c.tell(c.args[2], "sadd")
	}
	c.touch(c.args[2])
	c.Out.Int(1)
}

func setPop(c *Context) {
	count, said := c.popCount(ErrSyntax)
	s := edit[*set](c, c.args[1])
	switch {
	case s == nil && !said:
		c.Out.Null()
		return
	case s == nil || count == 0:
		c.Out.Set(0)
		return
	}
	got := c.popMembers(s, c.args[1], count)
	if !said {
		c.Out.Bulk(got[0].member)
		return
	}
	c.Out.Set(len(got))
	for _, it := range got {
		c.Out.Bulk(it.member)
	}
}

// popMembers takes up to count members at random out of a set that has some.
func (c *Context) popMembers(s *set, key string, count int) (got []scored) {
	c.checkReply(1, func(int) int { return min(count, s.members.Len()) * int(s.bytes) / s.members.Len() })
	c.e.keep(s)
	gone := []string{"SREM", key}
	for range min(count, s.members.Len()) {
		m := s.members.Random().Key
		s.remove(m)
		got, gone = append(got, scored{member: m}), append(gone, m)
	}
	c.finishChange(key, s.members.Len(), "spop")
	c.note(gone...)
	return got
}

func setRandom(c *Context) {
	r := c.parseRandom("")
	replyRandom(c, r, find[*set](c, c.args[1]).table(), nil)
}

// random holds what is asked for of random entries.
type random struct {
	counted bool  // several, in an array
	count   int64 // negative: they may come twice
	values  bool
}

// parseRandom reads [count [word]], which all commands that pick at random have;
// word asks for values.
func (c *Context) parseRandom(word string) (r random) {
	r.counted, r.values = len(c.args) > 2, len(c.args) == 4 && word != "" && is(c.args[3], word)
	if word == "" && len(c.args) > 3 {
		c.fail(ErrSyntax)
	}
	if r.counted {
		r.count = c.integer(c.args[2])
	}
	if len(c.args) > 3 && !r.values {
		c.fail(ErrSyntax)
	}
	if r.count == math.MinInt64 {
		c.fail(errRange + ", value must between -9223372036854775807 and 9223372036854775807")
	}
	if r.values && (r.count < -math.MaxInt64/2 || r.count > math.MaxInt64/2) {
		c.fail(errRange)
	}
	return r
}

// replyRandom replies entries at random; value writes what belongs to one.
func replyRandom[V any](c *Context, r random, t *table.Map[V], value func(table.Item[V])) {
	switch {
	case t == nil && !r.counted:
		c.Out.Null()
		return
	case !r.counted:
		c.Out.Bulk(t.Random().Key)
		return
	}
	var some []table.Item[V]
	if t != nil && r.count > 0 {
		some = t.Sample(int(min(r.count, int64(t.Len()))))
	}
	n := len(some)
	if t != nil && r.count < 0 {
		n = int(-r.count)
	}
	if r.values && !c.Out.V3 {
		c.Out.Array(2 * n)
	} else {
		c.Out.Array(n)
	}
	for i := range n {
		if c.Out.Over { // there is no room for so many
			return
		}
		var it table.Item[V]
		if r.count > 0 {
			it = some[i]
		} else {
			it = *t.Random()
		}
		if r.values && c.Out.V3 {
			c.Out.Array(2)
		}
		c.Out.Bulk(it.Key)
		if r.values {
			value(it)
		}
	}
}

func setScan(c *Context) {
	o := c.parseCursor(2)
	scanValue(c, o, find[*set](c, c.args[1]).table(),
		func(it table.Item[struct{}]) []string { return []string{it.Key} })
}

// sets returns the sets at some keys, nil where there is none.
func (c *Context) sets(keys []string) []*set {
	out := make([]*set, len(keys))
	for i, key := range keys {
		out[i] = find[*set](c, key)
	}
	return out
}

func (s *set) each(yield func(string) bool) {
	if s == nil {
		return
	}
	for _, it := range s.members.Items {
		if !yield(it.Key) {
			return
		}
	}
}

func setUnion(sets []*set, add func(string) bool) {
	for _, s := range sets {
		s.each(add)
	}
}

func setDiff(sets []*set, add func(string) bool) {
	sets = append(sets[:1:1], distinct(sets[1:])...)
	sets[0].each(func(m string) bool {
		for _, other := range sets[1:] {
			if other.has(m) {
				return true
			}
		}
		return add(m)
	})
}

// distinct returns each set once, however often it was named.
func distinct(sets []*set) (out []*set) {
	seen := map[*set]bool{}
	for _, s := range sets {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func setInter(sets []*set, add func(string) bool) {
	sets = distinct(sets)
	smallest := slices.MinFunc(sets, func(a, b *set) int { return cmp.Compare(a.count(), b.count()) })
	smallest.each(func(m string) bool {
		for _, other := range sets {
			if other != smallest && !other.has(m) {
				return true
			}
		}
		return add(m)
	})
}

type combination func(sets []*set, add func(string) bool)

func (c *Context) combineSets(keys []string, combine combination) {
	sets := c.sets(keys)
	var found table.Map[struct{}]
	combine(sets, func(m string) bool { found.Set(m, struct{}{}); return true })
	c.Out.Set(found.Len())
	for _, it := range found.Items {
		c.Out.Bulk(it.Key)
	}
}

func (c *Context) storeSets(combine combination) {
	sets := c.sets(c.args[2:])
	result := c.e.newSet()
	combine(sets, func(m string) bool {
		result.add(m)
		return c.e.max == 0 || c.e.loading || c.e.used+result.bytes <= c.e.max
	})
	c.storeResult(result)
}

// storeResult puts the result of a command under its first key and replies how many items
// it has; without any the key goes.
func (c *Context) storeResult(v counted) {
	c.checkRoom(v.size())
	key, n := c.args[1], v.count()
	switch {
	case n > 0:
		c.e.put(c.db, key, v)
		c.touch(key, c.args[0])
	case c.e.remove(c.db, key):
		c.touch(key, "del")
	}
	c.Out.Int(n)
}

func (c *Context) parseLimit(args []string) (limit int) {
	for i := 0; i < len(args); i += 2 {
		if !is(args[i], "LIMIT") || i == len(args)-1 {
			c.fail(ErrSyntax)
		}
		limit = c.bounded(args[i+1], 0, math.MaxInt64, errNegLimit)
	}
	return limit
}

func setInterCard(c *Context) {
	n := c.bounded(c.args[1], 1, math.MaxInt64, errNumKeys)
	if n > len(c.args)-2 {
		c.fail("ERR Number of keys can't be greater than number of args")
	}
	limit, sets := c.parseLimit(c.args[2+n:]), c.sets(c.args[2:2+n])
	found := 0
	setInter(sets, func(string) bool { found++; return limit == 0 || found < limit })
	c.Out.Int(found)
}
