package clients_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// served returns what the programs of testdata are told of scripts and streams.
func served() string {
	if otherServer != "" {
		return "yes"
	}
	return "no"
}

func TestRedisPy(t *testing.T) {
	t.Parallel()
	needPackage(t, "python3-redis", python, "-c", "import redis")
	s := startServer(t)
	run(t, 60*time.Second, program{
		name: python,
		args: []string{"testdata/python/everyday.py", s.host, s.port, password, served()},
	})
}

func TestScrapyRedis(t *testing.T) {
	t.Parallel()
	needPackage(t, "python3-redis", python, "-c", "import redis")
	s := startServer(t)
	run(t, 90*time.Second, program{
		name: python,
		args: []string{"-W", "ignore", "testdata/python/scrapy_redis.py", s.url(), "4"},
	})
}

func TestIORedis(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	run(t, 30*time.Second, node(t, "ioredis.js", s.host, s.port, password, served()))
}

func TestNodeRedis(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	run(t, 30*time.Second, node(t, "node-redis.js", s.url(), served()))
}

func TestRedisCLI(t *testing.T) {
	t.Parallel()
	needPackage(t, "redis-tools", "redis-cli", "--version")
	s := startServer(t)
	for _, protocol := range []string{"-2", "-3"} {
		for _, c := range [][2]string{
			{"DEL jobs", ""},
			{"RPUSH jobs one two", "2"},
			{"LPUSH jobs zero", "3"},
			{"BLPOP jobs 1", "jobs\nzero"},
			{"LRANGE jobs 0 -1", "one\ntwo"},
			{"SET k v EX 100", "OK"},
			{"ZADD z 1.5 a", ""},
			{"ZRANGE z 0 -1 WITHSCORES", "a\n1.5"},
		} {
			args := append([]string{protocol, "-h", s.host, "-p", s.port, "--no-auth-warning", "-a", password},
				strings.Fields(c[0])...)
			p := start(t, program{name: "redis-cli", args: args})
			out, err := p.finish(t, 10*time.Second)
			if out = strings.TrimSpace(out); err != nil || c[1] != "" && out != c[1] {
				t.Errorf("redis-cli %s %s: got %q, %v, want %q", protocol, c[0], out, err, c[1])
			}
		}
	}
}

func TestGoRedis(t *testing.T) {
	t.Parallel()
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			c := s.client(t, redis.Options{Username: "default", Protocol: protocol, ClientName: "spider", DB: 3})
			everydayGo(within(t, 30*time.Second), t, c)
		})
	}
}

func everydayGo(ctx context.Context, t *testing.T, c *redis.Client) {
	t.Helper()
	for _, call := range []struct {
		cmd  redis.Cmder
		want string
	}{
		{c.ClientGetName(ctx), "spider"},
		{c.Set(ctx, "k", "v", time.Minute), "OK"},
		{c.Get(ctx, "k"), "v"},
		{c.RPush(ctx, "l", "a", "b", "c"), "3"},
		{c.BLPop(ctx, time.Second, "nothing", "l"), "[l a]"},
		{c.BLMove(ctx, "l", "m", "LEFT", "RIGHT", time.Second), "b"},
		{c.LRange(ctx, "l", 0, -1), "[c]"},
		{c.SAdd(ctx, "s", "a", "b"), "2"},
		{c.SMIsMember(ctx, "s", "a", "x"), "[true false]"},
		{c.ZAdd(ctx, "z", redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"},
			redis.Z{Score: 3, Member: "c"}), "3"},
		{c.ZRangeWithScores(ctx, "z", 0, -1), "[{1 a} {2 b} {3 c}]"},
		{c.BZPopMin(ctx, time.Second, "z"), "&{{1 a} z}"},
		{c.ZPopMin(ctx, "z", 2), "[{2 b} {3 c}]"},
		{c.HSet(ctx, "h", "f", "v"), "1"},
		{c.HGetAll(ctx, "h"), "map[f:v]"},
		{c.HRandFieldWithValues(ctx, "h", 2), "[{f v}]"},
		{c.SetBit(ctx, "bits", 1<<20, 1), "0"},
		{c.BitCount(ctx, "bits", nil), "1"},
		{c.Expire(ctx, "h", time.Minute), "true"},
	} {
		if got, err := value(call.cmd), call.cmd.Err(); got != call.want || err != nil {
			t.Errorf("%v: got %s, %v, want %s", call.cmd.Args(), got, err, call.want)
		}
	}
	if err := c.BLPop(ctx, time.Second, "nothing").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("BLPOP of nothing: %v", err)
	}
	changed := func(tx *redis.Tx) error {
		c.Incr(ctx, "watched")
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Incr(ctx, "watched").Err() })
		return err
	}
	if err := c.Watch(ctx, changed, "watched"); !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("EXEC although a watched key changed: %v", err)
	}
	listener := c.Subscribe(ctx, "news")
	defer listener.Close()
	if _, err := listener.Receive(ctx); err != nil {
		t.Errorf("SUBSCRIBE: %v", err)
	}
	c.Publish(ctx, "news", "hello")
	if message, err := listener.ReceiveMessage(ctx); err != nil || message.Payload != "hello" {
		t.Errorf("PUBLISH reached as %v, %v", message, err)
	}
	checkRefused(t, "EVAL", c.Eval(ctx, "return 1", nil).Err())
	checkRefused(t, "XADD", c.XAdd(ctx, &redis.XAddArgs{Stream: "x", Values: []string{"f", "v"}}).Err())
}

// value returns what a command was answered, as text.
func value(cmd redis.Cmder) string {
	return fmt.Sprint(reflect.ValueOf(cmd).MethodByName("Val").Call(nil)[0])
}
