"""The memory of a session: what its worker and the processes below it hold together.

It is read from files of ``/proc`` that the owner of a process need not be permitted to trace it for; see ``proc(5)``.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gymtwist.worker.process_control import children


class Usage(NamedTuple):
    """The memory of a session.

    Attributes:
        held: Bytes of anonymous memory that all its processes hold.
        started: The ids of the processes below the worker.
    """

    held: int
    started: list[int]


class SessionMemory:
    """Measures the processes of one worker, repeatedly.

    A process that was forked shares pages with its parent until either writes to them. So what its parent held when the
    process was first seen is not counted a second time, unless it runs another program.
    """

    def __init__(self) -> None:
        self._shared: dict[int, int] = {}

    def measure(self, worker: int) -> Usage:
        """Measure all processes of the session.

        Args:
            worker: The process id of the worker.
        """
        shared, self._shared = self._shared, {}
        total = own = _anonymous(worker)
        parents = [(worker, own)]
        while parents:
            parent, held = parents.pop()
            for child in children(parent):
                own = _anonymous(child)
                common = shared.get(child, held if _program(child) == _program(parent) else 0)
                self._shared[child] = min(common, own)
                total += own - self._shared[child]
                parents.append((child, own))
        return Usage(total, list(self._shared))


def _anonymous(pid: int) -> int:
    """Return the bytes of a process's memory that no file backs; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def _program(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
