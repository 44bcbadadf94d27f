package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/journal"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// call runs a command and returns its reply.
func (e *Engine) call(c *Context, args ...string) string {
	c.Out.Buf, c.Out.Over = c.Out.Buf[:0], false
	e.Run(c, Lookup(args[0]), 0, args)
	return string(c.Out.Buf)
}

// TestLeases_OddArguments runs the scripts of the leases with keys that hold anything, the
// lists of the leases among them, and arguments that make no sense: none panics, what is taken
// is known, and what was noted makes the same data.
func TestLeases_OddArguments(t *testing.T) {
	t.Parallel()
	g := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	keys := strings.Fields("l l2 set zs h s held new")
	words := append(strings.Fields("Lx.c Rx.c Sx.c Zx.c L: Lx.c Zx.c LPOP RPOP SPOP ZPOPMIN ZPOPMAX again each i2 a2 "+
		"k3 m2 p2 s3 o2 n2 1 1 2 3 11 back done undo retry drop x y Lx.c::1:lx Zx.c:1:2:zsx Zx.c:nan:2:zsx "+
		"Sx.c::3:setx Qx.c::1:lx Lx.c::9:lx Lx.c::4:heldx ::: -1 0"), "")
	some := func(from []string, n int) (out []string) {
		for range n {
			out = append(out, from[g.IntN(len(from))])
		}
		return out
	}
	e := New(8 << 20)
	var c Context
	c.Out.Limit = 1 << 20
	var effects []journal.Command
	keep := func() {
		noted, _ := e.Effects()
		for _, n := range noted {
			effects = append(effects, journal.Command{DB: n.DB, Args: slices.Clone(n.Args)})
		}
	}
	fine := 0
	for i := range 100_000 {
		if i%20 == 0 {
			for _, args := range []string{
				"FLUSHALL", "RPUSH l x y x", "SADD set x y 1", "HSET h 1:lx 1 1:ly z", "ZADD zs 1 x inf y", "SET s abc",
				"RPUSH held Lx.c::1:lx Zx.c:1:2:zsx Sx.c::3:setx odd Lx.c::4:heldx Zx.c:nan:2:zsx Qx.c::1:lx",
			} {
				e.call(&c, strings.Fields(args)...)
				keep()
			}
		}
		s := script.All[g.IntN(len(script.All))]
		n := g.IntN(8)
		args := append([]string{"EVALSHA", s.SHA, strconv.Itoa(n)}, some(keys, n)...)
		switch {
		case g.IntN(4) == 0:
			args = append(args, some(words, g.IntN(12))...)
		case s == script.Take && n > 3:
			pop := []string{"LPOP", "RPOP", "SPOP", "ZPOPMIN", "ZPOPMAX"}[g.IntN(5)]
			args = append(args, string(popKinds[pop])+"x.c", pop, strconv.Itoa(1+g.IntN(4)), "2",
				some([]string{"i2-", "a2-", "k3w", "m2-", "p2w", "s3-", "o2-", "n2-"}, 1)[0]+
					strings.Join(some([]string{"0", "1"}, n-3), ""), "{}")
		default:
			args = append(append(args, "me", "back", "2"), some(words, g.IntN(4))...)
		}
		reply := e.call(&c, args...)
		keep()
		if reply[0] != '-' {
			fine++
		}
	}
	if fine < 5_000 {
		t.Errorf("only %d scripts were not refused", fine)
	}
	again := New(0)
	if err := again.Replay(effects); err != nil {
		t.Fatal(err)
	}
	if was, is := contents(t, e), contents(t, again); was != is {
		t.Errorf("the data is\n%s, the journal makes\n%s", was, is)
	}
	e.call(&c, "FLUSHALL")
	if e.Used() != 0 {
		t.Errorf("%d bytes count as taken when nothing is there", e.Used())
	}
}

// contents returns the commands that make the data, in an order of their own.
func contents(t *testing.T, e *Engine) string {
	t.Helper()
	var out []string
	for db := range e.dbs {
		for _, it := range e.dbs[db].keys.Items {
			v := it.Val.val
			if val, ok := v.(value); ok {
				v = val.clone()
			}
			err := dump(db, it.Key, v, it.Val.expires, func(batch []journal.Command) error {
				for _, cmd := range batch {
					if cmd.Args[0] != "RPUSH" {
						slices.Sort(cmd.Args[2:])
					}
					out = append(out, fmt.Sprintf("%d %q\n", db, cmd.Args))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "")
}

// TestLeases_FullMemory: pops go on when memory is full, within a little more; one of so many
// that what is noted of them would count is refused, and loses nothing.
func TestLeases_FullMemory(t *testing.T) {
	t.Parallel()
	const most, window = 8 << 20, 16
	e := New(most)
	var c Context
	items := 0
	for ; !e.Full(); items++ {
		e.call(&c, "RPUSH", "l", strconv.Itoa(items))
	}
	full := e.Used()
	take := func(holder, count string) string {
		return e.call(&c, "EVALSHA", script.Take.SHA, "4", script.HeldPrefix+holder, script.Holders, script.Tries, "l",
			"Labcdefghijk.conn", "LPOP", count, strconv.Itoa(window), "a2-1", "{}")
	}
	if reply := take("greedy", strconv.Itoa(items)); !strings.HasPrefix(reply, "-OOM ") {
		t.Errorf("a pop of everything: %.100q", reply)
	}
	if got := e.call(&c, "LLEN", "l"); got != fmt.Sprintf(":%d\r\n", items) {
		t.Errorf("%q items stay, want %d", got, items)
	}
	const holders = 200
	left := items
	for i := range holders {
		for range 4 * window {
			if reply := take(strconv.Itoa(i), "1"); reply[0] != '*' {
				t.Fatalf("a pop: %q", reply)
			}
			left--
		}
	}
	if more, entry := e.Used()-full, int64(250); more > holders*((window+script.Slack)*entry+keyCost) {
		t.Errorf("%d bytes more are taken after %d pops", more, items-left)
	}
	for i := range holders {
		got, err := strconv.Atoi(strings.Trim(e.call(&c, "LLEN", script.HeldPrefix+strconv.Itoa(i)), ":\r\n"))
		if err != nil || got < window || got > window+script.Slack {
			t.Fatalf("%d holds %d: %v", i, got, err)
		}
	}
}
