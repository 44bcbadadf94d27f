"""Lets the walkthrough's spider, as it is, work faster: its sleep is the work at what it has popped."""
import sys
import time

import record

sleep = time.sleep


def work(seconds):
    item = sys._getframe(1).f_globals.get("data")
    if isinstance(item, bytes):
        record.work(item.decode())
    else:
        sleep(seconds)


time.sleep = work
