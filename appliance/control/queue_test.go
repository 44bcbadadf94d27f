package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/appliance/queueproc/leases"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// newQueues returns the queues of an embedded queue in this process, and a client of it.
func newQueues(t *testing.T) (*Queues, *redis.Client) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: "open sesame", Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	client := (*redis.Client)(nil)
	t.Cleanup(func() {
		if client != nil {
			client.Close()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	client = queueproc.NewClient(netip.MustParseAddrPort(s.Addr()), "open sesame", nil)
	safe := configs.Queue{Safe: []string{"jobs:*"}, Window: 3, MaxDeliveries: 1}
	return NewQueues(safe, client, func() queueproc.State { return queueproc.State{} }, s.Addr()), client
}

// TestQueues_Types wants len, peek and clear to know keys of all types: scrapy-redis lives on
// sorted sets and sets.
func TestQueues_Types(t *testing.T) {
	t.Parallel()
	q, c := newQueues(t)
	ctx := t.Context()
	for _, fill := range []redis.Cmder{
		c.RPush(ctx, "urls", "a", "b", "c"),
		c.SAdd(ctx, "seen", "x", "y"),
		c.ZAdd(ctx, "requests", redis.Z{Score: 5, Member: "later"}, redis.Z{Score: -1.5, Member: "first"}),
		c.HSet(ctx, "stats", "pages", "7"),
		c.Set(ctx, "cursor", "42", 0),
	} {
		if fill.Err() != nil {
			t.Fatal(fill.Err())
		}
	}
	all, err := q.QueueLen(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, is := range all {
		list = append(list, fmt.Sprint(is.Key, " ", is.Type, " ", is.Len))
	}
	want := []string{"cursor string 1", "requests zset 2", "seen set 2", "stats hash 1", "urls list 3"}
	if !slices.Equal(list, want) {
		t.Errorf("all keys are %q, want %q", list, want)
	}
	for key, want := range map[string]string{
		"urls":     "{urls list 3 [a b] [] [] <nil> <nil>}",
		"seen":     "{seen set 2 [x y] [] [] <nil> <nil>}",
		"requests": "{requests zset 2 [first later] [-1.5 5] [] <nil> <nil>}",
		"stats":    "{stats hash 1 [pages] [] [7] <nil> <nil>}",
		"cursor":   "{cursor string 1 [42] [] [] <nil> <nil>}",
		"none":     "{none  0 [] [] [] <nil> <nil>}",
	} {
		is, err := q.QueuePeek(ctx, key, 2)
		slices.Sort(is.Items)
		if got := fmt.Sprint(is); err != nil || got != want {
			t.Errorf("peek %s: got %s, %v; want %s", key, got, err, want)
		}
		one, err := q.QueueLen(ctx, key)
		if err != nil || len(one) != 1 || one[0].Len != is.Len {
			t.Errorf("len %s: got %+v, %v", key, one, err)
		}
		if was, err := q.QueueClear(ctx, key); err != nil || was.Len != is.Len {
			t.Errorf("clear %s: got %+v, %v", key, was, err)
		}
	}
	if left, err := q.QueueLen(ctx, ""); err != nil || len(left) != 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
}

// TestQueues_Many wants a look at a queue of any size to be small.
func TestQueues_Many(t *testing.T) {
	t.Parallel()
	q, c := newQueues(t)
	members := make([]any, 5000)
	_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range members {
			members[i] = fmt.Sprint("member", i)
			p.Set(t.Context(), fmt.Sprint("lock:", i), "", 0)
		}
		p.SAdd(t.Context(), "seen", members...)
		p.HSet(t.Context(), "stats", members...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := q.QueueLen(t.Context(), ""); err != nil || len(all) != api.MaxKeys {
		t.Errorf("%d keys are listed, %v", len(all), err)
	}
	for _, key := range []string{"seen", "stats"} {
		if is, err := q.QueuePeek(t.Context(), key, 7); err != nil || len(is.Items) != 7 {
			t.Errorf("%s: %d items, %v", key, len(is.Items), err)
		}
	}
	if _, err := q.QueuePush(t.Context(), "seen", []string{"a"}); err == nil || !strings.Contains(err.Error(),
		"seen is not a list") {
		t.Errorf("a push to a set: %v", err)
	}
}

// TestQueues_Flow wants the keys with most items of many, and what comes and goes of those that are
// named; of a server that does not count that, that it is not known.
func TestQueues_Flow(t *testing.T) {
	t.Parallel()
	own, c := newQueues(t)
	other := redis.NewClient(&redis.Options{Addr: testenv.Redis(t)})
	t.Cleanup(func() { other.Close() })
	real := NewQueues(configs.Queue{}, other, func() queueproc.State { return queueproc.State{} }, "")
	items := func(n int) (all []any) {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	for counted, q := range map[bool]*Queues{true: own, false: real} {
		is, err := q.Reach()
		if err != nil {
			t.Fatal(err)
		}
		c, ctx := is.Client, t.Context()
		_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := range 3000 {
				p.RPush(ctx, fmt.Sprint("list:", i), items(1+i%100)...)
			}
			p.Set(ctx, "lock", "", 0)
			p.RPush(ctx, "crawlbox:held:x", items(500)...)
			p.SAdd(ctx, "more", items(200)...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		v, err := q.QueueFlow(ctx, nil, 3)
		if err != nil || len(v.Keys) != 3 || v.More != 2998 || v.Cut || v.Counted != counted ||
			fmt.Sprint(v.Keys[0]) != "{more set 200 0 0 <nil>}" || v.Keys[1].Len != 100 || v.At.IsZero() {
			t.Errorf("the deepest are %+v, %v", v, err)
		}
		if v, err = q.QueueFlow(ctx, []string{"more", "none"}, 1); err != nil || len(v.Keys) != 2 {
			t.Errorf("the named are %+v, %v", v, err)
		}
		c.SPopN(ctx, "more", 20)
		c.RPush(ctx, "none", 1, 2)
		want := "[{more set 180 0 20 <nil>} {none list 2 2 0 <nil>}]"
		if !counted {
			want = "[{more set 180 0 0 <nil>} {none list 2 0 0 <nil>}]"
		}
		if v, err = q.QueueFlow(ctx, []string{"more", "none"}, 1); err != nil || fmt.Sprint(v.Keys) != want {
			t.Errorf("the named are %+v, %v; want %s", v.Keys, err, want)
		}
	}
	c.Close()
	if _, err := own.QueueFlow(t.Context(), []string{"more"}, 1); err == nil {
		t.Error("a queue that does not answer is no error")
	}
}

// TestQueues_Leases wants of safe keys what waits, what is held and what is dead, also where nothing waits, and none of
// the keys that this is kept in.
func TestQueues_Leases(t *testing.T) {
	t.Parallel()
	q, c := newQueues(t)
	ctx := t.Context()
	rules := lease.Rules{Safe: []string{"jobs:*"}, Window: 3, MaxDeliveries: 1}
	pop := func(container, key string) {
		t.Helper()
		holder := lease.NewHolder(container, "conn", lease.About{Node: "h1", Name: "spider.1"})
		args := []any{}
		for _, arg := range rules.Rewrite([]string{"LPOP", key}, false, false, holder, time.Now()).Args {
			args = append(args, arg)
		}
		if err := c.Do(ctx, args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	large := strings.Repeat("x", 2*api.MaxHeldItem)
	c.RPush(ctx, "jobs:a", "kills", large, "c")
	c.RPush(ctx, "jobs:b", "b")
	c.RPush(ctx, "jobs:d", "kills too")
	c.RPush(ctx, "urls", "u")
	c.RPush(ctx, "urls:dead", "u")
	pop("one~r-0", "jobs:a")
	pop("one~r-0", "jobs:d")
	if _, err := rules.Settle(ctx, lease.Redis(c), "one~r-0", lease.Back); err != nil {
		t.Fatal(err)
	}
	pop("two~r-0", "jobs:a")
	pop("two~r-0", "jobs:b")

	show := func(list []api.Items) (all []string) {
		for _, is := range list {
			text := fmt.Sprint(is.Key, " ", is.Type, " ", is.Len)
			if is.Dead != nil {
				text += fmt.Sprint(" ", *is.InFlight, " ", *is.Dead)
			}
			all = append(all, text)
		}
		return all
	}
	all, err := q.QueueLen(ctx, "")
	want := []string{"jobs:a list 1 1 1", "jobs:b  0 1 0", "jobs:d  0 0 1", "urls list 1", "urls:dead list 1"}
	if got := show(all); err != nil || !slices.Equal(got, want) {
		t.Errorf("all keys are %q, %v; want %q", got, err, want)
	}
	one, err := q.QueueLen(ctx, "jobs:b")
	if got := show(one); err != nil || !slices.Equal(got, want[1:2]) {
		t.Errorf("one key is %q, %v", got, err)
	}
	flow, err := q.QueueFlow(ctx, nil, 9)
	var watched []string
	for _, k := range flow.Keys {
		held := int64(-1)
		if k.InFlight != nil {
			held = *k.InFlight
		}
		watched = append(watched, fmt.Sprint(k.Key, " ", k.Len, " ", held))
	}
	if want := []string{"jobs:a 1 1", "urls 1 -1", "urls:dead 1 -1", "jobs:b 0 1"}; err != nil ||
		!slices.Equal(watched, want) {
		t.Errorf("watched are %q, %v; want %q", watched, err, want)
	}
	held, err := q.QueueInFlight(ctx, "jobs:a", 9)
	if err != nil || held.More || len(held.Items) != 1 || !held.Items[0].Cut ||
		len(held.Items[0].Item) != api.MaxHeldItem || held.Items[0].Task != "spider.1" {
		t.Errorf("held are %.200v, %v", held, err)
	}
	dead, err := q.QueueDead(ctx, "", 9)
	want = []string{"jobs:a list 1", "jobs:d list 1", "urls list 1"}
	if got := show(dead); err != nil || !slices.Equal(got, want) {
		t.Errorf("keys with dead items are %q, %v", got, err)
	}
	if dead, err = q.QueueDead(ctx, "jobs:d", 9); err != nil || len(dead) != 1 ||
		!slices.Equal(dead[0].Items, []string{"kills too"}) {
		t.Errorf("dead are %+v, %v", dead, err)
	}
	if dead, err = q.QueueDead(ctx, "jobs:none", 9); err != nil || len(dead) != 0 {
		t.Errorf("of a key without dead items are %+v, %v", dead, err)
	}
	if is, err := q.QueueRetry(ctx, api.Items{Key: "jobs:d"}); err != nil || is.Len != 1 {
		t.Errorf("a retry is %+v, %v", is, err)
	}
	c.Set(ctx, "jobs:a", "something else", 0)
	_, err = q.QueueRetry(ctx, api.Items{Key: "jobs:a"})
	if err == nil || !strings.Contains(err.Error(), "rename it") {
		t.Errorf("a retry into a string: %v", err)
	}
	if is, err := q.QueueDrop(ctx, api.Items{Key: "jobs:a", Items: []string{"kills"}}); err != nil || is.Len != 1 {
		t.Errorf("a drop is %+v, %v", is, err)
	}
}

// TestQueues_Unsafe: of keys that are not safe it is said that nobody knows, in the place of nothing, and of safe ones
// with nothing held or dead nothing.
func TestQueues_Unsafe(t *testing.T) {
	t.Parallel()
	q, c := newQueues(t)
	at, err := q.Reach()
	if err != nil {
		t.Fatal(err)
	}
	none := *q
	none.Reach = func() (Reached, error) {
		return Reached{Client: c, Leases: leases.New(configs.Queue{}, c), Address: at.Address}, nil
	}
	if err := c.RPush(t.Context(), leases.DeadOf("others"), "a").Err(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		queues         *Queues
		key            string
		inFlight, dead string // errors; empty: there is none
	}{
		{q, "", "", ""},
		{q, "jobs:a", "", ""},
		{
			q, "urls",
			"urls is not safe, so nobody knows who holds its items, and none dies; safe are jobs:*", "urls is not",
		},
		{q, "others", "others is not safe", ""}, // it was once
		{&none, "", "no key is safe", ""},
		{&none, "urls", "no key is safe", "no key is safe"},
	} {
		_, inFlight := tc.queues.QueueInFlight(t.Context(), tc.key, 10)
		_, dead := tc.queues.QueueDead(t.Context(), tc.key, 10)
		for what, pair := range map[string]struct {
			err  error
			want string
		}{"inflight": {inFlight, tc.inFlight}, "dead": {dead, tc.dead}} {
			got := fmt.Sprint(pair.err)
			if (pair.err == nil) != (pair.want == "") || pair.err != nil && !strings.HasPrefix(got, pair.want) {
				t.Errorf("%s of %q: %s, want %q", what, tc.key, got, pair.want)
			}
		}
	}
}

// TestQueues_CutOff: a Valkey that takes no writes, since its replica is away or it is one, may have old items, and
// what reads them says so; of a Redis of one's own that is not crawlbox's business.
func TestQueues_CutOff(t *testing.T) {
	t.Parallel()
	c := redis.NewClient(&redis.Options{Addr: testenv.Redis(t)})
	t.Cleanup(func() { c.Close() })
	ctx := t.Context()
	if err := c.RPush(ctx, "urls", "a").Err(); err != nil {
		t.Fatal(err)
	}
	running := func() queueproc.State { return queueproc.State{} }
	ours := configs.Queue{Engine: configs.EngineValkey, Safe: []string{"*"}, Window: 1}
	valkey := NewQueues(ours, c, running, "h:1")
	own := NewQueues(configs.Queue{Engine: configs.EngineURL}, c, running, "h:1")
	reads := map[string]func(q *Queues) error{
		"len":      func(q *Queues) error { _, err := q.QueueLen(ctx, ""); return err },
		"peek":     func(q *Queues) error { _, err := q.QueuePeek(ctx, "urls", 1); return err },
		"watch":    func(q *Queues) error { _, err := q.QueueFlow(ctx, nil, 1); return err },
		"inflight": func(q *Queues) error { _, err := q.QueueInFlight(ctx, "", 1); return err },
		"dead":     func(q *Queues) error { _, err := q.QueueDead(ctx, "", 1); return err },
	}
	for name, read := range reads {
		if err := read(valkey); err != nil {
			t.Errorf("%s of a primary: %v", name, err)
		}
	}
	if err := c.ConfigSet(ctx, "min-replicas-to-write", "1").Err(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for name, read := range reads {
		group.Go(func() {
			if err := read(valkey); err == nil || !strings.Contains(err.Error(), "may be old") {
				t.Errorf("%s of one without its replica: %v", name, err)
			}
		})
	}
	group.Wait()
	if _, err := own.QueueLen(ctx, ""); err != nil {
		t.Errorf("one's own: %v", err)
	}
	soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := valkey.QueueLen(soon, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who does not wait: %v", err)
	}
	if takesWrites("role:slave\r\nmaster_host:x\r\n") ||
		!takesWrites("role:master\r\nmin_slaves_good_slaves:1\r\n") {
		t.Error("a replica takes writes, or a primary does not")
	}
}
