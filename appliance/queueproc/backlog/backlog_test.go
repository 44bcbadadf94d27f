package backlog_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/appliance/queueproc/backlog"
	"github.com/crawlbox/crawlbox/embedded/queue"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

const password = "secret"

// startEmbedded starts a queue of crawlbox' own, and returns its URL.
func startEmbedded(t *testing.T) string {
	t.Helper()
	srv, err := queue.New(queue.Options{Addr: "127.0.0.1:0", Password: password, Dir: t.TempDir()},
		slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop the queue: %v", err)
		}
	})
	select {
	case <-srv.Ready():
	case <-time.After(10 * time.Second):
		t.Fatal("the queue does not start")
	}
	return "redis://default:" + password + "@" + srv.Addr()
}

func startRedis(t *testing.T) string {
	t.Helper()
	return "redis://default:" + password + "@" + testenv.Redis(t, "--requirepass", password)
}

// TestReader: how much there is of each kind of key, who holds some of it, and what went out, on crawlbox' own queue
// and on a Redis, which counts nothing.
func TestReader(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) string{"embedded": startEmbedded, "Redis": startRedis} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := start(t)
			options, err := redis.ParseURL(url)
			if err != nil {
				t.Fatal(err)
			}
			options.DisableIdentity, options.Protocol = true, 2
			client := redis.NewClient(options)
			t.Cleanup(func() { client.Close() })
			ctx := t.Context()
			for _, err := range []error{
				client.RPush(ctx, "jobs:list", "a", "b", "c", "d").Err(), client.SAdd(ctx, "set", "a", "b").Err(),
				client.ZAdd(ctx, "zset", redis.Z{Member: "a"}).Err(), client.Set(ctx, "text", "a", 0).Err(),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			q := backlog.Queue{URL: url, Safe: []string{"jobs:*"}, Window: 2}
			r := backlog.New(func() backlog.Queue { return q })
			t.Cleanup(r.Close)
			look := func() backlog.Seen {
				t.Helper()
				seen, err := r.Look(ctx, "jobs:list", "set", "zset", "none", "text")
				if err != nil {
					t.Fatal(err)
				}
				return seen
			}
			seen := look()
			for key, n := range map[string]int64{"jobs:list": 4, "set": 2, "zset": 1, "none": 0} {
				is, there := seen.Keys[key]
				if !there || is.Waiting != n || is.InFlight != 0 || is.Leased != (key == "jobs:list") || is.Out != 0 ||
					is.Counted != (name == "embedded") {
					t.Errorf("%s is %+v, want %d", key, is, n)
				}
			}
			if _, there := seen.Keys["text"]; there || len(seen.Holds.Containers) != 0 ||
				!strings.Contains(seen.Errs["text"].Error(), "text is a string, and no list") {
				t.Errorf("%+v", seen)
			}
			rules := lease.Rules{Safe: []string{"jobs:*"}, Window: 2, MaxDeliveries: 5}
			me := lease.NewHolder("0123abcd@dn8xcvrqa76u~run-0", "c1", lease.About{Node: "n1", Name: "spider.1"})
			for range 3 {
				pop := rules.Rewrite([]string{"LPOP", "jobs:list"}, false, false, me, time.Now())
				if err := client.Do(ctx, anyOf(pop.Eval(pop.Args))...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			// What is in flight may be some seconds old.
			for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
				if seen = look(); seen.Keys["jobs:list"].InFlight > 0 {
					break
				}
			}
			is := seen.Keys["jobs:list"]
			if is.Waiting != 1 || is.InFlight != 2 || is.Counted && is.Out != 3 || !seen.Holds.May("0123abcd", "") ||
				len(seen.Holds.Containers) != 1 {
				t.Errorf("%+v, held by %v", is, seen.Holds)
			}
			elsewhere := *options
			elsewhere.DB = 3
			other := redis.NewClient(&elsewhere)
			t.Cleanup(func() { other.Close() })
			them := lease.NewHolder("4567ef00@dn8xcvrqa76u~run-0", "c2", lease.About{Node: "n1", Name: "spider.2"})
			pop := rules.Rewrite([]string{"LPOP", "jobs:list"}, false, false, them, time.Now())
			err = other.RPush(ctx, "jobs:list", "x").Err()
			if err == nil {
				_, err = lease.Redis(other)(ctx, anyOf(pop.Eval(pop.Args))...)
			}
			if err != nil {
				t.Fatal(err)
			}
			holds, err := r.Leave(ctx, "0123abcd")
			if err != nil || !holds.May("0123abcd", "") || !holds.May("4567ef00", "") || len(holds.Containers) != 2 {
				t.Errorf("what leaves: %v, %v", holds, err)
			}
			popped := func() (string, error) {
				pop := rules.Rewrite([]string{"LPOP", "jobs:list"}, false, false, me, time.Now())
				return client.Do(ctx, anyOf(pop.Args)...).Text()
			}
			if item, err := popped(); err == nil || !strings.HasPrefix(err.Error(), "LEAVING") {
				t.Errorf("one that leaves popped %q, %v", item, err)
			}
			if err := r.Stay(ctx, "0123abcd"); err != nil {
				t.Error(err)
			}
			if item, err := popped(); err != nil || item != "d" {
				t.Errorf("one that stays popped %q, %v", item, err)
			}
		})
	}
}

// TestReader_Away: why a queue can't be read is said in one line, without its password, and one that has moved is
// found.
func TestReader_Away(t *testing.T) {
	t.Parallel()
	url := ""
	r := backlog.New(func() backlog.Queue { return backlog.Queue{URL: url} })
	t.Cleanup(r.Close)
	here := startEmbedded(t)
	for _, c := range []struct{ name, url, says string }{
		{"none", "", "has no queue"},
		{"nonsense", "secret nonsense", "makes no sense"},
		{"nobody there", "redis://default:secret@127.0.0.1:1", "refused"},
		{"another password", strings.Replace(here, password, "other", 1), "WRONGPASS"},
		{"there", here, ""},
		{"TLS of nobody known", strings.Replace(here, "redis:", "rediss:", 1), "tls"},
		{"there again", here, ""},
	} {
		url = c.url
		_, err := r.Look(t.Context(), "k")
		switch {
		case c.says == "" && err != nil, c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		case err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func anyOf(args []string) (all []any) {
	for _, arg := range args {
		all = append(all, arg)
	}
	return all
}
