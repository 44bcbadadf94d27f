"""A Celery application with Celery's defaults, the queue as its broker and for its results."""
import os
import time

from celery import Celery

app = Celery("tasks", broker=os.environ["QUEUE_URL"], backend=os.environ["QUEUE_URL"])
if "VISIBILITY" in os.environ:  # instead of the default of an hour
    app.conf.broker_transport_options = {"visibility_timeout": float(os.environ["VISIBILITY"])}


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def broken():
    raise ValueError("broken as asked")


@app.task(bind=True, max_retries=3)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task(acks_late=True)
def slow(path):
    """Hangs when it runs for the first time. Returns how often it ran."""
    with open(path, "a+") as f:
        f.write("begun\n")
        f.seek(0)
        runs = len(f.readlines())
    print("begun slow")
    if runs == 1:
        time.sleep(600)
    return runs
