package keeper_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/front"
	"github.com/crawlbox/crawlbox/embedded/queue/keeper"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// pop pops an item, "" for none.
func pop(t testing.TB, c *redis.Client, key string) string {
	t.Helper()
	item, err := c.LPop(t.Context(), key).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return item
}

// TestEnds: what a container held goes back when it is killed, and is done when it ends well;
// what a connection held goes back with its end. What comes back too often is dead.
func TestEnds(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		n.push("jobs", "a", "b", "c", "d", "e")
		a := n.in("killed")
		for _, want := range []string{"a", "b", "c"} {
			if got := pop(t, a, "jobs"); got != want {
				t.Fatalf("popped %q, want %q", got, want)
			}
		}
		n.containers.kill("killed", false)
		n.becomes("jobs", "[b c d e]") // a is done, its window is 2
		b := n.in("finished")
		pop(t, b, "jobs")
		n.containers.kill("finished", true)
		n.await(func() error {
			if n, err := n.direct.HLen(t.Context(), "crawlbox:holders").Result(); n != 0 || err != nil {
				return fmt.Errorf("%d holders, %v", n, err)
			}
			return nil
		})
		n.becomes("jobs", "[c d e]")
		for i := range 2 { // c came back once already
			elsewhere := n.in("")
			if got := pop(t, elsewhere, "jobs"); got != "c" {
				t.Fatalf("popped %q, want c", got)
			}
			elsewhere.Close()
			n.becomes("jobs", []string{"[c d e]", "[d e]"}[i])
		}
		n.becomes("jobs:dead", "[c]")
		if got := pop(t, n.in(""), "other"); got != "" {
			t.Errorf("popped %q of nothing", got)
		}
	})
}

// TestNewKeeper: when front and keeper were killed, the last pop of each connection goes back,
// since its reply may be lost; the rest stays held, and its holder is watched.
func TestNewKeeper(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		n.push("jobs", "a", "b", "c", "d", "e", "f")
		c := n.in("spider")
		pop(t, c, "jobs")
		pop(t, c, "jobs")
		pop(t, n.in(""), "jobs")
		n.stop()
		n = startNode(t, engine, n.containers, rules)
		n.becomes("jobs", "[b c d e f]")
		if got := pop(t, n.in("spider"), "jobs"); got != "b" {
			t.Errorf("popped %q, want b", got)
		}
		n.containers.kill("spider", false)
		n.becomes("jobs", "[a b c d e f]")
	})
}

// fails has the engine fail a container that waits for something.
func (n *node) fails(container string, cuts *scissors) {
	n.Helper()
	failed := make(chan error)
	go func() { failed <- n.in(container).BLPop(n.Context(), 0, "plain").Err() }()
	n.await(func() error {
		if info := n.direct.Info(n.Context(), "clients").Val(); !strings.Contains(info, "blocked_clients:1") {
			return errors.New("nobody waits: " + info)
		}
		return nil
	})
	cuts.cut()
	if err := <-failed; err == nil {
		n.Error("the engine is gone, and a client has its reply")
	}
}

// TestForgotten: what a container had popped last goes back when the engine fails it, though it lives on, as some
// programs then forget what they hold.
func TestForgotten(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		cuts := newScissors()
		n := startNode(t, cuts.within(engine), newContainers(), rules)
		n.push("jobs", "a", "b", "c")
		spider := n.in("spider")
		pop(t, spider, "jobs")
		pop(t, spider, "jobs")
		n.await(func() error {
			if n := cuts.readers(); n != 2 { // the front's for the client, and the keeper's for events
				return fmt.Errorf("%d connections to the engine are read from, want 2", n)
			}
			return nil
		})
		cuts.cut()
		if err := spider.Ping(t.Context()).Err(); err != nil { // it does not hear of it
			t.Fatal(err)
		}
		n.becomes("jobs", "[c]")
		n.fails("spider", cuts)
		n.becomes("jobs", "[b c]")
		n.containers.kill("spider", true)
		n.await(func() error {
			if left := n.direct.HLen(t.Context(), "crawlbox:holders").Val(); left != 0 {
				return fmt.Errorf("%d holders", left)
			}
			return nil
		})
		n.becomes("jobs", "[b c]")
	})
}

// TestForgotten_Again: an engine that fails a container once and again takes back what it had popped last, and not more
// each time: what it had before is done.
func TestForgotten_Again(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		cuts := newScissors()
		one := rules
		one.Window = 1
		n := startNode(t, cuts.within(engine), newContainers(), one)
		n.push("jobs", "a", "b", "c", "d", "e")
		for range 2 { // connections
			spider := n.in("spider")
			pop(t, spider, "jobs")
			pop(t, spider, "jobs")
		}
		for range 3 {
			n.fails("spider", cuts)
			spider := n.in("spider")
			spider.Do(t.Context(), "SELECT", 1)
			if err := spider.LPop(t.Context(), "jobs").Err(); !errors.Is(err, redis.Nil) { // waits until all is back
				t.Error(err)
			}
			n.becomes("jobs", "[b d e]")
		}
		n.containers.kill("spider", false)
		n.becomes("jobs", "[b d e]")
	})
}

// TestBlocking: who waits is served first come first served, at once, whatever of its keys the
// item is in; time runs out, and who has left gets nothing.
func TestBlocking(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		began := time.Now()
		if err := n.in("a").Do(t.Context(), "BLPOP", "jobs", "plain", "0.05").Err(); !errors.Is(err, redis.Nil) ||
			time.Since(began) < 50*time.Millisecond {
			t.Errorf("waited %v: %v", time.Since(began), err)
		}
		left, leave := context.WithCancel(t.Context())
		gone := n.in("gone")
		quit := make(chan struct{})
		go func() {
			defer close(quit)
			gone.BLPop(left, 0, "jobs")
		}()
		n.waiting(1)
		leave()
		gone.Close()
		<-quit
		n.waiting(0)
		var order []string
		var mu sync.Mutex
		var group sync.WaitGroup
		for i := range 5 {
			c := n.in("w" + strconv.Itoa(i))
			group.Go(func() {
				got, err := c.BLPop(t.Context(), 0, "jobs", "plain").Result()
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprint(i, got, err))
			})
			n.waiting(i + 1)
		}
		for i := range 5 {
			n.push([]string{"jobs", "plain"}[i%2], strconv.Itoa(i))
			n.await(func() error {
				mu.Lock()
				defer mu.Unlock()
				if len(order) != i+1 {
					return fmt.Errorf("served: %q", order)
				}
				return nil
			})
		}
		group.Wait()
		want := "0 [jobs 0] <nil>,1 [plain 1] <nil>,2 [jobs 2] <nil>,3 [plain 3] <nil>,4 [jobs 4] <nil>"
		if got := strings.Join(order, ","); got != want {
			t.Errorf("served %s, want %s", got, want)
		}
	})
}

// waiting waits until so many wait for items of the key jobs.
func (n *node) waiting(want int) {
	n.Helper()
	n.await(func() error {
		if got := n.keeper.Waiting(0, "jobs"); got != want {
			return fmt.Errorf("%d wait, want %d", got, want)
		}
		return nil
	})
}

// TestForgets: who has ended is forgotten, and so are keys that nobody waits for, of which a
// client has a hundred at the most.
func TestForgets(t *testing.T) {
	t.Parallel()
	n := startNode(t, startEmbedded(t), newContainers(), rules)
	for i := range 20 {
		n.push("jobs", i)
		pop(t, n.in("c"+strconv.Itoa(i)), "jobs")
		elsewhere := n.in("")
		n.push("jobs", "x")
		pop(t, elsewhere, "jobs")
		elsewhere.Close()
	}
	left, leave := context.WithCancel(t.Context())
	many := n.in("waits")
	quit := make(chan struct{})
	go func() {
		defer close(quit)
		var keys []string
		for i := range 1000 {
			keys = append(keys, "jobs:"+strconv.Itoa(i))
		}
		many.BLPop(left, 0, keys...)
	}()
	n.await(func() error {
		if _, keys := n.keeper.Remembered(); keys != 100 {
			return fmt.Errorf("%d keys are waited for, want 100", keys)
		}
		return nil
	})
	n.push("jobs:999", "found by looking")
	<-quit
	leave()
	for i := range 20 {
		n.containers.kill("c"+strconv.Itoa(i), true)
	}
	n.containers.kill("waits", true)
	n.await(func() error {
		if holders, keys := n.keeper.Remembered(); holders+keys != 0 {
			return fmt.Errorf("%d holders and %d keys are remembered", holders, keys)
		}
		return nil
	})
}

// TestPipeline: pops in a row are done at once and answered one by one, in their place.
func TestPipeline(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		for i := range 10 {
			n.push("jobs", i)
			n.direct.ZAdd(t.Context(), "z", redis.Z{Score: float64(i), Member: i})
		}
		pipe := n.in("spider").Pipeline()
		first := pipe.Echo(t.Context(), "first")
		var pops []*redis.StringCmd
		for range 12 {
			pops = append(pops, pipe.LPop(t.Context(), "jobs"))
		}
		last := pipe.Echo(t.Context(), "last")
		lowest := []*redis.ZSliceCmd{pipe.ZPopMin(t.Context(), "z"), pipe.ZPopMin(t.Context(), "z")}
		_, _ = pipe.Exec(t.Context())
		for i, cmd := range pops {
			want, none := strconv.Itoa(i), i >= 10
			if none {
				want = ""
			}
			if cmd.Val() != want || errors.Is(cmd.Err(), redis.Nil) != none {
				t.Errorf("pop %d: %q, %v", i, cmd.Val(), cmd.Err())
			}
		}
		if first.Val() != "first" || last.Val() != "last" {
			t.Errorf("beside the pops: %v, %v", first, last)
		}
		for i, cmd := range lowest {
			if got := cmd.Val(); len(got) != 1 || got[0].Score != float64(i) {
				t.Errorf("lowest %d: %v", i, cmd)
			}
		}
		n.containers.kill("spider", false)
		n.await(func() error { // the two newest, which its window is
			if got := n.direct.ZCard(t.Context(), "z").Val(); got != 10 {
				return fmt.Errorf("the sorted set has %d, want 10", got)
			}
			return nil
		})
		n.becomes("jobs", "[]")
	})
}

// TestTransaction: Scrapy's two transactions are leases.
func TestTransaction(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		n.push("jobs", "a", "b", "c")
		n.direct.ZAdd(t.Context(), "z", redis.Z{Score: 1, Member: "x"}, redis.Z{Score: 2, Member: "y"})
		c := n.in("spider")
		var head *redis.StringSliceCmd
		var removed *redis.IntCmd
		_, err := c.TxPipelined(t.Context(), func(p redis.Pipeliner) error {
			head = p.LRange(t.Context(), "jobs", 0, 1)
			p.LTrim(t.Context(), "jobs", 2, -1)
			p.ZRange(t.Context(), "z", 0, 0)
			removed = p.ZRemRangeByRank(t.Context(), "z", 0, 0)
			return nil
		})
		if err != nil || fmt.Sprint(head.Val()) != "[a b]" || removed.Val() != 1 {
			t.Fatalf("popped %v, %v: %v", head, removed, err)
		}
		n.becomes("jobs", "[c]")
		n.containers.kill("spider", false)
		n.becomes("jobs", "[a b c]") // the transaction is one pop
		if got := n.direct.ZRange(t.Context(), "z", 0, -1).Val(); fmt.Sprint(got) != "[x y]" {
			t.Errorf("the sorted set holds %q", got)
		}
	})
}

// TestLinger: a pop waits while others hold items of the key, not for its own.
func TestLinger(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		linger := rules
		linger.Linger = true
		n := startNode(t, engine, newContainers(), linger)
		n.push("jobs", "a")
		holds, waits := n.in("holds"), n.in("waits")
		pop(t, holds, "jobs")
		began := time.Now()
		if got := pop(t, holds, "jobs"); got != "" || time.Since(began) > 4*time.Second {
			t.Errorf("popped %q after %v", got, time.Since(began))
		}
		got := make(chan string, 1)
		go func() { got <- pop(t, waits, "jobs") }()
		n.waiting(1)
		n.containers.kill("holds", false)
		if item := <-got; item != "a" {
			t.Errorf("popped %q, want a", item)
		}
	})
}

// TestLeave: who is about to be ended gets nothing, waiting or not, and does not keep others who came later from it,
// until that is taken back; what it has seen in a transaction it has.
func TestLeave(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		leaves, stays := n.in("leaves@1"), n.in("stays")
		do := lease.Redis(n.direct)
		if err := lease.Leave(t.Context(), do, time.Hour, "leaves"); err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 2)
		wait := func(name string, c *redis.Client) {
			both, err := c.BLPop(t.Context(), 0, "jobs").Result()
			got <- fmt.Sprint(name, both, err)
		}
		go wait("leaves", leaves)
		n.waiting(1)
		go wait("stays", stays)
		n.waiting(2)
		n.push("jobs", "a", "b")
		if first := <-got; first != "stays[jobs a] <nil>" {
			t.Errorf("served: %s", first)
		}
		pipe := n.in("leaves").Pipeline()
		pops := []*redis.StringCmd{pipe.LPop(t.Context(), "jobs"), pipe.LPop(t.Context(), "jobs")}
		_, _ = pipe.Exec(t.Context())
		for _, pop := range append(pops, n.in("leaves@2").LPop(t.Context(), "jobs")) {
			if !errors.Is(pop.Err(), redis.Nil) {
				t.Errorf("one that leaves popped: %v", pop)
			}
		}
		n.becomes("jobs", "[b]")
		if err := lease.Stay(t.Context(), do, "leaves"); err != nil {
			t.Fatal(err)
		}
		if last := <-got; last != "leaves[jobs b] <nil>" {
			t.Errorf("served: %s", last)
		}
		if err := lease.Leave(t.Context(), do, time.Hour, "leaves"); err != nil {
			t.Fatal(err)
		}
		n.push("jobs", "c")
		cmds, err := n.in("leaves").TxPipelined(t.Context(), func(p redis.Pipeliner) error {
			p.LRange(t.Context(), "jobs", 0, 0)
			p.LTrim(t.Context(), "jobs", 1, -1)
			return nil
		})
		if err != nil || fmt.Sprint(cmds[0].(*redis.StringSliceCmd).Val()) != "[c]" {
			t.Errorf("in a transaction: %v, %v", cmds, err)
		}
		n.becomes("jobs", "[]")
	})
}

// TestCrashes has consumers work through numbered items while they are killed with an item in
// hand, connections to the engine are cut, and front and keeper begin anew: none is lost, and
// no more come twice than were at hand.
func TestCrashes(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		cuts := newScissors()
		c := &crashes{
			seen:   map[string]int{},
			rules:  lease.Rules{Safe: []string{"jobs"}, Window: 1, MaxDeliveries: 1000},
			engine: cuts.within(engine),
		}
		c.node = startNodeAt(t, testenv.FreeAddr(t).String(), c.engine, newContainers(), c.rules)
		for i := range crashItems {
			c.node.push("jobs", i)
		}
		var group sync.WaitGroup
		for i := range crashConsumers {
			group.Go(func() {
				for life := 0; !c.done(); life++ {
					c.work(t, fmt.Sprintf("c%d-%d", i, life))
				}
			})
		}
		harms := 0
		for ; !c.done(); harms++ {
			time.Sleep(15 * time.Millisecond) // harm, not a wait for something
			if harms%8 == 7 {
				n := c.now()
				n.stop()
				n = startNodeAt(t, n.addr, c.engine, n.containers, c.rules)
				c.mu.Lock()
				c.node = n
				c.mu.Unlock()
			} else {
				cuts.cut()
			}
			c.awaitMore()
		}
		group.Wait()
		twice := 0
		for _, times := range c.seen {
			twice += times - 1
		}
		if most := c.kills + harms*crashConsumers; twice > most {
			t.Errorf("%d items were done more than once, at the most %d may", twice, most)
		}
		t.Logf("%d items, %d kills, %d other harms, %d done twice", len(c.seen), c.kills, harms, twice)
	})
}

const (
	crashItems     = 2_000
	crashConsumers = 4
)

type crashes struct {
	rules  lease.Rules
	engine front.Engine

	mu    sync.Mutex
	node  *node
	seen  map[string]int
	kills int
	began time.Time
}

// done reports whether all items have been; it does not wait for ever.
func (c *crashes) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() {
		c.began = time.Now()
	}
	if time.Since(c.began) > 3*patience {
		if len(c.seen) != crashItems {
			c.node.Errorf("%d of %d items were done, others are in %q", len(c.seen), crashItems, c.missing())
		}
		return true
	}
	return len(c.seen) == crashItems
}

// missing returns where the items are that have not been done.
func (c *crashes) missing() (places []string) {
	ctx := c.node.Context()
	for _, key := range c.node.direct.Keys(ctx, "*").Val() {
		for _, item := range c.node.direct.LRange(ctx, key, 0, -1).Val() {
			name := item
			if at := strings.LastIndex(item, "jobs"); at >= 0 {
				name = item[at+len("jobs"):]
			}
			if c.seen[name] == 0 {
				places = append(places, key+": "+item)
			}
		}
	}
	return places
}

// now returns the front and keeper that run.
func (c *crashes) now() *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// awaitMore waits until another item is done, for a second at most: on a busy machine nothing would be while harm
// follows harm.
func (c *crashes) awaitMore() {
	count := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.seen)
	}
	before, begun := count(), time.Now()
	for count() == before && time.Since(begun) < time.Second {
		time.Sleep(time.Millisecond)
	}
}

// work is the life of a consumer, which ends with an item in its hand.
func (c *crashes) work(t *testing.T, id string) {
	client := c.now().in(id)
	defer client.Close()
	for count := 0; !c.done(); count++ {
		var item string
		var err error
		if count%2 == 0 {
			item, err = client.LPop(t.Context(), "jobs").Result()
		} else if both, e := client.BRPop(t.Context(), time.Second, "jobs").Result(); e == nil {
			item = both[1]
		} else {
			err = e
		}
		if err != nil {
			time.Sleep(time.Millisecond) // as a client does that tries again
			continue
		}
		if count > 30 {
			c.mu.Lock()
			c.kills++
			c.mu.Unlock()
			c.now().containers.kill(id, false)
			return
		}
		c.mu.Lock()
		c.seen[item]++
		c.mu.Unlock()
	}
}

// TestUp gives back what is held on a node that is lost, when it was missing twice, and nothing where the list is none.
func TestUp(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		log := slog.New(slog.DiscardHandler)
		other := keeper.New(keeper.Options{Rules: rules, Node: "n2", Engine: engine}, log)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go other.Run(ctx)
		n.push("jobs", "a", "b")
		pop(t, n.in("spider"), "jobs")
		for _, step := range []struct{ up, want string }{
			{"", "[b]"}, {"n3", "[b]"}, {"n3", "[b]"}, // without its own
			{"n2", "[b]"}, {"n1 n2", "[b]"}, {"n2", "[b]"}, {"n2", "[a b]"},
		} {
			if err := other.Up(t.Context(), strings.Fields(step.up)); err != nil {
				t.Fatal(err)
			}
			n.becomes("jobs", step.want)
		}
	})
}

// TestSetEngine has front and keeper get to another engine: who waits gets what comes there, and what is popped there
// is held there.
func TestSetEngine(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		other := startEmbedded(t)
		there := clientOf(t, other.Name)
		got := make(chan string, 1)
		go func() {
			for {
				item, err := n.in("waits").BLPop(t.Context(), 10*time.Second, "jobs").Result()
				if err == nil {
					got <- item[1]
					return
				}
			}
		}()
		n.waiting(1)
		n.keeper.SetEngine(other)
		n.front.SetEngine(other)
		n.waiting(1)
		if err := there.RPush(t.Context(), "jobs", "a", "b").Err(); err != nil {
			t.Fatal(err)
		}
		if item := <-got; item != "a" {
			t.Errorf("popped %q", item)
		}
		n.containers.kill("waits", false)
		n.await(func() error {
			if list := there.LRange(t.Context(), "jobs", 0, -1).Val(); fmt.Sprint(list) != "[a b]" {
				return fmt.Errorf("there wait %q", list)
			}
			return nil
		})
	})
}

// TestAsked: with a window of one, who asks and finds nothing is done with what it had, and holds nothing while it
// waits; with a larger one nobody can say.
func TestAsked(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		for window, left := range map[int]string{1: "[]", 2: "[a]"} {
			key := fmt.Sprintf("jobs:%d", window)
			one := rules
			one.Window, one.Safe = window, []string{key}
			n := startNode(t, engine, newContainers(), one)
			n.push(key, "a")
			spider := n.in("spider")
			if got := pop(t, spider, key); got != "a" {
				t.Fatalf("popped %q", got)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				spider.BLPop(t.Context(), 2*time.Second, key)
			}()
			n.await(func() error {
				if got := n.keeper.Waiting(0, key); got != 1 {
					return fmt.Errorf("%d wait", got)
				}
				return nil
			})
			n.containers.kill("spider", false)
			<-ended
			n.becomes(key, left)
		}
	})
}

// TestSpoilt has a client of the queue make up holders, and change where the leases are, while no keeper runs. What
// others held goes back all the same, pops are served, and what was made up is gone in the end.
func TestSpoilt(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		direct := clientOf(t, engine.Name)
		const held, holders = "crawlbox:held:", "crawlbox:holders"
		mine := `{"node":"n1"}`
		entry := func(key, item string) string { return fmt.Sprintf("Lstamp.c::%d:%s%s", len(key), key, item) }
		_, err := direct.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			ctx := t.Context()
			digits := strings.Repeat("9", 100)
			for _, name := range []string{"conn-a-1~a-0", "gone~a-0", "~a-0", "", "@~-", "x~" + digits} {
				p.HSet(ctx, holders, name, mine)
				p.Set(ctx, held+name, "no list", 0)
			}
			p.HSet(ctx, holders, "none~a-0", mine, "what", "{", "other~a-0", `{"node":{}}`)
			p.HSet(ctx, holders, "conn-a-2~a-0", mine)
			p.RPush(ctx, held+"conn-a-2~a-0", "", ":::", "no entry", entry("stuck", "x"), entry("jobs", "back"))
			p.Set(ctx, "stuck", "", 0)
			return p.Set(ctx, "stuck:dead", "", 0).Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		n := startNode(t, engine, newContainers(), rules)
		n.becomes("jobs", "[back]")
		c := n.in("spider")
		if got := pop(t, c, "jobs"); got != "back" {
			t.Fatalf("popped %q", got)
		}
		n.containers.kill("spider", false)
		n.becomes("jobs", "[back]")
		if err := direct.Set(t.Context(), holders, "no hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
		n.stop()
		n = startNode(t, engine, newContainers(), rules)
		if got := pop(t, n.in("spider"), "jobs"); got != "back" {
			t.Fatalf("popped %q", got)
		}
	})
}

// TestTransaction_Again has transactions that came to nothing, and such as select another database. Each pop counts
// from when it was, and goes back to where it came from.
func TestTransaction_Again(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		other := clientOf(t, engine.Name).Conn()
		defer other.Close()
		ctx := t.Context()
		if err := errors.Join(other.Select(ctx, 3).Err(), other.RPush(ctx, "jobs", "a", "b", "c").Err()); err != nil {
			t.Fatal(err)
		}
		c := n.in("spider").Conn()
		defer c.Close()
		do := func(args ...any) any {
			t.Helper()
			reply, err := c.Do(ctx, args...).Result()
			if err != nil && !errors.Is(err, redis.Nil) {
				t.Fatalf("%v: %v", args, err)
			}
			return reply
		}
		do("MULTI")
		do("LPOP", "jobs")
		do("DISCARD")
		do("WATCH", "x")
		n.push("x", 1)
		do("MULTI")
		do("LPOP", "jobs")
		do("EXEC")
		begun := time.Now()
		do("MULTI")
		do("SELECT", 3)
		do("LPOP", "jobs")
		if got := fmt.Sprint(do("EXEC")); got != "[OK a]" {
			t.Errorf("got %s", got)
		}
		held, _, err := lease.Rules{Window: 2}.InFlight(ctx, lease.Redis(other), "", 10)
		begun = begun.Truncate(time.Microsecond)
		if err != nil || len(held) != 1 || held[0].Item != "a" || held[0].Since.Before(begun) {
			t.Errorf("held are %+v, %v; it began at %s", held, err, begun)
		}
		if got := do("LPOP", "jobs"); got != "b" { // in the database that it is in by now
			t.Errorf("popped %v", got)
		}
		n.containers.kill("spider", false)
		n.await(func() error {
			if got := fmt.Sprint(other.LRange(ctx, "jobs", 0, -1).Val()); got != "[a b c]" {
				return errors.New("jobs of database 3 are " + got)
			}
			return nil
		})
	})
}

// TestLeave_OtherDatabase has a container that is about to be ended pop in a database that clients do not begin in.
func TestLeave_OtherDatabase(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		ctx := t.Context()
		n := startNode(t, engine, newContainers(), rules)
		leaves, stays := n.in("leaves").Conn(), n.in("stays").Conn()
		defer leaves.Close()
		defer stays.Close()
		if err := errors.Join(leaves.Select(ctx, 3).Err(), stays.Select(ctx, 3).Err(),
			stays.RPush(ctx, "jobs", "a", "b").Err()); err != nil {
			t.Fatal(err)
		}
		if got, err := leaves.LPop(ctx, "jobs").Result(); got != "a" || err != nil {
			t.Errorf("popped %q, %v", got, err)
		}
		if err := lease.Leave(ctx, lease.Redis(n.direct), time.Minute, "leaves"); err != nil {
			t.Fatal(err)
		}
		if got, err := leaves.LPop(ctx, "jobs").Result(); !errors.Is(err, redis.Nil) {
			t.Errorf("one that is about to be ended popped %q, %v", got, err)
		}
		if got, err := stays.LPop(ctx, "jobs").Result(); got != "b" || err != nil {
			t.Errorf("another popped %q, %v", got, err)
		}
		n.containers.kill("leaves", false)
		if got, err := stays.BLPop(ctx, patience, "jobs").Result(); fmt.Sprint(got) != "[jobs a]" || err != nil {
			t.Errorf("what it held is %v, %v", got, err)
		}
	})
}

// TestOddReplies has clients pop not each of whose requests has one reply: they wait for items as all others do, hold
// what they get, and get what else there is for them.
func TestOddReplies(t *testing.T) {
	t.Parallel()
	const (
		pop   = "BLPOP jobs 0\r\n"
		item  = "*2\r\n$4\r\njobs\r\n$4\r\nitem\r\n"
		none  = "*-1\r\n"
		fine  = "+OK\r\n"
		pong  = "+PONG\r\n"
		heard = "3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n"
		left  = "3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n"
	)
	odd := map[string]oddReplies{
		"subscribed":   {"3", "SUBSCRIBE x\r\nSELECT 0\r\n" + pop + "PING\r\n", ">" + heard + fine + item + pong},
		"unsubscribed": {"2", "SUBSCRIBE x\r\nUNSUBSCRIBE\r\nPING\r\n" + pop, "*" + heard + "*" + left + pong + item},
		"off":          {"2", "CLIENT REPLY OFF\r\n" + pop + "PING\r\nCLIENT REPLY ON\r\nPING\r\n", fine + pong},
		"skip":         {"2", "CLIENT REPLY SKIP\r\n" + pop + "PING\r\n", pong},
		"skip a null":  {"2", "CLIENT REPLY SKIP\r\nBLPOP jobs2 0.01\r\nBLPOP jobs2 0.01\r\n" + pop, none + item},
		"both": {
			"3", "CLIENT REPLY OFF\r\nSUBSCRIBE x\r\n" + pop + "PING\r\nCLIENT REPLY ON\r\nPING\r\n",
			">" + heard + fine + pong,
		},
	}
	engines(t, func(t *testing.T, engine front.Engine) {
		far := engineAt(startNode(t, engine, newContainers(), rules).addr)
		far.Front = true
		for name, c := range odd {
			testOddReplies(t, name, c, engine)
			testOddReplies(t, name+", by two fronts", c, far)
		}
	})
}

// oddReplies are what a client says, and gets when there is an item.
type oddReplies struct{ proto, says, gets string }

func testOddReplies(t *testing.T, name string, c oddReplies, engine front.Engine) {
	n := startNode(t, engine, newContainers(), rules)
	conn, err := n.dial("spider")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	read := func(what string) string {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		var got []byte
		for !bytes.HasSuffix(got, []byte(what)) {
			b, err := in.ReadByte()
			if err != nil {
				t.Fatalf("%s: got %q, %v", name, got, err)
			}
			got = append(got, b)
		}
		return strings.TrimSuffix(string(got), what)
	}
	fmt.Fprintf(conn, "*5\r\n$5\r\nHELLO\r\n$1\r\n%s\r\n$4\r\nAUTH\r\n$7\r\ndefault\r\n$%d\r\n%s\r\n"+
		"ECHO in\r\n%sECHO out\r\n", c.proto, len(password), password, c.says)
	read("$2\r\nin\r\n")

	n.waiting(1)
	n.push("jobs", "item")
	if got := read("$3\r\nout\r\n"); got != c.gets {
		t.Errorf("%s: got %q, want %q", name, got, c.gets)
	}
	n.containers.kill("spider", false)
	n.becomes("jobs", "[item]")
	if err := n.direct.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	n.stop()
}

// TestPlain has a client pop whose replies can't be followed any longer: it gets no error of the leases, and what it
// popped goes back as ever.
func TestPlain(t *testing.T) {
	t.Parallel()
	engines(t, func(t *testing.T, engine front.Engine) {
		n := startNode(t, engine, newContainers(), rules)
		n.push("jobs", "a", "b")
		c := n.in("spider").Conn()
		defer c.Close()
		ctx := t.Context()
		multi := func(p redis.Pipeliner) error { return p.Do(ctx, "CLIENT", "REPLY", "ON").Err() }
		if _, err := c.TxPipelined(ctx, multi); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(lease.Leave(ctx, lease.Redis(n.direct), time.Minute, "spider"),
			n.direct.ScriptFlush(ctx).Err()); err != nil {
			t.Fatal(err)
		}
		if got, err := c.LPop(ctx, "jobs").Result(); got != "a" || err != nil {
			t.Errorf("popped %q, %v", got, err)
		}
		n.containers.kill("spider", false)
		n.becomes("jobs", "[a b]")
	})
}

// TestOtherMachine: a program of this machine is in none of its containers, one of another machine may be in one there.
func TestOtherMachine(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for from, want := range map[string]string{"127.0.0.1": "", "127.0.0.2": "127.0.0.2"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := keeper.OtherMachine(conn); got != want {
			t.Errorf("from %s: %q, want %q", from, got, want)
		}
		client.Close()
		conn.Close()
	}
}
