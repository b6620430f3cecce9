"""Run a server in several processes that accept from one port, as a site with many clients would.

One Python process has one interpreter lock, so its rate with many clients says little of the machine. Each server gets
the number of processes that was the fastest for it: its clients need cores, too.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable

#: The default number of processes: one for each core.
COUNT = len(os.sched_getaffinity(0))


def run(port: int, serve: Callable[[Callable[[], None]], None], count: int = COUNT) -> None:
    """Serve in several processes, and write ``ready PORT`` once all of them do; return when one of them has ended.

    The processes end when this one does, however it ends.

    Args:
        port: The port, for the line.
        serve: Serves in one process, and calls its argument as soon as it does.
        count: The number of processes.
    """
    ready, parent = os.pipe(), os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            _run_child(serve, ready[1], parent)
    os.close(ready[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for _ in range(count):
        if os.read(ready[0], 1) != b"r":
            raise SystemExit("a server could not begin")
    print(f"ready {port}", flush=True)
    os.wait()


def _run_child(serve: Callable[[Callable[[], None]], None], ready: int, parent: tuple[int, int]) -> None:
    """Serve in a process of its own, until that or the parent has ended."""
    try:
        # Nothing is written to this pipe. It ends when the parent, the last holder of the other side, has ended.
        os.close(parent[1])
        threading.Thread(target=_end_with, args=(parent[0],), daemon=True).start()
        serve(lambda: _say(ready))
    finally:
        os._exit(1)


def _say(ready: int) -> None:
    os.write(ready, b"r")


def _end_with(parent: int) -> None:
    os.read(parent, 1)
    os._exit(0)
