package engine

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
)

// odd are arguments that have ended programs before.
var odd = strings.Fields(
	`0 1 -1 2 3 7 -0 9223372036854775807 -9223372036854775808 9223372036854775806 4611686018427387904
	2305843009213693951 -2305843009213693952 18446744073709551615 4294967295 4294967296 2147483647 -2147483648 536870912
	1e400 -1e400 1e18 nan inf -inf 0x10 1.5 x y z *
	s l set h zs new big MATCH COUNT LIMIT BYSCORE BYLEX REV WITHSCORES WITHVALUES GET NX XX EX PX EXAT PXAT KEEPTTL PERSIST
	LEFT RIGHT MIN MAX BEFORE AFTER BIT BYTE AND OR XOR NOT STORE WEIGHTS AGGREGATE SUM RANK MAXLEN DB REPLACE CH INCR GT LT
	- + [a (a (1 [ ( ASYNC SYNC TYPE list`)

// TestCommands_OddArguments runs every command with arguments that make no sense, or
// are at the ends of their ranges: none panics, none takes more memory than there is,
// and what is taken is known.
func TestCommands_OddArguments(t *testing.T) {
	t.Parallel()
	g := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	names := Names()
	slices.Sort(names)
	keys := []string{"s", "l", "set", "h", "zs", "big", "new"}
	const most = 8 << 20
	e := New(most)
	var c Context
	c.Out.Limit = most
	run := func(args ...string) {
		defer func() {
			if p := recover(); p != nil {
				t.Fatalf("%q: %v", args, p)
			}
		}()
		c.Out.Buf, c.Out.Over = c.Out.Buf[:0], false
		e.Run(&c, Lookup(args[0]), 0, args)
		e.Effects()
	}
	for i := range 1_000_000 {
		if i%500 == 0 {
			for _, args := range [][]string{
				{"FLUSHALL"}, {"SET", "s", "abc"}, {"RPUSH", "l", "x", "y", "x"}, {"SADD", "set", "x", "y", "1"},
				{"HSET", "h", "x", "1", "y", "2"}, {"ZADD", "zs", "1", "x", "2", "y"}, {"SETRANGE", "big", "1000", "x"},
			} {
				run(args...)
			}
		}
		args := []string{names[g.IntN(len(names))]}
		if g.IntN(5) > 0 {
			args = append(args, keys[g.IntN(len(keys))])
		}
		for range g.IntN(6) {
			from := odd
			if g.IntN(2) == 0 {
				from = odd[7:20] // large numbers
			}
			args = append(args, from[g.IntN(len(from))])
		}
		if !Lookup(args[0]).ArityOK(len(args)) {
			continue
		}
		run(args...)
		if e.Used() < 0 || e.Used() > 2*most {
			t.Fatalf("%q: %d bytes are taken", args, e.Used())
		}
	}
	run("FLUSHALL")
	if e.Used() != 0 {
		t.Errorf("%d bytes count as taken when nothing is there", e.Used())
	}
}
