"""Pops with redis-py 8 over RESP3, in each way that it has for lists, sets and sorted sets."""
import itertools
import os

import redis

import record

assert redis.__version__.startswith("8."), redis.__version__
client = redis.Redis.from_url(os.environ["QUEUE_URL"], protocol=3, decode_responses=True)


def first(reply):
    """The item in whatever a pop answers."""
    while isinstance(reply, (list, tuple)) and reply:
        reply = next((part for part in reply if "item" in str(part)), None)
    return reply


ways = [
    lambda: client.lpop("jobs:list"),
    lambda: client.blpop(["jobs:list"], timeout=0.1),
    lambda: client.rpop("jobs:list", 1),
    lambda: client.brpop(["jobs:list"], timeout=0.1),
    lambda: client.lmpop(1, "jobs:list", direction="LEFT", count=1),
    lambda: client.blmpop(0.1, 1, "jobs:list", direction="RIGHT", count=1),
    lambda: client.spop("jobs:set"),
    lambda: client.spop("jobs:set", 1),
    lambda: client.zpopmin("jobs:sorted"),
    lambda: client.zpopmax("jobs:sorted", 1),
    lambda: client.bzpopmin("jobs:sorted", timeout=0.1),
    lambda: client.bzpopmax("jobs:sorted", timeout=0.1),
    lambda: client.zmpop(1, ["jobs:sorted"], min=True, count=1),
    lambda: client.bzmpop(0.1, 1, ["jobs:sorted"], max=True, count=1),
]
for pop in itertools.cycle(ways):
    item = first(pop())
    if item:
        record.work(item)
