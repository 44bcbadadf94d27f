"""A job for rq. Run as a program, it asks for it; argument: the server's URL."""
import sys


def crawl(url):
    print("ran", url)


if __name__ == "__main__":
    import redis
    import rq

    import jobs

    rq.Queue(connection=redis.Redis.from_url(sys.argv[1])).enqueue(jobs.crawl, "http://host/")
