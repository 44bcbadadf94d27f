package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// writer makes up commands on a few keys, so that types collide.
type writer struct{ *rand.Rand }

func (w writer) pick(from ...string) string { return from[w.IntN(len(from))] }
func (w writer) key() string                { return w.pick("a", "b", "c", "list1", "list2", "set1", "z1", "h1") }
func (w writer) list() string               { return w.pick("list1", "list2", "list1", "a") }
func (w writer) value() string              { return strconv.Itoa(w.IntN(40)) }
func (w writer) index() string              { return strconv.Itoa(w.IntN(300) - 150) }
func (w writer) side() string               { return w.pick("LEFT", "RIGHT") }

func (w writer) values(n int) []string {
	out := make([]string, 1+w.IntN(n))
	for i := range out {
		out[i] = w.value()
	}
	return out
}

func (w writer) pairs(n int) []string {
	out := make([]string, 2*(1+w.IntN(n)))
	for i := range out {
		out[i] = w.value()
	}
	return out
}

func args(parts ...any) []any {
	var out []any
	for _, part := range parts {
		switch part := part.(type) {
		case []string:
			for _, s := range part {
				out = append(out, s)
			}
		default:
			out = append(out, part)
		}
	}
	return out
}

// far is a time no test reaches, in steps that outweigh how long a test takes.
func (w writer) far() string { return strconv.Itoa(4_000_000 + 100*w.IntN(10_000)) }

// templates has every write command whose effect does not hang on chance or on
// the clock, so that miniredis itself can be asked for the right reply.
var templates = map[string]func(w writer) []any{
	"APPEND":       func(w writer) []any { return args(w.key(), w.value()) },
	"BITOP":        func(w writer) []any { return args(w.pick("AND", "OR", "XOR"), w.key(), w.key(), w.key()) },
	"BLMOVE":       func(w writer) []any { return args(w.list(), w.list(), w.side(), w.side(), "0.001") },
	"BLPOP":        func(w writer) []any { return args(w.list(), w.list(), "0.001") },
	"BRPOP":        func(w writer) []any { return args(w.list(), w.list(), "0.001") },
	"BRPOPLPUSH":   func(w writer) []any { return args(w.list(), w.list(), "0.001") },
	"BZMPOP":       func(w writer) []any { return args("0.001", 2, "z1", w.key(), w.pick("MIN", "MAX")) },
	"BZPOPMAX":     func(w writer) []any { return args("z1", w.key(), "0.001") },
	"BZPOPMIN":     func(w writer) []any { return args("z1", w.key(), "0.001") },
	"DECR":         func(w writer) []any { return args(w.key()) },
	"DECRBY":       func(w writer) []any { return args(w.key(), w.value()) },
	"DEL":          func(w writer) []any { return args(w.key()) },
	"EXPIRE":       func(w writer) []any { return args(w.key(), w.far(), w.pick("NX", "XX", "GT", "LT")) },
	"EXPIREAT":     func(w writer) []any { return args(w.key(), "4102444800") },
	"FLUSHALL":     func(w writer) []any { return args() },
	"FLUSHDB":      func(w writer) []any { return args() },
	"GEOADD":       func(w writer) []any { return args("geo", "13.36", "38.11", w.value()) },
	"GETDEL":       func(w writer) []any { return args(w.key()) },
	"GETEX":        func(w writer) []any { return args("text", "EX", w.far()) },
	"GETSET":       func(w writer) []any { return args(w.key(), w.value()) },
	"HDEL":         func(w writer) []any { return args("h1", w.values(9)) },
	"HINCRBY":      func(w writer) []any { return args(w.pick("h1", w.key()), w.value(), w.value()) },
	"HINCRBYFLOAT": func(w writer) []any { return args("h1", w.value(), "0.25") },
	"HMSET":        func(w writer) []any { return args(w.pick("h1", w.key()), w.pairs(9)) },
	"HSET":         func(w writer) []any { return args(w.pick("h1", w.key()), w.pairs(9)) },
	"HSETNX":       func(w writer) []any { return args("h1", w.value(), w.value()) },
	"INCR":         func(w writer) []any { return args(w.key()) },
	"INCRBY":       func(w writer) []any { return args(w.key(), w.value()) },
	"INCRBYFLOAT":  func(w writer) []any { return args(w.key(), "1.5") },
	"LINSERT":      func(w writer) []any { return args(w.list(), w.pick("BEFORE", "AFTER"), w.value(), w.value()) },
	"LMOVE":        func(w writer) []any { return args(w.list(), w.list(), w.side(), w.side()) },
	"LMPOP":        func(w writer) []any { return args(2, w.list(), w.list(), w.side(), "COUNT", 1+w.IntN(200)) },
	"LPOP":         func(w writer) []any { return args(w.list(), 1+w.IntN(5)) },
	"LPUSH":        func(w writer) []any { return args(w.list(), w.values(150)) },
	"LPUSHX":       func(w writer) []any { return args(w.list(), w.values(150)) },
	"LREM":         func(w writer) []any { return args(w.list(), w.IntN(5), w.value()) },
	"LSET":         func(w writer) []any { return args(w.list(), w.index(), w.value()) },
	"LTRIM":        func(w writer) []any { return args(w.list(), w.IntN(20), -1-w.IntN(20)) },
	"MSET":         func(w writer) []any { return args(w.key(), w.value(), w.key(), w.value()) },
	"MSETNX":       func(w writer) []any { return args("a", w.value(), "b", w.value()) },
	"PERSIST":      func(w writer) []any { return args(w.key()) },
	"PEXPIRE":      func(w writer) []any { return args(w.key(), w.far()+"000") },
	"PEXPIREAT":    func(w writer) []any { return args(w.key(), "4102444800123") },
	"PSETEX":       func(w writer) []any { return args(w.pick("a", "b"), w.far()+"000", w.value()) },
	"RENAME":       func(w writer) []any { return args(w.key(), w.key()) },
	"RENAMENX":     func(w writer) []any { return args(w.key(), w.key()) },
	"RPOP":         func(w writer) []any { return args(w.list()) },
	"RPOPLPUSH":    func(w writer) []any { return args(w.list(), w.list()) },
	"RPUSH":        func(w writer) []any { return args(w.list(), w.values(150)) },
	"RPUSHX":       func(w writer) []any { return args(w.list(), w.values(150)) },
	"SADD":         func(w writer) []any { return args(w.pick("set1", w.key()), w.values(9)) },
	"SDIFFSTORE":   func(w writer) []any { return args(w.key(), "set1", w.key()) },
	"SET": func(w writer) []any {
		return args(w.pick("a", "b", w.key()), w.value(), w.pick("NX", "XX", "KEEPTTL", "GET"))
	},
	"SETBIT":      func(w writer) []any { return args(w.pick("a", "b"), w.value(), 1) },
	"SETEX":       func(w writer) []any { return args(w.pick("a", "b"), w.far(), w.value()) },
	"SETNX":       func(w writer) []any { return args(w.key(), w.value()) },
	"SETRANGE":    func(w writer) []any { return args(w.pick("a", "b"), w.value(), "xyz") },
	"SINTERSTORE": func(w writer) []any { return args(w.key(), "set1", w.key()) },
	"SMOVE":       func(w writer) []any { return args("set1", w.key(), w.value()) },
	"SREM":        func(w writer) []any { return args("set1", w.values(9)) },
	"SUNIONSTORE": func(w writer) []any { return args(w.key(), "set1", w.key()) },
	"UNLINK":      func(w writer) []any { return args(w.key()) },
	"XADD": func(w writer) []any {
		return args("stream", "MAXLEN", "5", strconv.Itoa(w.IntN(99))+"-*", "f", w.value())
	},
	"XDEL":             func(w writer) []any { return args("stream", strconv.Itoa(w.IntN(99))+"-0") },
	"XTRIM":            func(w writer) []any { return args("stream", "MAXLEN", w.IntN(4)) },
	"ZADD":             func(w writer) []any { return args(w.pick("z1", w.key()), w.pick("1.5", "-inf", "3e300"), w.value()) },
	"ZINCRBY":          func(w writer) []any { return args("z1", "0.1", w.value()) },
	"ZINTERSTORE":      func(w writer) []any { return args(w.key(), 2, "z1", "z1") },
	"ZMPOP":            func(w writer) []any { return args(1, "z1", "MIN") },
	"ZPOPMAX":          func(w writer) []any { return args(w.pick("z1", w.key())) },
	"ZPOPMIN":          func(w writer) []any { return args(w.pick("z1", w.key()), 2) },
	"ZREM":             func(w writer) []any { return args("z1", w.values(9)) },
	"ZREMRANGEBYLEX":   func(w writer) []any { return args("z1", "["+w.value(), "["+w.value()) },
	"ZREMRANGEBYRANK":  func(w writer) []any { return args("z1", 0, 1) },
	"ZREMRANGEBYSCORE": func(w writer) []any { return args("z1", 0, w.value()) },
	"ZUNIONSTORE":      func(w writer) []any { return args(w.key(), 2, "z1", "z1", "WEIGHTS", 2, 3) },

	// Reads that take part in the bargain of the split lists.
	"LINDEX": func(w writer) []any { return args(w.list(), w.index()) },
	"LLEN":   func(w writer) []any { return args(w.list()) },
	"LPOS":   func(w writer) []any { return args(w.list(), w.value()) },
	"LRANGE": func(w writer) []any { return args(w.list(), w.index(), w.index()) },
	"TYPE":   func(w writer) []any { return args(w.key()) },
	"TTL":    func(w writer) []any { return args(w.key()) },
}

// byChance are the writes left out of templates.
var byChance = []string{"BLMPOP", "EVAL", "EVALSHA", "SPOP"}

func TestTemplates_HaveEveryWrite(t *testing.T) {
	t.Parallel()
	for name, cmd := range commands {
		if cmd.write && templates[name] == nil && !slices.Contains(byChance, name) {
			t.Errorf("%s is a write command that no random test makes", name)
		}
	}
}

// common makes the growing commands as frequent as the shrinking ones.
var common = []string{"LPUSH", "LPUSH", "RPUSH", "RPOP", "LPOP", "LMOVE", "SADD", "HSET", "ZADD", "XADD", "SET", "SETEX", "EXPIRE"}

func (w writer) command() []any {
	names := make([]string, 0, len(templates))
	for name := range templates {
		names = append(names, name)
	}
	sort.Strings(names)
	name := names[w.IntN(len(names))]
	if strings.HasPrefix(name, "FLUSH") && w.IntN(10) > 0 || w.IntN(2) == 0 {
		name = common[w.IntN(len(common))]
	}
	return append([]any{name}, templates[name](w)...)
}

// better are the commands whose faults in miniredis are mended here.
var better = []string{"BITOP", "SDIFFSTORE", "SINTERSTORE", "SUNIONSTORE", "ZINTERSTORE", "ZUNIONSTORE"}

// TestCommands_ReplyAsMiniredisDoes runs the same commands on a plain miniredis
// and compares replies and, at the end, data.
func TestCommands_ReplyAsMiniredisDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ctx := within(t, time.Minute)
			ours := startQueue(t, testOptions(t.TempDir())).client(t)
			plain := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr(), MaxRetries: -1})
			defer plain.Close()
			w := writer{rand.New(rand.NewPCG(seed, 1))}
			for i := range 1500 {
				cmd := w.command()
				if slices.Contains(better, cmd[0].(string)) {
					continue
				}
				want, wantErr := plain.Do(ctx, cmd...).Result()
				got, gotErr := ours.Do(ctx, cmd...).Result()
				if !sameReply(cmd[0].(string), got, want) || !sameError(gotErr, wantErr) {
					t.Fatalf("command %d %v: got %v %v, want %v %v", i, cmd, got, gotErr, want, wantErr)
				}
			}
			mustEqualData(t, dumpAll(t, ours, 1, false), dumpAll(t, plain, 1, false))
		})
	}
}

// sameReply allows what differs for a reason: a time to live that runs.
func sameReply(name string, got, want any) bool {
	if name == "TTL" {
		return got.(int64) >= want.(int64)-5 && got.(int64) <= want.(int64)+1
	}
	return reflect.DeepEqual(got, want)
}

func sameError(got, want error) bool {
	return (got == nil) == (want == nil) && errors.Is(got, redis.Nil) == errors.Is(want, redis.Nil)
}

// TestData_SurvivesRestartAndRewrite compares all data before and after.
func TestData_SurvivesRestartAndRewrite(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			ctx := within(t, time.Minute)
			dir := t.TempDir()
			w := writer{rand.New(rand.NewPCG(seed, 2))}
			for round := range 4 {
				q := startQueue(t, testOptions(dir))
				c := q.client(t)
				randomWrites(ctx, t, c, w, 400)
				before := dumpAll(t, c, databases, true)
				if round%2 == 1 {
					forceRewrite(ctx, t, c, dir)
				}
				if err := q.stop(); err != nil {
					t.Fatal(err)
				}
				again := startQueue(t, testOptions(dir))
				mustEqualData(t, dumpAll(t, again.client(t), databases, true), before)
				if err := again.stop(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// randomWrites mixes single commands, transactions, scripts and databases.
func randomWrites(ctx context.Context, t *testing.T, c *redis.Client, w writer, n int) {
	t.Helper()
	conn := c.Conn()
	defer conn.Close()
	do := func(p interface {
		Do(context.Context, ...any) *redis.Cmd
	}, cmd []any) {
		err := p.Do(ctx, cmd...).Err()
		if err != nil && !isReplyError(err) {
			t.Fatalf("%v: %v", cmd, err)
		}
	}
	for range n {
		switch w.IntN(12) {
		case 0:
			do(conn, args("SELECT", w.IntN(3)))
		case 1:
			conn.TxPipelined(ctx, func(p redis.Pipeliner) error {
				for range 5 {
					p.Do(ctx, w.command()...)
				}
				return nil
			})
		case 2:
			script := "for i = 1, 3 do redis.pcall(unpack(ARGV)) end return redis.pcall('SPOP', 'set1')"
			do(conn, append(args("EVAL", script, 0), w.command()...))
		case 3:
			do(conn, args("SPOP", "set1", w.IntN(4)))
		case 4:
			do(conn, args("XADD", "stream", "*", "f", w.value()))
		default:
			do(conn, w.command())
		}
	}
}

func isReplyError(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

func forceRewrite(ctx context.Context, t *testing.T, c *redis.Client, dir string) {
	t.Helper()
	before, _ := filepath.Glob(filepath.Join(dir, "snapshot-*"))
	if err := c.Do(ctx, "BGREWRITEAOF").Err(); err != nil {
		t.Fatal(err)
	}
	await(t, func() error {
		now, _ := filepath.Glob(filepath.Join(dir, "snapshot-*"))
		if len(now) == 1 && !slices.Equal(now, before) {
			return nil
		}
		entries, _ := os.ReadDir(dir)
		return fmt.Errorf("no new snapshot: %v", entries)
	})
}

// dumpAll returns every key with its value, and its deadline if asked for.
func dumpAll(t *testing.T, c *redis.Client, dbs int, deadlines bool) map[string]string {
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
			text := fmt.Sprintf("%s %q", kind, value)
			if kind == "stream" {
				text += fmt.Sprint(conn.Do(ctx, "XINFO", "STREAM", key).Val())
			}
			if deadlines {
				text += fmt.Sprint(" until ", conn.Do(ctx, "PEXPIRETIME", key).Val())
			}
			all[fmt.Sprint(db, "/", key)] = text
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
		"stream": {"XRANGE", key, "-", "+"},
	}[kind]
}

func mustEqualData(t *testing.T, got, want map[string]string) {
	t.Helper()
	if len(want) == 0 {
		t.Log("no data to compare")
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
