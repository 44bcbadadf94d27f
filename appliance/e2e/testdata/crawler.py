"""Crawls a site from the queue, and loses no page: the page that a spider is at stays in
a list of its slot, from which whoever comes after it in the slot goes on. One that is
stopped in good order ends its page: its slot may go. When the queue or the site is away
it tries again and again."""
import os
import signal
import sys
import time
import urllib.request

import redis

WORK = 0.3  # seconds that a page takes: who is killed is at one
mine = "doing:" + os.environ["SLOT"]
stopping = []
signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
client = redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5, decode_responses=True)


def finish(url, links):
    """Done, and what was found, are one step. A second time it is nothing."""
    with client.pipeline() as p:
        while True:
            try:
                p.watch(mine)
                if url not in p.lrange(mine, 0, -1):
                    return
                p.multi()
                p.lrem(mine, 1, url)
                p.rpush("done", url)
                if links:
                    p.rpush("todo", *links)
                p.execute()
                return
            except redis.WatchError:
                continue


def patiently(step):
    while True:
        try:
            return step()
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            time.sleep(0.2)


def take():
    return client.lindex(mine, 0) or client.blmove("todo", mine, 1, "LEFT", "RIGHT")


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as page:
        return page.read().decode().split()


while not stopping:
    url = patiently(take)
    if url:
        links = patiently(lambda: fetch(url))
        time.sleep(WORK)
        patiently(lambda: finish(url, links))
        print("got:", url)

sys.exit(128 + signal.SIGTERM)  # with 0 it would be complete
