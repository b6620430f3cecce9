"""Requests to the kernel about this process and the processes below it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

#: From <linux/prctl.h>.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded once, before any worker is forked.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
#: Between the score of an ordinary process (0) and that of one which is always killed first (1000); see proc(5).
_OOM_SCORE = 500


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that none is lost. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def rename(name: str) -> None:
    """Give this process a name of up to 15 characters that ``ps -o comm`` shows. Linux only."""
    _tell("/proc/self/comm", name)


def die_with_parent(yes: bool) -> None:
    """Have the kernel kill this process when its parent ends, or no longer. Linux only."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if yes else 0, 0, 0, 0)


def volunteer_for_oom() -> None:
    """Have the kernel kill this process before the server if memory runs out. Linux only."""
    _tell("/proc/self/oom_score_adj", str(_OOM_SCORE))


def _tell(path: str, text: str) -> None:
    """Write to a kernel file if it exists; ``open`` would cost each worker 500 KB."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def limit_memory(size: int) -> None:
    """Limit the memory that this process may allocate, in bytes; allocations beyond that fail."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def children() -> list[int]:
    """Return the ids of this process's children; an empty list on other systems than Linux."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, task.read_text().split())
    return found


def kill_group(leader: int) -> None:
    """Kill every process of a group, whose leader must not be reaped yet, or which must not be empty."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
