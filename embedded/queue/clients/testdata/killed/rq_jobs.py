"""Jobs of rq. Run as a program, it asks for so many; argument: their number."""
import os
import sys

import record


def crawl(item):
    record.work(item)


if __name__ == "__main__":
    import redis
    import rq

    import rq_jobs

    queue = rq.Queue(connection=redis.Redis.from_url(os.environ["QUEUE_URL"]))
    queue.enqueue_many([queue.prepare_data(rq_jobs.crawl, (f"item-{i}",)) for i in range(int(sys.argv[1]))])
