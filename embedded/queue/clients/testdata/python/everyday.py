"""redis-py's everyday calls. Arguments: host, port, password, and yes where scripts are served."""
import sys
import threading

import redis

host, port, password, scripts = sys.argv[1:]
r = redis.Redis(host, int(port), password=password, decode_responses=True)


def same(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def pairs(got):  # over RESP2 a pair is a tuple, over RESP3 a list
    return [tuple(pair) for pair in got]


def strings():
    assert r.ping() and r.set("k", "v", ex=100) and 95 <= r.ttl("k") <= 100
    assert r.set("k", "w", keepttl=True) and r.ttl("k") > 0
    same(r.set("k", "x", nx=True), None)
    same(r.set("k", "x", get=True), "w")
    same(r.getex("k", persist=True), "x")
    same(r.ttl("k"), -1)
    same((r.incr("n"), r.incrby("n", 4), r.decr("n"), r.incrbyfloat("f", 0.5)), (1, 5, 4, 0.5))
    assert r.mset({"a": "1", "b": "2"})
    same(r.mget("a", "b", "nothing"), ["1", "2", None])
    same((r.append("a", "23"), r.strlen("a"), r.getrange("a", 1, 2)), (3, 3, "23"))
    same((r.getdel("a"), r.exists("a", "b"), r.type("b")), ("123", 1, "string"))
    same((r.expire("b", 100), r.pexpire("b", 100000), r.persist("b"), r.unlink("b")), (1, 1, 1, 1))
    same((r.setbit("bits", 7, 1), r.getbit("bits", 7), r.bitcount("bits"), r.bitpos("bits", 1)), (0, 1, 1, 7))
    same(redis.Redis(host, int(port), password=password, db=3).get("k"), None)


def lists():
    same((r.rpush("l", "a", "b"), r.lpush("l", "z"), r.llen("l")), (2, 3, 3))
    same(tuple(r.blpop("l", timeout=1)), ("l", "z"))
    same(tuple(r.brpop(["nothing", "l"], timeout=1)), ("l", "b"))
    same(r.blpop("nothing", timeout=0.05), None)
    same((r.rpush("l", *"bcd"), r.lrange("l", 0, -1), r.lpos("l", "c")), (4, list("abcd"), 2))
    same((r.lmove("l", "m"), r.rpoplpush("l", "m"), r.brpoplpush("l", "m", 1)), ("a", "d", "c"))
    same((r.blmove("l", "m", 1), r.lrange("m", 0, -1)), ("b", ["c", "d", "a", "b"]))
    same((r.lpop("m", 2), r.lrem("m", 0, "b"), r.lset("m", 0, "y"), r.lindex("m", 0)), (["c", "d"], 1, True, "y"))


def waiting():
    """An item reaches a client that waits for it."""
    got = []
    waiter = threading.Thread(target=lambda: got.append(r.blpop("later", timeout=10)))
    waiter.start()
    r.rpush("later", "item")
    waiter.join(10)
    same(tuple(got[0]), ("later", "item"))


def sets():
    same((r.sadd("s", *"abc"), r.sadd("s", "a"), r.scard("s")), (3, 0, 3))
    same((r.sismember("s", "a"), r.smismember("s", ["a", "x"]), r.smembers("s")), (1, [1, 0], {"a", "b", "c"}))
    same((r.srem("s", "a"), len(r.srandmember("s", 5)), len(r.spop("s", 1)), r.spop("s") in "bc"), (1, 2, 1, True))
    r.sadd("s1", "a", "b")
    r.sadd("s2", "b", "c")
    same((r.sinter("s1", "s2"), r.sdiff("s1", "s2"), r.sunion("s1", "s2")), ({"b"}, {"a"}, {"a", "b", "c"}))


def sorted_sets():
    same(r.zadd("z", {"a": 1, "b": 0.5, "c": 3, "d": 4}), 4)
    same((r.zadd("z", {"a": 2}, gt=True, ch=True), r.zincrby("z", 1, "a"), r.zscore("z", "a")), (1, 3.0, 3.0))
    same(pairs(r.zpopmin("z", 2)), [("b", 0.5), ("a", 3.0)])
    same(pairs(r.zrange("z", 0, -1, withscores=True)), [("c", 3.0), ("d", 4.0)])
    same((r.zrank("z", "d"), r.zrevrank("z", "d"), r.zcard("z"), r.zcount("z", 4, "+inf")), (1, 0, 2, 1))
    same(r.zrangebyscore("z", "-inf", "(4", start=0, num=1), ["c"])
    same(pairs(r.zrevrangebyscore("z", 9, 0, start=0, num=10, withscores=True)), [("d", 4.0), ("c", 3.0)])
    key, member, score = r.bzpopmin("z", timeout=1)
    same((key, member, score, r.bzpopmax("nothing", timeout=0.05)), ("z", "c", 3.0, None))
    same((r.zremrangebyrank("z", 0, 0), r.zpopmax("z"), r.exists("z")), (1, [], 0))


def hashes():
    same((r.hset("h", mapping={"x": "1", "y": "2"}), r.hgetall("h")), (2, {"x": "1", "y": "2"}))
    same((r.hincrby("h", "x", 2), r.hincrbyfloat("h", "y", 0.5), r.hmget("h", "x", "no")), (3, 2.5, ["3", None]))
    same((r.hexists("h", "x"), r.hsetnx("h", "x", 9), r.hlen("h"), r.hdel("h", "y")), (True, 0, 2, 1))
    same((r.hkeys("h"), r.hvals("h"), list(r.hscan_iter("h"))), (["x"], ["3"], [("x", "3")]))


def transactions():
    with r.pipeline(transaction=True) as p:
        same(p.set("t", 1).incr("t").lpush("t", 1).execute(raise_on_error=False)[:2], [True, 2])
    with r.pipeline() as p:
        p.watch("t")
        r.incr("t")
        p.multi()
        p.incr("t")
        try:
            p.execute()
            raise SystemExit("a watched key changed and EXEC went through")
        except redis.WatchError:
            pass
    same(r.transaction(lambda p: p.multi() or p.incr("t"), "t"), [4])
    with r.pipeline(transaction=False) as p:
        for i in range(10000):
            p.rpush("many", i)
        same(p.execute()[-1], 10000)


def locks():
    """redis-py's lock gives up, prolongs and renews what is still its own by scripts, which are served."""
    with r.lock("lock", timeout=5) as lock:
        assert r.get("lock") and lock.owned() and not r.lock("lock").acquire(blocking=False)
        assert lock.extend(100) and r.ttl("lock") > 90
        assert lock.extend(50, replace_ttl=True) and 40 < r.ttl("lock") <= 50
        assert lock.reacquire() and r.ttl("lock") <= 5
    same(r.get("lock"), None)
    lost = r.lock("lock", timeout=5)
    assert lost.acquire() and r.set("lock", "another's")
    for action in (lost.reacquire, lambda: lost.extend(1), lost.release):
        try:
            action()
            raise SystemExit("a lock that is another's was touched")
        except redis.exceptions.LockNotOwnedError:
            pass
    same(r.get("lock"), "another's")


def channels():
    with r.pubsub() as p:
        p.subscribe("news")
        p.psubscribe("n*")
        same([p.get_message(timeout=5)["type"] for _ in range(2)], ["subscribe", "psubscribe"])
        same((r.publish("news", "x"), r.pubsub_numsub("news")), (2, [("news", 1)]))
        same({(p.get_message(timeout=5)["type"]) for _ in range(2)}, {"message", "pmessage"})
        p.ping(p.HEALTH_CHECK_MESSAGE)  # as it does by itself every 25 s for Celery
        same((p.get_message(timeout=5), p.health_check_response_counter), (None, -1))
        p.unsubscribe()
        same(p.get_message(timeout=5)["type"], "unsubscribe")
    same(r.publish("nobody", "x"), 0)


def scans():
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.set(f"scan:{i}", i)
        p.execute()
    same(len(set(r.scan_iter("scan:*", count=50))), 1000)
    same(sorted(r.keys("scan:99*")), sorted(["scan:99"] + [f"scan:99{i}" for i in range(10)]))
    assert r.dbsize() >= 1000 and r.info()["redis_version"] and r.info("keyspace")["db0"]
    r.sadd("bigset", *range(1000))
    r.zadd("bigzset", {str(i): i for i in range(1000)})
    same((len(set(r.sscan_iter("bigset"))), len(dict(r.zscan_iter("bigzset")))), (1000, 1000))


def server():
    assert r.client_setname("spider")
    same(r.client_getname(), "spider")
    assert r.client_id() and r.time() and r.echo("x") == "x"
    try:
        redis.Redis(host, int(port), password="wrong").ping()
        raise SystemExit("a wrong password went through")
    except (redis.AuthenticationError, redis.ResponseError):  # as the version has it
        pass


def refused():
    calls = {"EVAL": lambda: r.eval("return 1", 0), "SCRIPT": lambda: r.script_load("return 1"),
             "XADD": lambda: r.xadd("stream", {"f": "v"}), "PFADD": lambda: r.pfadd("hll", "x"),
             "GEOADD": lambda: r.geoadd("geo", [13.4, 52.5, "Berlin"])}
    for name, call in calls.items():
        try:
            call()
            assert scripts == "yes", f"{name} went through"
        except redis.ResponseError as e:
            assert scripts != "yes" and f"{name} is not served by crawlbox's embedded queue; " in str(e), e


failures = 0
for part in (strings, lists, waiting, sets, sorted_sets, hashes, transactions, locks, channels, scans, server, refused):
    try:
        part()
    except Exception as e:
        failures += 1
        where = e.__traceback__.tb_next
        print(f"{part.__name__}, line {where.tb_lineno}: {type(e).__name__}: {e}")
sys.exit(1 if failures else 0)
