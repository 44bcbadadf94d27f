package queue

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestClients_RedisCLI(t *testing.T) {
	t.Parallel()
	cli, err := exec.LookPath("redis-cli")
	if err != nil {
		t.Fatal("redis-cli is missing: run `apt-get install redis-tools`")
	}
	q := startQueue(t, testOptions(t.TempDir()))
	host, port, _ := strings.Cut(q.Addr(), ":")
	for _, proto := range []string{"-2", "-3"} {
		cmd := exec.CommandContext(within(t, 20*time.Second), cli, proto, "-h", host, "-p", port, "--no-auth-warning", "-a", testPassword)
		cmd.Stdin = strings.NewReader("DEL jobs\nRPUSH jobs one two\nLPUSH jobs zero\nBLPOP jobs 1\nLRANGE jobs 0 -1\nSET k v EX 100\nTTL k\nPFADD h x\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("redis-cli: %v\n%s", err, out)
		}
		for _, want := range []string{"zero", "one\ntwo", "\n100\n", "PFADD is not served by crawlbox's queue"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("redis-cli %s: no %q in\n%s", proto, want, out)
			}
		}
	}
}

const pythonScript = `
import sys, redis
host, port, password = sys.argv[1:]
r = redis.Redis(host, int(port), password=password, decode_responses=True)
assert r.ping()
assert r.rpush("py", "a", "b") == 2 and r.lpush("py", "z") == 3
assert r.blpop("py", timeout=1) == ("py", "z")
assert r.brpop("py", timeout=1) == ("py", "b")
assert r.blpop("nothing", timeout=0.05) is None
assert r.set("k", "v", ex=100) and 95 <= r.ttl("k") <= 100
with r.pipeline(transaction=True) as p:
    assert p.incr("n").incr("n").execute() == [1, 2]
with r.pipeline() as p:
    p.watch("n")
    r.incr("n")
    p.multi()
    p.incr("n")
    try:
        p.execute()
        raise SystemExit("a watched key changed and EXEC went through")
    except redis.WatchError:
        pass
with r.lock("lock", timeout=5):          # Lua, by EVALSHA
    assert r.get("lock")
assert r.get("lock") is None
assert r.zadd("z", {"a": 1, "b": 0.5}) == 2 and r.zpopmin("z") == [("b", 0.5)]
assert r.zrange("z", 0, -1, withscores=True) == [("a", 1.0)]
assert r.hset("h", mapping={"x": "1", "y": "2"}) == 2 and r.hgetall("h") == {"x": "1", "y": "2"}
assert r.xadd("s", {"f": "v"}) and r.xread({"s": "0"})[0][0] == "s"
assert r.info()["redis_version"] and list(r.scan_iter("n")) == ["n"]
try:
    r.publish("channel", "x")
    raise SystemExit("PUBLISH went through")
except redis.ResponseError as e:
    assert "not served" in str(e), e
try:
    redis.Redis(host, int(port), password="wrong").ping()
    raise SystemExit("a wrong password went through")
except (redis.AuthenticationError, redis.ResponseError):  # as the version has it
    pass
print("fine")
`

func TestClients_RedisPy(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("/usr/bin/python3", "-c", "import redis").CombinedOutput(); err != nil {
		t.Fatalf("redis-py is missing: run `apt-get install python3-redis`\n%s", out)
	}
	q := startQueue(t, testOptions(t.TempDir()))
	host, port, _ := strings.Cut(q.Addr(), ":")
	cmd := exec.CommandContext(within(t, 30*time.Second), "/usr/bin/python3", "-c", pythonScript, host, port, testPassword)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "fine") {
		t.Errorf("redis-py: %v\n%s", err, out)
	}
}

func TestClients_GoRedis(t *testing.T) {
	t.Parallel()
	for _, proto := range []int{2, 3} {
		ctx := within(t, 20*time.Second)
		q := startQueue(t, testOptions(t.TempDir()))
		c := redis.NewClient(&redis.Options{Addr: q.Addr(), Username: "default", Password: testPassword, Protocol: proto, ClientName: "spider", DB: 3})
		defer c.Close()
		if got := c.ClientGetName(ctx).Val(); got != "spider" {
			t.Errorf("protocol %d: client name %q", proto, got)
		}
		script := redis.NewScript("redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LRANGE', KEYS[1], 0, -1)")
		if got, err := script.Run(ctx, c, []string{"l"}, "x").StringSlice(); err != nil || len(got) != 1 || got[0] != "x" {
			t.Errorf("protocol %d: script: %v %v", proto, got, err)
		}
		c.ZAdd(ctx, "z", redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2, Member: "b"})
		if got, err := c.BZPopMin(ctx, time.Second, "z").Result(); err != nil || got.Key != "z" || got.Member != "a" || got.Score != 1 {
			t.Errorf("protocol %d: BZPOPMIN: %v %v", proto, got, err)
		}
		if got, err := c.ZRangeWithScores(ctx, "z", 0, -1).Result(); err != nil || len(got) != 1 || got[0].Score != 2 {
			t.Errorf("protocol %d: ZRANGE: %v %v", proto, got, err)
		}
		if err := c.BLPop(ctx, time.Second, "nothing").Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("protocol %d: BLPOP of nothing: %v", proto, err)
		}
		c.HSet(ctx, "h", "f", "v")
		if got, err := c.HGetAll(ctx, "h").Result(); err != nil || got["f"] != "v" {
			t.Errorf("protocol %d: HGETALL: %v %v", proto, got, err)
		}
	}
}
