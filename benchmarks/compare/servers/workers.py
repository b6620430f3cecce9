"""Runs the same server in several processes that take connections from one port, as a site with many clients would.

A server in Python has one interpreter lock a process: what one process does with many clients says little of the
machine. How many a peer gets is what was the fastest for it: its clients need cores, too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

#: How many processes serve.
COUNT = len(os.sched_getaffinity(0))


def run(port: int, serve: Callable[[Callable[[], None]], None], count: int = COUNT) -> None:
    """Serve in so many processes, and write ``ready PORT`` when all of them do; returns when one of them has ended.

    The processes end when this one does, however it ends.

    Args:
        port: What they serve at, for the line.
        serve: Runs in each of the processes. It is given what it calls as soon as it serves.
        count: How many processes.
    """
    ready, life = os.pipe(), os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            _be_one(serve, ready[1], life)
    os.close(ready[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for _ in range(count):
        if os.read(ready[0], 1) != b"r":
            raise SystemExit("a server could not begin")
    print(f"ready {port}", flush=True)
    os.wait()


def _be_one(serve: Callable[[Callable[[], None]], None], ready: int, life: tuple[int, int]) -> None:
    """Serve, in a process of its own, until that or the parent has ended."""
    try:
        # Nobody writes to this pipe. It reaches its end when the parent, the last to hold the other side, is gone.
        os.close(life[1])
        threading.Thread(target=_end_with, args=(life[0],), daemon=True).start()
        serve(lambda: _say(ready))
    finally:
        os._exit(1)


def _say(ready: int) -> None:
    os.write(ready, b"r")


def _end_with(life: int) -> None:
    os.read(life, 1)
    os._exit(0)
