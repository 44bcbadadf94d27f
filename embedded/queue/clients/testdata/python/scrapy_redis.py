"""The commands of scrapy-redis' queues, dupe filter, start URLs, items and statistics, and
of the Bloom filters that take the dupe filter's place, in the order in which its classes
send them. Arguments: the server's URL, how many consumers."""
import hashlib
import json
import multiprocessing
import sys
import time

import redis

url, consumers = sys.argv[1], int(sys.argv[2])


def connect():
    return redis.StrictRedis.from_url(url, socket_timeout=30, socket_connect_timeout=30, retry_on_timeout=True)


def same(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


class Fifo:
    def __init__(self, server, key):
        self.server, self.key = server, key

    def __len__(self):
        return self.server.llen(self.key)

    def push(self, data, priority=0):
        self.server.lpush(self.key, data)

    def pop(self, timeout=0):
        if timeout:
            item = self.server.brpop(self.key, timeout)
            return item and item[1]
        return self.server.rpop(self.key)


class Lifo(Fifo):
    def pop(self, timeout=0):
        if timeout:
            item = self.server.blpop(self.key, timeout)
            return item and item[1]
        return self.server.lpop(self.key)


class Priority(Fifo):
    def __len__(self):
        return self.server.zcard(self.key)

    def push(self, data, priority=0):
        self.server.execute_command("ZADD", self.key, -priority, data)

    def pop(self, timeout=0):
        pipe = self.server.pipeline()
        pipe.multi()
        pipe.zrange(self.key, 0, 0).zremrangebyrank(self.key, 0, 0)
        items, _ = pipe.execute()
        return items[0] if items else None


class Seen:
    """The dupe filter: a set of fingerprints."""

    def __init__(self, server, key):
        self.server, self.key = server, key

    def __call__(self, request):
        return self.server.sadd(self.key, hashlib.sha1(request).hexdigest()) == 0


class Bloom(Seen):
    """Six bits for each fingerprint, of 2^30."""

    def __call__(self, request):
        digest = hashlib.sha256(request).digest()
        bits = [int.from_bytes(digest[4 * i:4 * i + 4], "big") >> 2 for i in range(6)]
        seen = all([self.server.getbit(self.key, bit) for bit in bits])
        for bit in bits:
            self.server.setbit(self.key, bit, 1)
        return seen


def order(server):
    """Each queue gives back in its own order, and nothing when it is empty."""
    requests = [b"request %d" % i for i in range(20)]
    by_priority = sorted(requests, key=lambda r: (-(int(r[8:]) % 3), r))
    for kind, want in ((Fifo, requests), (Lifo, requests[::-1]), (Priority, by_priority)):
        queue = kind(server, f"spider:{kind.__name__}")
        for i, request in enumerate(requests):
            queue.push(request, priority=i % 3)
        same(len(queue), len(requests))
        same([queue.pop() for _ in requests], want)
        same((queue.pop(), len(queue)), (None, 0))
        if kind is not Priority:
            same(queue.pop(timeout=1), None)
            queue.push(b"late")
            same(queue.pop(timeout=1), b"late")


def consume(kind, key, results):
    queue, got, begun = kind(connect(), key), [], time.monotonic()
    while time.monotonic() < begun + 30:
        item = queue.pop()
        if item == b"end":
            break
        if item:
            got.append(item)
    results.put(got)


def shared(server):
    """Several crawlers take each request once."""
    want = sorted(b"%05d" % i for i in range(2000))
    for kind in (Fifo, Lifo, Priority):
        key, results = f"shared:{kind.__name__}", multiprocessing.Queue()
        queue = kind(server, key)
        crawlers = [multiprocessing.Process(target=consume, args=(kind, key, results)) for _ in range(consumers)]
        for crawler in crawlers:
            crawler.start()
        for request in want:
            queue.push(request)
        while len(queue):
            time.sleep(0.01)
        for _ in crawlers:
            queue.push(b"end")
            while len(queue):
                time.sleep(0.01)
        same(sorted(sum((results.get(timeout=40) for _ in crawlers), [])), want)
        for crawler in crawlers:
            crawler.join(10)


def filters(server):
    for kind in (Seen, Bloom):
        seen = kind(server, f"spider:{kind.__name__}")
        requests = [b"http://host/%d" % i for i in range(500)]
        same([seen(r) for r in requests], [False] * len(requests))
        same([seen(r) for r in requests], [True] * len(requests))
        same(server.delete(seen.key), 1)


def start_urls(server):
    """A list, a set and a sorted set of start URLs are read in batches."""
    server.rpush("start:list", *range(20))
    pipe = server.pipeline()
    pipe.lrange("start:list", 0, 15)
    pipe.ltrim("start:list", 16, -1)
    same(pipe.execute(), [[b"%d" % i for i in range(16)], True])
    same(server.llen("start:list"), 4)
    server.sadd("start:set", *range(20))
    same((len(server.spop("start:set", 16)), server.scard("start:set")), (16, 4))
    same((len(server.spop("start:set", 16)), server.spop("start:set", 16), server.scard("start:set")), (4, [], 0))
    server.zadd("start:zset", {str(i): i for i in range(20)})
    pipe = server.pipeline()
    pipe.zrevrange("start:zset", 0, 15)
    pipe.zremrangebyrank("start:zset", -16, -1)
    same(pipe.execute(), [[b"%d" % i for i in range(19, 3, -1)], 16])
    same(server.zcard("start:zset"), 4)


def items_and_stats(server):
    same(server.rpush("spider:items", json.dumps({"title": "ä"})), 1)
    same((server.hexists("spider:stats", "count"), server.hset("spider:stats", "count", 0)), (False, 1))
    same((server.hincrby("spider:stats", "count", 2), server.hget("spider:stats", "count")), (2, b"2"))
    same((server.hmset("spider:stats", {"a": 1}), server.hgetall("spider:stats")), (True, {b"count": b"2", b"a": b"1"}))


server = connect()
assert server.ping()
for part in (order, filters, start_urls, items_and_stats, shared):
    part(server)
same(server.flushdb(), True)
