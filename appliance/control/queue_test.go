package control

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/api"
	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/queueproc"
	"github.com/crawlbox/crawlbox/embedded/queue"
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
	return NewQueues(client, func() queueproc.State { return queueproc.State{} }, s.Addr(), false), client
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
		"urls":     "{urls list 3 [a b] [] []}",
		"seen":     "{seen set 2 [x y] [] []}",
		"requests": "{requests zset 2 [first later] [-1.5 5] []}",
		"stats":    "{stats hash 1 [pages] [] [7]}",
		"cursor":   "{cursor string 1 [42] [] []}",
		"none":     "{none  0 [] [] []}",
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
	real := NewQueues(other, func() queueproc.State { return queueproc.State{} }, "", false)
	items := func(n int) (all []any) {
		for i := range n {
			all = append(all, i)
		}
		return all
	}
	for counted, q := range map[bool]*Queues{true: own, false: real} {
		c, ctx := q.client, t.Context()
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
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
			fmt.Sprint(v.Keys[0]) != "{more set 200 0 0}" || v.Keys[1].Len != 100 || v.At.IsZero() {
			t.Errorf("the deepest are %+v, %v", v, err)
		}
		if v, err = q.QueueFlow(ctx, []string{"more", "none"}, 1); err != nil || len(v.Keys) != 2 {
			t.Errorf("the named are %+v, %v", v, err)
		}
		c.SPopN(ctx, "more", 20)
		c.RPush(ctx, "none", 1, 2)
		want := "[{more set 180 0 20} {none list 2 2 0}]"
		if !counted {
			want = "[{more set 180 0 0} {none list 2 0 0}]"
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
