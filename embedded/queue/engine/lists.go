package engine

import (
	"math"
	"slices"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/resp"
)

func init() {
	register("LINDEX", 3, reads, listIndex)
	register("LINSERT", 5, grows, listInsert)
	register("LLEN", 2, reads, replyLen[*list])
	register("LMOVE", 5, grows, listMove)
	register("LMPOP", -4, writes, func(c *Context) { c.tryPop(c.parseMultiPop(1, kindList)) })
	register("LPOP", -2, writes, listPop)
	register("LPOS", -3, reads, listPos)
	register("LPUSH", -3, grows, listPush)
	register("LPUSHX", -3, grows, listPush)
	register("LRANGE", 4, reads, listRange)
	register("LREM", 4, writes, listRemove)
	register("LSET", 4, grows, listSet)
	register("LTRIM", 4, writes, listTrim)
	register("RPOP", -2, writes, listPop)
	register("RPOPLPUSH", 3, grows, listMove)
	register("RPUSH", -3, grows, listPush)
	register("RPUSHX", -3, grows, listPush)
}

func listPush(c *Context) {
	l := edit[*list](c, c.args[1])
	if l == nil {
		if len(c.args[0]) == len("LPUSHX") {
			c.Out.Int(0)
			return
		}
		l = add(c, c.args[1], c.e.newList())
	}
	for _, s := range c.args[2:] {
		l.push(c.args[0][0] == 'L', s)
	}
	c.touch(c.args[1], c.args[0][:len("LPUSH")])
	c.Out.Int(l.n)
}

func listPop(c *Context) {
	count, said := c.popCount(WrongArity(c.args[0]))
	l := edit[*list](c, c.args[1])
	switch {
	case l == nil && !said:
		c.Out.Null()
	case l == nil:
		c.Out.NullArray()
	case !said:
		c.Out.Bulk(c.take(l, c.args[1], c.args[0] == "LPOP"))
	default:
		left := c.args[0] == "LPOP"
		c.checkListReply(l, left, count)
		c.takeSome(l, c.args[1], left, count)
	}
}

// checkListReply fails unless there is room for a reply with count items.
func (c *Context) checkListReply(l *list, left bool, count int) {
	c.checkReply(min(count, l.n), func(i int) int {
		if !left {
			i = l.n - 1 - i
		}
		return len(l.at(i))
	})
}

func (c *Context) take(l *list, key string, left bool) string {
	s := l.pop(left)
	c.finishChange(key, l.n, popEvent(left))
	return s
}

// takeSome pops and replies up to count items.
func (c *Context) takeSome(l *list, key string, left bool, count int) {
	count = min(count, l.n)
	c.Out.Array(count)
	for range count {
		c.Out.Bulk(l.pop(left))
	}
	if count > 0 {
		c.finishChange(key, l.n, popEvent(left))
	}
}

func popEvent(left bool) string {
	if left {
		return "LPOP"
	}
	return "RPOP"
}

func pushEvent(left bool) string {
	if left {
		return "LPUSH"
	}
	return "RPUSH"
}

func listIndex(c *Context) {
	l := find[*list](c, c.args[1])
	if l == nil {
		c.Out.Null()
		return
	}
	i, there := c.place(l, c.args[2])
	if there {
		c.Out.Bulk(l.at(i))
		return
	}
	c.Out.Null()
}

// place reads the index of an item, negative ones from the end, and reports whether
// there is one.
func (c *Context) place(l *list, arg string) (i int, there bool) {
	n := c.integer(arg)
	if n < 0 {
		n += int64(l.n)
	}
	return int(n), n >= 0 && n < int64(l.n)
}

func listRange(c *Context) {
	start, stop := c.integer(c.args[2]), c.integer(c.args[3])
	l := find[*list](c, c.args[1])
	if l == nil {
		c.Out.Array(0)
		return
	}
	from, to := argument.Range(start, stop, l.n)
	c.Out.Array(to - from)
	for i := from; i < to; i++ {
		c.Out.Bulk(l.at(i))
	}
}

func listTrim(c *Context) {
	start, stop := c.integer(c.args[2]), c.integer(c.args[3])
	l := edit[*list](c, c.args[1])
	c.Out.OK()
	if l == nil {
		return
	}
	from, to := argument.Range(start, stop, l.n)
	if to-from == l.n {
		c.e.touch(c.db, c.args[1]) // as Redis does
		c.tell(c.args[1], "ltrim")
		return
	}
	for range l.n - to {
		l.pop(false)
	}
	for range min(from, l.n) {
		l.pop(true)
	}
	c.finishChange(c.args[1], l.n, "ltrim")
}

func listSet(c *Context) {
	l := edit[*list](c, c.args[1])
	if l == nil {
		c.fail("ERR no such key")
	}
	i, there := c.place(l, c.args[2])
	if !there {
		c.fail("ERR index out of range")
	}
	l.set(i, c.args[3])
	c.touch(c.args[1], "lset")
	c.Out.OK()
}

func listInsert(c *Context) {
	after := 0
	switch {
	case is(c.args[2], "AFTER"):
		after = 1
	case !is(c.args[2], "BEFORE"):
		c.fail(ErrSyntax)
	}
	l := edit[*list](c, c.args[1])
	if l == nil {
		c.Out.Int(0)
		return
	}
	for i := range l.n {
		if l.at(i) == c.args[3] {
			l.replace(slices.Insert(l.all(), i+after, c.args[4]))
			c.touch(c.args[1], "linsert")
			c.Out.Int(l.n)
			return
		}
	}
	c.Out.Int(-1)
}

func listRemove(c *Context) {
	count := c.integer(c.args[2])
	l := edit[*list](c, c.args[1])
	if l == nil {
		c.Out.Int(0)
		return
	}
	most := l.n
	if count != 0 && count != math.MinInt64 {
		most = int(min(int64(most), max(count, -count)))
	}
	items, removed := l.all(), 0
	if count < 0 {
		slices.Reverse(items)
	}
	items = slices.DeleteFunc(items, func(s string) bool {
		if removed < most && s == c.args[3] {
			removed++
			return true
		}
		return false
	})
	if count < 0 {
		slices.Reverse(items)
	}
	if removed > 0 {
		l.replace(items)
		c.finishChange(c.args[1], l.n, "lrem")
	}
	c.Out.Int(removed)
}

func listPos(c *Context) {
	rank, count, most := int64(1), int64(-1), int64(0)
	for i := 3; i < len(c.args); i += 2 {
		last := i == len(c.args)-1
		switch {
		case is(c.args[i], "RANK") && !last:
			rank = c.integer(c.args[i+1])
			if rank == 0 {
				c.fail("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... " +
					"or use negative to start from the end of the list")
			}
			if rank == math.MinInt64 { // has no positive one, and counts as the first
				rank = -1
			}
		case is(c.args[i], "COUNT") && !last:
			count = int64(c.bounded(c.args[i+1], 0, math.MaxInt64, "ERR COUNT can't be negative"))
		case is(c.args[i], "MAXLEN") && !last:
			most = int64(c.bounded(c.args[i+1], 0, math.MaxInt64, "ERR MAXLEN can't be negative"))
		default:
			c.fail(ErrSyntax)
		}
	}
	l := find[*list](c, c.args[1])
	var found []int
	if l != nil {
		found = l.positions(c.args[2], rank, count, most)
	}
	switch {
	case count >= 0:
		c.Out.Array(len(found))
		for _, i := range found {
			c.Out.Int(i)
		}
	case len(found) > 0:
		c.Out.Int(found[0])
	default:
		c.Out.Null()
	}
}

// positions finds where s is: from the rank-th match on, negative ones from the
// end; count of them, -1 for one, 0 for all; among most items, 0 for all.
func (l *list) positions(s string, rank, count, most int64) (found []int) {
	if count < 0 {
		count = 1
	}
	skip := max(rank, -rank) - 1
	for i := range l.n {
		if most > 0 && int64(i) >= most {
			break
		}
		at := i
		if rank < 0 {
			at = l.n - 1 - i
		}
		if l.at(at) != s {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		found = append(found, at)
		if count > 0 && int64(len(found)) == count {
			break
		}
	}
	return found
}

func (c *Context) side(arg string) (left bool) {
	left = is(arg, "LEFT")
	if !left && !is(arg, "RIGHT") {
		c.fail(ErrSyntax)
	}
	return left
}

func listMove(c *Context) {
	if !c.parseMove(c.args).serve(c, c.args[1]) {
		c.Out.Null()
	}
}

// parseMove reads LMOVE, RPOPLPUSH and those that wait.
func (c *Context) parseMove(args []string) *Block {
	from, to := false, true
	if len(args) > 4 {
		from, to = c.side(args[3]), c.side(args[4])
	}
	target := args[2]
	b := c.block(args[1:2], kindList, func(c *Context, key string) bool {
		l := edit[*list](c, key)
		if l == nil {
			return false
		}
		into := edit[*list](c, target)
		s := l.pop(from)
		if into == nil {
			into = add(c, target, c.e.newList())
		}
		into.push(to, s)
		c.tell(target, pushEvent(to))
		c.finishChange(key, l.n, popEvent(from))
		c.touch(target)
		c.note("LMOVE", key, target, sideName(from), sideName(to))
		c.Out.Bulk(s)
		return true
	})
	b.none = (*resp.Writer).Null
	return b
}

func sideName(left bool) string {
	if left {
		return "LEFT"
	}
	return "RIGHT"
}
