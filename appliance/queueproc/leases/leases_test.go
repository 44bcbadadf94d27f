package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/configs"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

var config = configs.Queue{Safe: []string{"jobs:*"}, Window: 3, MaxDeliveries: 1}

// onEach runs a test on the embedded engine and on a Redis.
func onEach(t *testing.T, f func(t *testing.T, l *Leases)) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: "open sesame", Dir: t.TempDir()}, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-s.Ready()
	for name, opts := range map[string]*redis.Options{
		"embedded": {Addr: s.Addr(), Password: "open sesame", Protocol: 2},
		"redis":    {Addr: testenv.Redis(t)},
	} {
		t.Run(name, func(t *testing.T) {
			client := redis.NewClient(opts)
			defer client.Close()
			if err := lease.Load(t.Context(), lease.Redis(client)); err != nil {
				t.Fatal(err)
			}
			f(t, New(config, client))
		})
	}
}

// pop pops as a container does whose pops are leases.
func pop(t *testing.T, l *Leases, container, key string, n int) {
	t.Helper()
	about := lease.About{Node: "h2", Name: "spider.2.0123456789abcdefghijklmno"}
	holder := lease.NewHolder(container+"@1732262400~k3jd9f2a-0", "k3jd9f2a-1", about)
	for range n {
		p := l.rules.Rewrite([]string{"LPOP", key}, false, false, holder, time.Now())
		args := make([]any, len(p.Args))
		for i, arg := range p.Args {
			args[i] = arg
		}
		if err := l.client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func push(t *testing.T, l *Leases, key string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := l.client.RPush(t.Context(), key, fmt.Sprint("item ", i)).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeases wants what containers hold of each key, who holds it, and what becomes of items that came back too
// often.
func TestLeases(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, l *Leases) {
		ctx := t.Context()
		push(t, l, "jobs:a", 0, 9)
		push(t, l, "jobs:b", 0, 9)
		first, second := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
		pop(t, l, first, "jobs:a", 5) // of which 3 are not done
		pop(t, l, second, "jobs:b", 2)
		held, err := l.InFlight(ctx)
		if got := fmt.Sprint(held); err != nil || got != "map[jobs:a:3 jobs:b:2]" {
			t.Errorf("in flight are %s, %v", got, err)
		}
		list, more, err := l.List(ctx, "jobs:b", 9)
		if err != nil || more || len(list) != 2 {
			t.Fatalf("of jobs:b are %+v, %v, %v", list, more, err)
		}
		is := list[0]
		if age := time.Since(is.Since); age < 0 || age > time.Minute {
			t.Errorf("an item is held for %v", age)
		}
		is.Since = time.Time{}
		if want := (Lease{"jobs:b", "item 0", second[:12], "spider.2", "h2", time.Time{}}); is != want {
			t.Errorf("an item is held as %+v, want %+v", is, want)
		}
		if list, more, err = l.List(ctx, "", 4); err != nil || !more || len(list) != 4 {
			t.Errorf("four of all are %+v, %v, %v", list, more, err)
		}

		if keys, more, err := l.DeadKeys(ctx, 9); err != nil || more || len(keys) != 0 {
			t.Errorf("keys with dead items are %q, %v, %v", keys, more, err)
		}
		for _, h := range []string{first, second} {
			holder := h + "@1732262400~k3jd9f2a-0"
			if _, err := l.rules.Settle(ctx, lease.Redis(l.client), holder, lease.Back); err != nil {
				t.Fatal(err)
			}
		}
		both := []string{"jobs:a", "jobs:b"}
		if keys, more, err := l.DeadKeys(ctx, 9); err != nil || more || !slices.Equal(keys, both) {
			t.Errorf("keys with dead items are %q, %v, %v", keys, more, err)
		}
		if keys, more, err := l.DeadKeys(ctx, 1); err != nil || !more || !slices.Equal(keys, []string{"jobs:a"}) {
			t.Errorf("one key with dead items is %q, %v, %v", keys, more, err)
		}
		if n, err := l.Retry(ctx, "jobs:a", []string{"item 3", "none"}); err != nil || n != 1 {
			t.Errorf("retried %d, %v", n, err)
		}
		if n, err := l.Retry(ctx, "jobs:a", nil); err != nil || n != 2 {
			t.Errorf("retried all %d, %v", n, err)
		}
		if n := l.client.LLen(ctx, "jobs:a").Val(); n != 7 {
			t.Errorf("%d items wait, want 7", n)
		}
		if n, err := l.Drop(ctx, "jobs:b", nil); err != nil || n != 2 {
			t.Errorf("dropped all %d, %v", n, err)
		}
		if n, err := l.Drop(ctx, "jobs:b", nil); err != nil || n != 0 {
			t.Errorf("dropped none as %d, %v", n, err)
		}
		if keys, _, err := l.DeadKeys(ctx, 9); err != nil || len(keys) != 0 {
			t.Errorf("in the end keys with dead items are %q, %v", keys, err)
		}
	})
}

// TestLeases_Many wants all of more dead items retried than are read at once, and no more than are there.
func TestLeases_Many(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, l *Leases) {
		push(t, l, DeadOf("jobs:a"), 0, 2*deadPage+7)
		if n, err := l.Retry(t.Context(), "jobs:a", nil); err != nil || n != 2*deadPage+7 {
			t.Errorf("retried %d, %v", n, err)
		}
		if n := l.client.LLen(t.Context(), "jobs:a").Val(); n != 2*deadPage+7 {
			t.Errorf("%d items wait", n)
		}
	})
}

// TestLeases_TooMuch wants a look at more than is read to say so.
func TestLeases_TooMuch(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, l *Leases) {
		push(t, l, "jobs:a", 0, 30)
		for i := range 10 {
			pop(t, l, fmt.Sprint(i), "jobs:a", 3)
		}
		l.most = 1000
		if held, err := l.InFlight(t.Context()); !errors.Is(err, ErrTooMuch) || len(held) != 0 {
			t.Errorf("in flight are %v, %v", held, err)
		}
		if list, more, err := l.List(t.Context(), "", 100); err != nil || !more || len(list) == 30 {
			t.Errorf("%d are listed, %v, %v", len(list), more, err)
		}
	})
}

// TestLeases_Own wants the keys of the leases, and those of dead items of safe keys, known as such.
func TestLeases_Own(t *testing.T) {
	t.Parallel()
	l := New(config, nil)
	for key, own := range map[string]bool{
		"crawlbox:held:x": true, "jobs:a:dead": true, "jobs:a": false, "a:dead": false, ":dead": false,
	} {
		if l.Own(key) != own {
			t.Errorf("%s is its own: %v", key, !own)
		}
	}
	if !l.Any() || New(configs.Queue{}, nil).Any() {
		t.Error("whether any key is safe is not known")
	}
}

// TestDead: of dead items it is told how many there are of which safe key, and of lists of that name that are none not.
func TestDead(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, l *Leases) {
		if list, err := l.Dead(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("without any: %v, %v", list, err)
		}
		push(t, l, DeadOf("jobs:a"), 0, 2)
		push(t, l, DeadOf("jobs:b"), 0, 3)
		push(t, l, DeadOf("others"), 0, 5)
		if err := l.client.Set(t.Context(), DeadOf("jobs:c"), "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		l.looked = time.Time{}
		list, err := l.Dead(t.Context())
		if want := []Dead{{"jobs:b", 3}, {"jobs:a", 2}}; err != nil || !slices.Equal(list, want) {
			t.Errorf("got %v, %v; want %v", list, err, want)
		}
	})
}
