"""The memory of a session: the total held by its worker and the processes below it.

It is read from those files of ``/proc`` that need no permission to trace the process; see ``proc(5)``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Container
from pathlib import Path
from typing import NamedTuple

from gymtwist.worker.process_control import children

_find_sizes = re.compile(rb"^Rss(?:Anon|Shmem):\s*(\d+) kB", re.MULTILINE).findall


class Usage(NamedTuple):
    """The memory of a session.

    Attributes:
        held: Bytes held by all its processes together.
        own: Bytes held by the worker.
        started: The ids of the processes below the worker.
    """

    held: int
    own: int
    started: list[int]


class SessionMemory:
    """Measures the processes of one worker, repeatedly.

    A forked process shares pages with its parent until either writes to them. So memory that the parent held when the
    process was first seen is not counted again, unless the process runs another program. Shared memory is counted in
    each process that has used it.

    Attributes:
        of_snapshots: Bytes that only snapshots still hold, because their originals have overwritten their own copies;
            no process size shows them.
        others: The processes of other sessions, which may have branched off from this one.
    """

    def __init__(self) -> None:
        self.of_snapshots = 0
        self.others: Container[int] = ()
        self._inherited: dict[int, int] = {}

    def measure(self, worker: int) -> Usage:
        """Measure all processes of the session.

        Args:
            worker: The process id of the worker.
        """
        inherited, self._inherited = self._inherited, {}
        anonymous, shared = _resident(worker)
        total = own = anonymous + shared
        parents = [(worker, anonymous)]
        while parents:
            parent, held = parents.pop()
            for child in children(parent):
                if child in self.others:
                    continue
                anonymous, shared = _resident(child)
                if child in inherited:
                    held_before = inherited[child]
                else:
                    held_before = held if _program(child) == _program(parent) else 0
                self._inherited[child] = min(held_before, anonymous)
                total += anonymous - self._inherited[child] + shared
                parents.append((child, anonymous))
        return Usage(total, own, list(self._inherited))

    def enforce(self, worker: int, limit: int, exceeded: Callable[[], None]) -> Usage:
        """Measure the session, and enforce its memory limit.

        If all processes together exceed the limit, the environment's processes are killed; the worker is killed as well
        if it exceeds the limit alone. Without shared memory, a worker reaches the kernel's own limit first.

        Args:
            worker: The process id of the worker.
            limit: Bytes that all processes may hold together.
            exceeded: Called before any process is killed.

        Returns:
            The measurement.
        """
        usage = self.measure(worker)
        usage = usage._replace(held=usage.held + self.of_snapshots)
        if usage.held > limit:
            exceeded()
            for process in [*usage.started, worker] if usage.own > limit else usage.started:
                with contextlib.suppress(OSError):  # it has ended, or changed its user
                    os.kill(process, signal.SIGKILL)
        return usage


#: Clock ticks per second, the unit in which the kernel reports processor time.
_TICKS = os.sysconf("SC_CLK_TCK")


def used_by(pid: int, *, with_children: bool = False, others: Container[int] = ()) -> tuple[int, float]:
    """Return the bytes a process holds, and the processor seconds used by it and its ended children.

    Args:
        pid: The id of the process.
        with_children: Whether to add the processor time of its running descendants.
        others: Children that are not to be counted.
    """
    try:
        # After the name, which may contain anything: fields 14 to 17 of proc(5).
        times = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[11:15]
    except OSError:
        times = []
    below = [child for child in children(pid) if child not in others] if with_children else []
    running = sum(used_by(child)[1] for child in below)
    return sum(_resident(pid)), sum(map(int, times)) / _TICKS + running


def is_below(pid: int, ancestors: Container[int]) -> bool:
    """Return whether a process is one of ``ancestors`` or below one; also if it can no longer be found."""
    while pid > 1 and pid not in ancestors:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            return True
    return pid in ancestors


def _resident(pid: int) -> tuple[int, int]:
    """Return the anonymous and the shared memory of a process, in bytes; 0 and 0 if it has ended."""
    try:
        sizes = _find_sizes(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return 0, 0
    anonymous, shared = (int(each) * 1024 for each in sizes or (0, 0))
    return anonymous, shared


def _program(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
