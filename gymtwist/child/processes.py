"""What a process tells the kernel about itself and about the processes below it."""

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
#: Between that of any other process (0) and that of one which is always taken first (1000); see proc(5).
_OOM_SCORE = 500


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that none of them gets out of sight. Linux alone can."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def rename(name: str) -> None:
    """Give this process a name of up to 15 characters that ``ps -o comm`` shows. Linux alone can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def die_with_parent(yes: bool) -> None:
    """Ask the kernel to kill this process when its parent has ended, or not to do so any more. Linux alone can."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if yes else 0, 0, 0, 0)


def volunteer_for_oom() -> None:
    """Ask the kernel, should memory run out, to take this process rather than the server."""
    with contextlib.suppress(OSError):  # no such file but on Linux
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def limit_memory(size: int) -> None:
    """Limit the memory that this process may allocate, in bytes; its allocations fail past that."""
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def children() -> list[int]:
    """List this process's own children, where the kernel tells (Linux); an empty list elsewhere."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended since
            found += map(int, task.read_text().split())
    return found


def kill_group(leader: int) -> None:
    """Kill every process of a group; the caller knows that the leader is not reaped, or the group not empty."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
