package lease_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/embedded/queue/lease"
	"github.com/crawlbox/crawlbox/embedded/queue/lease/script"
)

// onEach runs a test on the embedded engine and on each Redis and Valkey of this machine, with
// a connection and a client of go-redis.
func onEach(t *testing.T, test func(*testing.T, conn, lease.Do)) {
	t.Helper()
	run := func(name string, start func(testing.TB) *overTCP) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			client := redis.NewClient(&redis.Options{Addr: s.addr, Password: s.password, Protocol: 2})
			t.Cleanup(func() { client.Close() })
			test(t, s.open(t, 0, 2), lease.Redis(client))
		})
	}
	run("embedded", startEmbedded)
	for name, program := range programs(t) {
		run(name, func(t testing.TB) *overTCP { return startProgram(t, program) })
	}
}

// pops pops as a holder does.
func pops(t *testing.T, c conn, holder string, at time.Time, command string) string {
	t.Helper()
	me := lease.NewHolder(holder, "c-"+holder, lease.About{Node: "n1", Name: "spider.1", Since: 1_700_000_000})
	p := testRules.Rewrite(strings.Fields(command), false, false, me, at)
	if p == nil {
		t.Fatalf("%s is no lease", command)
	}
	reply := c.do(p.Args...)
	if strings.HasPrefix(reply, "-NOSCRIPT") {
		reply = c.do(p.Eval(p.Args)...)
	}
	return reply
}

func push(t *testing.T, c conn, key string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		c.do("RPUSH", key, strconv.Itoa(i))
	}
}

// TestLook: who holds what, and how much there is of it.
func TestLook(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c conn, do lease.Do) {
		began := time.UnixMicro(1_800_000_000_123_456)
		push(t, c, "jobs:a", 0, 500)
		push(t, c, "jobs:b", 0, 3)
		for i := range 20 {
			pops(t, c, "holder-"+strconv.Itoa(i), began, "LPOP jobs:a 16")
		}
		pops(t, c, "other", began, "LPOP jobs:b")
		counts, err := testRules.Counts(t.Context(), do, "jobs:a", "jobs:b", "none")
		if err != nil {
			t.Fatal(err)
		}
		want := []lease.Count{
			{Key: "jobs:a", Waiting: 180, InFlight: 320}, {Key: "jobs:b", Waiting: 2, InFlight: 1}, {Key: "none"},
		}
		if !slices.Equal(counts, want) {
			t.Errorf("counts are %+v, want %+v", counts, want)
		}
		var items []string
		next := ""
		for range 100 {
			var page []lease.Lease
			if page, next, err = testRules.InFlight(t.Context(), do, next, 30); err != nil {
				t.Fatal(err)
			}
			for _, l := range page {
				items = append(items, l.Key+" "+l.Item)
				if l.Holder.Node != "n1" || l.Holder.Name != "spider.1" || !l.Since.Equal(began) {
					t.Fatalf("in flight is %+v", l)
				}
			}
			if next == "" {
				break
			}
		}
		slices.Sort(items)
		if n := len(slices.Compact(slices.Clone(items))); len(items) != 321 || n != 321 {
			t.Errorf("%d items in flight, %d different ones, want 321", len(items), n)
		}
	})
}

// TestSettle_Order: what goes back is where it was, in its order, and what came back too often
// is dead. Retried, it is at the end of its queue.
func TestSettle_Order(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c conn, do lease.Do) {
		const n = 2_500 // more than one script works on
		push(t, c, "jobs:a", 0, n)
		for delivery := 1; delivery <= testRules.MaxDeliveries; delivery++ {
			pops(t, c, "me", time.Now(), fmt.Sprint("LPOP jobs:a ", n-100))
			settled, err := testRules.Settle(t.Context(), do, "me", lease.Back)
			if err != nil {
				t.Fatal(err)
			}
			want := lease.Settled{Ended: n - 100}
			if delivery == testRules.MaxDeliveries {
				want.Dead = want.Ended
			}
			if settled != want {
				t.Fatalf("after delivery %d: %+v, want %+v", delivery, settled, want)
			}
			if want.Dead == 0 {
				if first := c.do("LRANGE", "jobs:a", "0", "1"); first != "*2\r\n$1\r\n0\r\n$1\r\n1\r\n" {
					t.Fatalf("the first two are %q", first)
				}
			}
		}
		// The newest goes first, so the dead are that way round.
		dead, err := lease.Dead(t.Context(), do, "jobs:a", 0, n)
		if err != nil || len(dead) != n-100 {
			t.Fatalf("%d are dead: %v", len(dead), err)
		}
		if moved, err := lease.Retry(t.Context(), do, "jobs:a", dead[:n-200]...); moved != n-200 || err != nil {
			t.Fatalf("%d retried: %v", moved, err)
		}
		if moved, err := lease.Drop(t.Context(), do, "jobs:a", dead...); moved != 100 || err != nil {
			t.Fatalf("%d dropped: %v", moved, err)
		}
		if last := c.do("LRANGE", "jobs:a", "99", "100"); last != "*2\r\n$4\r\n2499\r\n$4\r\n2399\r\n" {
			t.Errorf("the ones that stayed and the first retried: %q", last)
		}
		keys := members(c.do("KEYS", "*"))
		if !slices.Equal(keys, []string{"jobs:a"}) {
			t.Errorf("what is left are %q", keys)
		}
	})
}

// TestSettle_Elsewhere: a key that holds something else meanwhile costs no item.
func TestSettle_Elsewhere(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c conn, do lease.Do) {
		push(t, c, "jobs:a", 0, 3)
		pops(t, c, "me", time.Now(), "LPOP jobs:a 3")
		c.do("SET", "jobs:a", "x")
		c.do("SET", "jobs:a:dead", "x")
		if _, err := testRules.Settle(t.Context(), do, "me", lease.Back); err == nil ||
			!strings.Contains(err.Error(), "3 items fit nowhere") {
			t.Errorf("settled: %v", err)
		}
		if n := c.do("LLEN", script.HeldPrefix+"me"); n != ":3\r\n" {
			t.Errorf("%q are held, want 3", n)
		}
		c.do("DEL", "jobs:a:dead")
		if settled, err := testRules.Settle(t.Context(), do, "me", lease.Back); err != nil ||
			settled != (lease.Settled{Ended: 3, Dead: 3}) {
			t.Errorf("settled: %+v, %v", settled, err)
		}
		if _, err := lease.Retry(t.Context(), do, "jobs:a", "1"); err == nil ||
			!strings.Contains(err.Error(), "holds something else") {
			t.Errorf("retried: %v", err)
		}
		if n := c.do("LLEN", "jobs:a:dead"); n != ":3\r\n" {
			t.Errorf("%q are dead, want 3", n)
		}
	})
}

// TestTake_Elsewhere: where the leases' own list holds something else nothing is popped.
func TestTake_Elsewhere(t *testing.T) {
	t.Parallel()
	const wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
	onEach(t, func(t *testing.T, c conn, _ lease.Do) {
		c.do("SET", script.HeldPrefix+"me", "x")
		push(t, c, "jobs:a", 0, 3)
		c.do("SADD", "s", "a")
		c.do("ZADD", "z", "1", "a", "2", "b")
		c.do("SET", "jobs:text", "x")
		for _, command := range []string{
			"LPOP jobs:a", "RPOP jobs:a 2", "SPOP s", "ZPOPMIN z 2", "LPOP jobs:text", "BLPOP jobs:none jobs:text 1",
		} {
			if reply := pops(t, c, "me", time.Now(), command); reply != wrong {
				t.Errorf("%s: %q", command, reply)
			}
		}
		for command, want := range map[string]string{
			"LRANGE jobs:a 0 -1": "*3\r\n$1\r\n0\r\n$1\r\n1\r\n$1\r\n2\r\n", "SCARD s": ":1\r\n",
			"ZRANGE z 0 -1 WITHSCORES": "*4\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\nb\r\n$1\r\n2\r\n",
		} {
			if reply := c.do(strings.Fields(command)...); reply != want {
				t.Errorf("%s: %q, want %q", command, reply, want)
			}
		}
	})
}

// TestTake_Again: who waits is not told of a key that holds something else.
func TestTake_Again(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, c conn, do lease.Do) {
		if err := lease.Load(t.Context(), do); err != nil {
			t.Fatal(err)
		}
		c.do("SET", "jobs:text", "x")
		me := lease.NewHolder("me", "c1", lease.About{})
		p := testRules.Rewrite(strings.Fields("BLPOP jobs:text jobs:a 1"), false, false, me, time.Now())
		if reply := c.do(p.Again()...); reply != "$-1\r\n" {
			t.Errorf("nothing there: %q", reply)
		}
		c.do("RPUSH", "jobs:a", "x")
		if reply := c.do(p.Again()...); reply != "*2\r\n$6\r\njobs:a\r\n$1\r\nx\r\n" {
			t.Errorf("something there: %q", reply)
		}
	})
}
