"""Sends tasks of tasks.py and checks what comes back."""
import sys

from celery import chain, chord, group
from celery.exceptions import TaskRevokedError

from tasks import add, app, broken, flaky, slow, total


def same(got, want):
    assert got == want, f"got {got!r}, want {want!r}"


def fails(result, kind):
    try:
        result.get(timeout=20)
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


def everything():
    same(add.delay(1, 2).get(timeout=20), 3)
    fails(broken.delay(), ValueError)
    same(chain(add.s(1, 1), add.s(2)).delay().get(timeout=20), 4)
    same(group(add.s(i, i) for i in range(50)).delay().get(timeout=20), [2 * i for i in range(50)])
    same(chord(add.s(i, i) for i in range(10))(total.s()).get(timeout=20), 90)
    same(flaky.delay().get(timeout=20), 2)
    for priority in (0, 3, 6, 9):
        same(add.apply_async((1, priority), priority=priority).get(timeout=20), 1 + priority)

    # A task that is planned, revoked by the news, and never runs.
    planned = add.apply_async((1, 2), countdown=2)
    same(app.control.revoke(planned.id, reply=True, timeout=10, limit=1)[0]["one@host"]["ok"][:4], "task")
    fails(planned, TaskRevokedError)

    # Another process' view, a result that is forgotten, a queue that is emptied.
    same(list(app.control.inspect(timeout=10, limit=1).ping()), ["one@host"])
    same(app.control.inspect(timeout=10, limit=1).stats()["one@host"]["pool"]["max-concurrency"], 2)
    done = add.delay(1, 2)
    same(done.get(timeout=20), 3)
    done.forget()
    same(app.AsyncResult(done.id).state, "PENDING")
    for i in range(5):
        add.apply_async((i, i), queue="nobody")
    with app.connection_for_write() as connection:
        same(connection.default_channel.queue_purge("nobody"), 5)


if sys.argv[1] == "everything":
    everything()
else:
    same(slow.delay(sys.argv[2]).get(timeout=60), 2)
