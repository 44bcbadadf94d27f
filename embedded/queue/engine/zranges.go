package engine

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/crawlbox/crawlbox/embedded/queue/argument"
	"github.com/crawlbox/crawlbox/embedded/queue/engine/table"
)

func init() {
	register("ZCOUNT", 4, reads, func(c *Context) { c.countRange(byScore) })
	register("ZLEXCOUNT", 4, reads, func(c *Context) { c.countRange(byLex) })
	register("ZRANGE", -4, reads, func(c *Context) { c.rangeCommand(1, rangeOptions{open: true}) })
	register("ZRANGEBYLEX", -4, reads, func(c *Context) { c.rangeCommand(1, rangeOptions{by: byLex}) })
	register("ZRANGEBYSCORE", -4, reads, func(c *Context) { c.rangeCommand(1, rangeOptions{by: byScore}) })
	register("ZRANGESTORE", -5, grows, func(c *Context) { c.rangeCommand(2, rangeOptions{open: true}) })
	register("ZREMRANGEBYLEX", 4, writes, func(c *Context) { c.removeRange(byLex) })
	register("ZREMRANGEBYRANK", 4, writes, func(c *Context) { c.removeRange(byRank) })
	register("ZREMRANGEBYSCORE", 4, writes, func(c *Context) { c.removeRange(byScore) })
	register("ZREVRANGE", -4, reads, func(c *Context) { c.rangeCommand(1, rangeOptions{rev: true}) })
	register("ZREVRANGEBYLEX", -4, reads, func(c *Context) { c.rangeCommand(1, rangeOptions{by: byLex, rev: true}) })
	register("ZREVRANGEBYSCORE", -4, reads,
		func(c *Context) { c.rangeCommand(1, rangeOptions{by: byScore, rev: true}) })
}

// rangeBy selects what a range counts in.
type rangeBy int

const (
	byRank rangeBy = iota
	byScore
	byLex
)

type rangeOptions struct {
	by         rangeBy
	rev        bool
	open       bool // by and rev are options too
	withScores bool
	limited    bool
	offset     int64
	count      int64
}

// span is a range of a sorted set: it returns ranks from up to to, the highest
// rank first if the order is reversed.
type span func(z *zset) (from, to int)

// parseSpan reads the two ends of a range.
func (c *Context) parseSpan(by rangeBy, low, high string, rev bool) span {
	if by == byRank {
		start, stop := c.integer(low), c.integer(high)
		return func(z *zset) (int, int) {
			from, to := argument.Range(start, stop, z.count())
			if rev {
				from, to = z.count()-to, z.count()-from
			}
			return from, to
		}
	}
	if rev {
		low, high = high, low
	}
	if by == byScore {
		from, fromOpen, ok := parseScoreEnd(low)
		to, toOpen, ok2 := parseScoreEnd(high)
		if !ok || !ok2 {
			c.fail("ERR min or max is not a float")
		}
		return func(z *zset) (int, int) {
			return z.rank(func(s scored) bool { return s.score > from || s.score == from && !fromOpen }),
				z.rank(func(s scored) bool { return s.score > to || s.score == to && toOpen })
		}
	}
	from, to := parseLexEnd(low), parseLexEnd(high)
	if from == nil || to == nil {
		c.fail("ERR min or max not valid string range item")
	}
	return func(z *zset) (int, int) {
		return z.rank(func(s scored) bool { return from.before(s.member, true) }),
			z.rank(func(s scored) bool { return to.before(s.member, false) })
	}
}

func parseScoreEnd(s string) (score float64, open, ok bool) {
	rest, open := strings.CutPrefix(s, "(")
	rest = argument.CString(rest)
	if rest == "" {
		return 0, open, true
	}
	rest = strings.TrimLeft(rest, " \t\n\v\f\r")
	score, err := strconv.ParseFloat(rest, 64)
	if errors.Is(err, strconv.ErrRange) { // infinite
		return score, open, true
	}
	score, ok = argument.Float(rest)
	return score, open, ok
}

type lexEnd struct {
	member   string
	open     bool
	infinite int // -1: before all, 1: behind all
}

func parseLexEnd(s string) *lexEnd {
	switch {
	case s == "-":
		return &lexEnd{infinite: -1}
	case s == "+":
		return &lexEnd{infinite: 1}
	case s != "" && (s[0] == '(' || s[0] == '['):
		return &lexEnd{member: s[1:], open: s[0] == '('}
	}
	return nil
}

// before reports whether the end is before a member; low says which end it is: a
// closed one is before its own member as the low end only.
func (l *lexEnd) before(m string, low bool) bool {
	if l.infinite != 0 {
		return l.infinite < 0
	}
	return l.member < m || l.member == m && l.open != low
}

// parseRange reads what follows the ends of a range.
func (c *Context) parseRange(args []string, o rangeOptions, store bool) rangeOptions {
	fixed := !o.open
	for i := 0; i < len(args); i++ {
		switch {
		case is(args[i], "WITHSCORES") && !store:
			o.withScores = true
		case is(args[i], "LIMIT") && i+2 < len(args):
			o.limited, o.offset, o.count = true, c.integer(args[i+1]), c.integer(args[i+2])
			i += 2
		case is(args[i], "REV") && !fixed && !o.rev:
			o.rev = true
		case is(args[i], "BYLEX") && !fixed && o.by == byRank:
			o.by = byLex
		case is(args[i], "BYSCORE") && !fixed && o.by == byRank:
			o.by = byScore
		default:
			c.fail(ErrSyntax)
		}
	}
	switch {
	case o.limited && o.count != -1 && o.by == byRank:
		c.fail("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	case o.withScores && o.by == byLex:
		c.fail("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	}
	return o
}

// rangeCommand implements ZRANGE and its variants; the i-th argument is the key to read.
func (c *Context) rangeCommand(i int, o rangeOptions) {
	o = c.parseRange(c.args[i+3:], o, i == 2)
	in := c.parseSpan(o.by, c.args[i+1], c.args[i+2], o.rev)
	z := find[*zset](c, c.args[i])
	var some []scored
	if z != nil {
		from, to := o.limit(in(z))
		some = z.span(from, to)
	}
	if i == 2 {
		result := c.e.newZset()
		for _, s := range some {
			result.set(s.member, unsigned(s.score))
		}
		c.storeResult(result)
		return
	}
	if o.rev {
		slices.Reverse(some)
	}
	c.replyScored(some, o.withScores, c.Out.V3)
}

func (o rangeOptions) limit(from, to int) (int, int) {
	if !o.limited || o.by == byRank {
		return from, to
	}
	n := int64(max(0, to-from))
	skip := n
	if o.offset >= 0 {
		skip = min(n, o.offset)
	}
	n -= skip
	if o.count >= 0 {
		n = min(n, o.count)
	}
	if o.rev {
		to -= int(skip)
		return to - int(n), to
	}
	from += int(skip)
	return from, from + int(n)
}

func (c *Context) countRange(by rangeBy) {
	in := c.parseSpan(by, c.args[2], c.args[3], false)
	z := find[*zset](c, c.args[1])
	n := 0
	if z != nil {
		from, to := in(z)
		n = max(0, to-from)
	}
	c.Out.Int(n)
}

func (c *Context) removeRange(by rangeBy) {
	in := c.parseSpan(by, c.args[2], c.args[3], false)
	z := edit[*zset](c, c.args[1])
	var gone []scored
	if z != nil {
		gone = z.span(in(z))
		for _, s := range gone {
			z.remove(s.member)
		}
	}
	if len(gone) > 0 {
		c.finishChange(c.args[1], z.count(), c.args[0])
	}
	c.Out.Int(len(gone))
}

func init() {
	register("ZDIFF", -3, reads, func(c *Context) { c.combineZsets(1, diffScores) })
	register("ZDIFFSTORE", -4, grows, func(c *Context) { c.combineZsets(2, diffScores) })
	register("ZINTER", -3, reads, func(c *Context) { c.combineZsets(1, interScores) })
	register("ZINTERCARD", -3, reads, func(c *Context) { c.combineZsets(1, interScores) })
	register("ZINTERSTORE", -4, grows, func(c *Context) { c.combineZsets(2, interScores) })
	register("ZUNION", -3, reads, func(c *Context) { c.combineZsets(1, unionScores) })
	register("ZUNIONSTORE", -4, grows, func(c *Context) { c.combineZsets(2, unionScores) })
}

// source is a set or a sorted set that is combined with others.
type source struct {
	set    *set
	zset   *zset
	weight float64
}

// score returns what a member has, times the weight: NaN where one is infinite and the other 0, which the sum with
// another score makes 0, as in Redis.
func (s source) score(m string) (float64, bool) {
	if s.set != nil && s.set.has(m) {
		return s.weight, true
	}
	score, found := s.zset.score(m)
	return score * s.weight, found
}

// weighted is that of the first score of a member: 0 in place of NaN.
func (s source) weighted(score float64) float64 {
	if score *= s.weight; math.IsNaN(score) {
		return 0
	}
	return score
}

func (s source) each(yield func(m string, score float64) bool) {
	s.set.each(func(m string) bool { return yield(m, s.weighted(1)) })
	if s.zset != nil {
		for _, it := range s.zset.scores.Items {
			if !yield(it.Key, s.weighted(it.Val)) {
				return
			}
		}
	}
}

type merge func(sources []source, join func(a, b float64) float64, add func(string, float64) bool)

func unionScores(sources []source, join func(a, b float64) float64, add func(string, float64) bool) {
	slices.SortStableFunc(sources, bySize)
	var sum table.Map[float64]
	for _, src := range sources {
		src.each(func(m string, score float64) bool {
			if old := sum.Get(m); old != nil {
				score = join(*old, score)
			}
			sum.Set(m, score)
			return true
		})
	}
	for _, it := range sum.Items {
		add(it.Key, it.Val)
	}
}

func interScores(sources []source, join func(a, b float64) float64, add func(string, float64) bool) {
	slices.SortStableFunc(sources, bySize)
	sources[0].each(func(m string, score float64) bool {
		for _, other := range sources[1:] {
			more, found := other.score(m)
			if !found {
				return true
			}
			score = join(score, more)
		}
		return add(m, score)
	})
}

// bySize orders sources as Redis does before it joins their scores: sums of floats depend on it.
func bySize(a, b source) int { return cmp.Compare(a.count(), b.count()) }

func (s source) count() int { return s.set.count() + s.zset.count() }

func diffScores(sources []source, _ func(a, b float64) float64, add func(string, float64) bool) {
	sources[0].each(func(m string, score float64) bool {
		for _, other := range sources[1:] {
			if _, found := other.score(m); found {
				return true
			}
		}
		return add(m, score)
	})
}

// combineZsets implements ZUNION and its variants; the i-th argument is how many keys follow.
func (c *Context) combineZsets(i int, merge merge) {
	n := c.integer(c.args[i])
	switch {
	case n < 1:
		c.fail("ERR at least 1 input key is needed for '" + lower(c.args[0]) + "' command")
	case n > int64(len(c.args)-i-1):
		c.fail(ErrSyntax)
	}
	rest := c.args[i+1+int(n):]
	sources := c.sources(c.args[i+1 : i+1+int(n)])
	limit, withScores, join := 0, false, sumScores
	if c.args[0] == "ZINTERCARD" {
		limit = c.parseLimit(rest)
	} else {
		withScores, join = c.parseMerge(rest, sources, i == 2, c.args[0][:5] == "ZDIFF")
	}
	result := c.e.newZset()
	merge(sources, join, func(m string, score float64) bool {
		if i == 2 {
			score = unsigned(score)
		}
		result.set(m, score)
		return limit == 0 || result.count() < limit
	})
	switch {
	case c.args[0] == "ZINTERCARD":
		c.Out.Int(result.count())
	case i == 2:
		c.storeResult(result)
	default:
		c.replyScored(result.span(0, result.count()), withScores, c.Out.V3)
	}
}

func (c *Context) sources(keys []string) []source {
	out := make([]source, len(keys))
	for i, key := range keys {
		ent := c.e.lookup(c.db, key)
		if out[i].weight = 1; ent == nil {
			continue
		}
		if s, ok := ent.val.(*set); ok {
			out[i].set = s
			continue
		}
		out[i].zset = find[*zset](c, key)
	}
	return out
}

// parseMerge reads WEIGHTS, AGGREGATE and WITHSCORES.
func (c *Context) parseMerge(args []string, sources []source, store, diff bool) (bool, func(a, b float64) float64) {
	withScores, join := false, sumScores
	for i := 0; i < len(args); i++ {
		switch left := len(args) - i; {
		case is(args[i], "WEIGHTS") && !diff && left > len(sources):
			for n := range sources {
				i++
				sources[n].weight = c.float(args[i], "ERR weight value is not a float")
			}
		case is(args[i], "AGGREGATE") && !diff && left > 1:
			i++
			joins := map[string]func(a, b float64) float64{"SUM": sumScores, "MIN": minScore, "MAX": maxScore}
			if join = joins[upper(args[i])]; join == nil {
				c.fail(ErrSyntax)
			}
		case is(args[i], "WITHSCORES") && !store:
			withScores = true
		default:
			c.fail(ErrSyntax)
		}
	}
	return withScores, join
}

// minScore and maxScore keep the first of two zeros, as Redis does.
func minScore(a, b float64) float64 {
	if b < a {
		return b
	}
	return a
}

func maxScore(a, b float64) float64 {
	if b > a {
		return b
	}
	return a
}

// sumScores adds scores; opposite infinities make 0, as in Redis.
func sumScores(a, b float64) float64 {
	if sum := a + b; !math.IsNaN(sum) {
		return sum
	}
	return 0
}
