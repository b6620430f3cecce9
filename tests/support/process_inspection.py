"""What the kernel says about processes: who descends from whom, what they hold, and when they end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PROC = Path("/proc")


def eventually(predicate: Callable[[], object], timeout: float, what: str = "the expected state") -> None:
    """Polls for a state that announces itself by no event, and fails if it has not come in time."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not reached within {timeout:g} s")
        time.sleep(0.02)


def _parents() -> dict[int, int]:
    """Return the parent of every process, zombies included."""
    parents = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
    return parents


def children(process: int) -> set[int]:
    """Return the children of a process, zombies included."""
    return {child for child, parent in _parents().items() if parent == process}


def descendants(process: int) -> set[int]:
    """Return everything below a process, zombies included."""
    parents = _parents()
    found: set[int] = set()
    while True:
        more = {child for child, parent in parents.items() if parent == process or parent in found}
        if more == found:
            return found
        found = more


def command_line(process: int) -> str:
    """Return the words a process was started with, or "" if it is gone."""
    try:
        return (PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def descriptors(process: int) -> list[str]:
    """Return what each open descriptor of a process refers to."""
    found = []
    for entry in (PROC / str(process) / "fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except OSError:
            continue
    return found


def mappings(process: int) -> int:
    """Return the number of a process's memory mappings."""
    return len((PROC / str(process) / "maps").read_text().splitlines())


def _kibibytes(process: int, file: str, field: str) -> int:
    for line in (PROC / str(process) / file).read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{field} is not in {file}")


def resident(process: int) -> int:
    """Return a process's resident memory in bytes."""
    return _kibibytes(process, "status", "VmRSS")


def peak(process: int) -> int:
    """Return the most memory that a process ever had resident, in bytes."""
    return _kibibytes(process, "status", "VmHWM")


def proportional(process: int) -> int:
    """Return a process's memory in bytes, where it shares a page counted as its share."""
    return _kibibytes(process, "smaps_rollup", "Pss")


def private(process: int) -> int:
    """Return the memory in bytes that a process has written to and shares with no other."""
    return _kibibytes(process, "smaps_rollup", "Private_Dirty")


class Handle:
    """A hold on one process by its pidfd, which no later process of the same number can take over."""

    def __init__(self, process: int) -> None:
        """Take hold of a living process; raise ProcessLookupError if there is none."""
        self.process = process
        self.name = command_line(process)
        self._descriptor = os.pidfd_open(process)

    def __repr__(self) -> str:
        """Names the process."""
        return f"<{self.process}: {self.name}>"

    def __del__(self) -> None:
        """Let go."""
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def wait(self, timeout: float) -> bool:
        """Wait for the end of the process; return whether it came."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout) * 1000))

    def kill(self) -> None:
        """Kill the process, if it still is."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)


def hold(processes: Iterable[int]) -> list[Handle]:
    """Take hold of those of the processes that live."""
    handles = []
    for process in processes:
        try:
            handles.append(Handle(process))
        except ProcessLookupError:
            continue
    return handles


def left_after(handles: Iterable[Handle], timeout: float) -> list[Handle]:
    """Wait for the end of all of the processes; return those that have not ended in time."""
    deadline = time.monotonic() + timeout
    return [handle for handle in handles if not handle.wait(deadline - time.monotonic())]
