package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crawlbox/crawlbox/appliance/base/testenv"
	"github.com/crawlbox/crawlbox/embedded/queue/engine"
)

// TestData_SurvivesRestartAndRewrite compares all data before and after, with
// rewrites that run while clients write.
func TestData_SurvivesRestartAndRewrite(t *testing.T) {
	t.Parallel()
	first := testenv.Seed(t)
	for seed := first; seed < first+4; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ctx := within(t, time.Minute)
			opts := testOptions(t.TempDir())
			opts.RewriteSize = 4 << 10
			g := generator{rand.New(rand.NewPCG(seed, 2))}
			for range 3 {
				q := startQueue(t, opts)
				c := q.client(t)
				randomCommands(ctx, t, c, g, 2000)
				before := dumpAll(t, c, engine.Databases)
				if err := q.stop(); err != nil {
					t.Fatal(err)
				}
				again := startQueue(t, opts)
				mustEqualData(t, dumpAll(t, again.client(t), engine.Databases), before)
				if err := again.stop(); err != nil {
					t.Fatal(err)
				}
			}
			if snapshots, _ := filepath.Glob(filepath.Join(opts.Dir, "snapshot-*")); len(snapshots) == 0 {
				t.Error("no rewrite happened")
			}
		})
	}
}

// TestData_IsAccountedFor empties a queue of all kinds of data: nothing counts as
// taken then.
func TestData_IsAccountedFor(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	q := startQueue(t, testOptions(t.TempDir()))
	c := q.client(t)
	g := generator{rand.New(rand.NewPCG(testenv.Seed(t), 3))}
	for range 5 {
		randomCommands(ctx, t, c, g, 2000)
		if used := q.Progress().Memory; used < 0 {
			t.Fatalf("%d bytes are taken", used)
		}
		for _, key := range c.Keys(ctx, "*").Val() {
			if g.IntN(2) == 0 {
				c.Del(ctx, key)
			}
		}
		if err := c.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		if used := q.Progress().Memory; used != 0 {
			t.Fatalf("%d bytes count as taken in an empty queue", used)
		}
	}
}

// randomCommands runs commands of the generator, some in transactions.
func randomCommands(ctx context.Context, t *testing.T, c *redis.Client, g generator, n int) {
	t.Helper()
	conn := c.Conn()
	defer conn.Close()
	pipe := conn.Pipeline()
	for range n {
		if g.IntN(50) == 0 {
			pipe.Do(ctx, "SELECT", g.IntN(3))
		}
		args := g.command(false)
		if args[0][0] == 'B' && strings.Contains(args[0], "POP") || strings.HasPrefix(args[0], "FLUSH") {
			continue
		}
		cmd := make([]any, len(args))
		for i, arg := range args {
			cmd[i] = arg
		}
		pipe.Do(ctx, cmd...)
		var err error
		switch g.IntN(20) {
		case 0:
			_, err = pipe.Exec(ctx)
		case 1:
			cmds, _ := pipe.Exec(ctx)
			_, err = conn.TxPipelined(ctx, func(p redis.Pipeliner) error {
				for _, cmd := range cmds {
					p.Do(ctx, cmd.Args()...)
				}
				return nil
			})
		}
		if err != nil && !isReplyError(err) {
			t.Fatal(err)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !isReplyError(err) {
		t.Fatal(err)
	}
}

func isReplyError(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// dumpAll returns every key with its value and its deadline.
func dumpAll(t *testing.T, c *redis.Client, dbs int) map[string]string {
	t.Helper()
	ctx := within(t, 30*time.Second)
	conn := c.Conn()
	defer conn.Close()
	all := map[string]string{}
	for db := range dbs {
		if err := conn.Select(ctx, db).Err(); err != nil {
			t.Fatal(err)
		}
		for _, key := range conn.Keys(ctx, "*").Val() {
			kind := conn.Type(ctx, key).Val()
			value, err := conn.Do(ctx, readAll(kind, key)...).Result()
			if err != nil {
				t.Fatalf("read %s %s: %v", kind, key, err)
			}
			lines := strings.Split(fmt.Sprintf("%q", value), " ")
			if kind == "set" {
				slices.Sort(lines)
			}
			all[fmt.Sprint(db, "/", key)] = fmt.Sprintf("%s %v until %v", kind, strings.Join(lines, " "),
				conn.Do(ctx, "PEXPIRETIME", key).Val())
		}
	}
	return all
}

func readAll(kind, key string) []any {
	return map[string][]any{
		"string": {"GET", key},
		"list":   {"LRANGE", key, 0, -1},
		"set":    {"SMEMBERS", key},
		"hash":   {"HGETALL", key},
		"zset":   {"ZRANGE", key, 0, -1, "WITHSCORES"},
	}[kind]
}

func mustEqualData(t *testing.T, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there is no data to compare")
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: got %.500s, want %.500s", key, got[key], value)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is there though it should not: %.200s", key, got[key])
		}
	}
}

// TestServer_Panic ends with an error that names the journal as the truth, which
// is loaded at the next start.
func TestServer_Panic(t *testing.T) {
	t.Parallel()
	ctx := within(t, 20*time.Second)
	opts := testOptions(t.TempDir())
	q := startQueue(t, opts)
	if err := q.client(t).Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	q.core.Load().do(func() { panic("made by the test") })
	if err := q.ended(); !errors.Is(err, errBroken) {
		t.Fatalf("the queue ended with %v", err)
	}
	if got := startQueue(t, opts).client(t).Get(ctx, "k").Val(); got != "v" {
		t.Errorf("after the restart k is %q", got)
	}
}
