"""Tasks of Celery. Run as a program, it asks for so many; argument: their number."""
import os
import sys

from celery import Celery

app = Celery("celery_tasks", broker=os.environ["QUEUE_URL"])
# A worker forgets what it has reserved when its connection breaks. Celery does it after that time, by default an hour;
# one that is killed while it looks for such tasks keeps the others from it, by default for five minutes.
app.conf.broker_transport_options = {
    "visibility_timeout": float(os.environ.get("VISIBILITY", 5)),
    "unacked_mutex_expire": 5,
}


@app.task(ignore_result=True)
def crawl(item):
    import record

    record.work(item)


if __name__ == "__main__":
    import celery_tasks

    for i in range(int(sys.argv[1])):
        celery_tasks.crawl.delay(f"item-{i}")
