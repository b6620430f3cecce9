"""Run a server in several processes that accept from one port, as a site with many clients would.

One Python process has one interpreter lock, so its rate with many clients says little of the machine. Each server gets
the number of processes that was the fastest for it: its clients need cores, too.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import connection

#: The default number of processes: one for each core.
COUNT = len(os.sched_getaffinity(0))


def run(port: int, serve: Callable[[Callable[[], object]], None], count: int = COUNT) -> None:
    """Serve in several processes, and write ``ready PORT`` once all of them do; return when one of them has ended.

    `serve` serves in one of them, and calls its argument as soon as it does.
    """
    forking = multiprocessing.get_context("fork")
    ready = forking.Semaphore(0)
    processes = [forking.Process(target=serve, args=(ready.release,), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    # The processes end with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    for _ in range(count):
        ready.acquire()
    print(f"ready {port}", flush=True)
    connection.wait([process.sentinel for process in processes])
