package queueproc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/bound"
	"github.com/crawlbox/crawlbox/appliance/holder/ask"
	"github.com/crawlbox/crawlbox/embedded/queue/lease"
)

// oneContainer has all connections, until it ends.
type oneContainer struct {
	run   ask.Run
	how   ask.Ending
	ended chan struct{}
}

func newContainer(how ask.Ending) *oneContainer {
	return &oneContainer{ask.Run{ID: strings.Repeat("0f", 32), Started: 1e18}, how, make(chan struct{})}
}

func (o *oneContainer) answer(ctx context.Context, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	defer conn.Close()
	answers := json.NewEncoder(conn)
	for lines := bound.NewStream(conn, ask.MaxLine); ; {
		var q ask.Question
		if err := lines.Next(&q); err != nil {
			return nil
		}
		if q.Who != nil {
			_ = answers.Encode(ask.Answer{Number: q.Number, Holder: &ask.Holder{Run: o.run, Name: "spider.1"}})
			continue
		}
		group.Go(func() {
			select {
			case <-o.ended:
				_ = answers.Encode(ask.Answer{Ended: q.Ended, Ending: &o.how})
			case <-ctx.Done():
			}
		})
	}
}

func leased(t *testing.T, o *oneContainer) Options {
	t.Helper()
	opts := options(t, directory(t))
	rules := lease.Rules{Safe: []string{"urls*"}, Window: 2, MaxDeliveries: 3}
	opts.Leases, opts.Holders = &Leases{Rules: rules, Node: "n1"}, o.answer
	return opts
}

// TestLeases has a container pop from the process's own engine and from another one: what it holds outlives the process
// and goes back when the container was killed, and is gone when it was done.
func TestLeases(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]ask.Ending{
		"killed": {Known: true, Code: 137},
		"done":   {Known: true},
	} {
		for _, engine := range []string{"its own", "another"} {
			t.Run(name+", "+engine, func(t *testing.T) {
				t.Parallel()
				o := newContainer(how)
				opts := leased(t, o)
				if engine == "another" {
					opts.Engine = startRedis(t, plainPort).engine()
				}
				b := start(t, opts)
				c := b.client()
				if err := c.RPush(t.Context(), "urls", "a", "b", "c", "d").Err(); err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"a", "b", "c"} {
					if got, err := c.LPop(t.Context(), "urls").Result(); got != want || err != nil {
						t.Fatalf("popped %q, %v", got, err)
					}
				}
				if engine != "another" {
					c.Set(t.Context(), "marker", "all before is written", 0)
					b.await("written", func(State) bool { return journalHas(t, b.dir, "all before is written") })
				}
				b.signal(syscall.SIGKILL)
				b.await("started again", func(st State) bool { return st.Restarts == 1 && st.Serving })
				// Whether the reply with c got through nobody knows any more.
				b.await("c to be back", func(State) bool {
					return c.LLen(t.Context(), "urls").Val() == 2 && c.HLen(t.Context(), "crawlbox:holders").Val() == 1
				})
				holders := c.HGetAll(t.Context(), "crawlbox:holders").Val()
				for id, about := range holders {
					if !strings.HasPrefix(id, runID(o.run)+"~") || !strings.Contains(about, `"name":"spider.1"`) {
						t.Errorf("%s holds items: %s", id, about)
					}
				}
				close(o.ended)
				b.await("settled", func(State) bool { return c.Exists(t.Context(), "crawlbox:holders").Val() == 0 })
				want := []string{"c", "d"}
				if !how.Done() {
					want = []string{"a", "b", "c", "d"}
				}
				got, err := c.LRange(t.Context(), "urls", 0, -1).Result()
				if strings.Join(got, " ") != strings.Join(want, " ") || err != nil {
					t.Errorf("there wait %q, %v; want %q", got, err, want)
				}
			})
		}
	}
}

// journalHas reports whether a text is in a file of the queue's.
func journalHas(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segment-*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

// TestLeases_Refused has rules that can't be kept refused before anything is started.
func TestLeases_Refused(t *testing.T) {
	t.Parallel()
	opts := leased(t, newContainer(ask.Ending{}))
	opts.Leases.Rules.Window = 0
	if _, err := New(opts, nil); err == nil || !strings.Contains(err.Error(), "window") {
		t.Errorf("New says %v", err)
	}
}

// TestLeases_Embedded finds commands that only crawlbox's own engine has behind the front as well.
func TestLeases_Embedded(t *testing.T) {
	t.Parallel()
	b := start(t, leased(t, newContainer(ask.Ending{})))
	c := b.client()
	if err := c.Do(t.Context(), "CRAWLBOX.FLOW").Err(); err != nil && !strings.Contains(err.Error(), "number of arg") {
		t.Error(err)
	}
	if err := c.Do(t.Context(), "CONFIG", "GET", "maxmemory").Err(); err != nil {
		t.Error(err)
	}
	sub := c.Subscribe(t.Context(), "news")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Publish(t.Context(), "news", "x").Result(); err != nil || n != 1 {
		t.Errorf("%d subscribers, %v", n, err)
	}
	if err := c.Get(t.Context(), "none").Err(); !errors.Is(err, redis.Nil) {
		t.Error(err)
	}
}
