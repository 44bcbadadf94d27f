"""Writes down which numbered items are begun and which are done, in a file that outlives any kill."""
import os
import random
import time

_sleep = time.sleep  # sitecustomize takes the other's place
_file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def begin(item):
    os.write(_file, f"begun {item}\n".encode())


def end(item):
    os.write(_file, f"done {item}\n".encode())


def takes():
    """How long an item takes, in seconds: some ten times as long as others."""
    return random.choice([0.005, 0.01, 0.01, 0.02, 0.05]) * float(os.environ.get("SLOWER", 1))


def work(item):
    begin(item)
    _sleep(takes())
    end(item)
