"""Processor time, memory and descendants of processes, as Linux reports them in ``/proc``; see proc(5)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid: int | str) -> list[str]:
    """Read the fields of ``/proc/PID/stat`` from the third: the second, in parentheses, may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def total_cpu(pid: int) -> float:
    """Read the seconds of processor time of a process, in user mode and in the kernel, exact to a hundredth."""
    fields = _stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS


def pss(pid: int) -> float:
    """Read the proportional set size of a process in millions of bytes: its pages, and its share of common ones."""
    return _rollup(pid, "Pss:")


def private(pid: int) -> float:
    """Read what no other process shares with a process, in millions of bytes."""
    return _rollup(pid, "Private_Dirty:") + _rollup(pid, "Private_Clean:")


def _rollup(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line for {name}")


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                found.setdefault(int(_stat_fields(entry)[1]), []).append(int(entry))
    return found


def children(parent: int) -> list[int]:
    """List the child processes of a process."""
    return _children_by_parent().get(parent, [])


def family(pid: int) -> list[int]:
    """List a process and all its descendants."""
    known, found = _children_by_parent(), [pid]
    for each in found:  # it grows meanwhile
        found += known.get(each, [])
    return found


def family_memory(pid: int) -> float:
    """Add up the proportional set sizes of a process and its descendants, in megabytes; a zombie has none."""
    total = 0.0
    for each in family(pid):
        with contextlib.suppress(OSError, ValueError):
            total += pss(each)
    return total


def family_cpu(pid: int) -> dict[int, float]:
    """Read the seconds of processor time of a process and of each of its descendants."""
    found = {}
    for each in family(pid):
        with contextlib.suppress(OSError):
            found[each] = _precise_cpu(each)
    return found


def _precise_cpu(pid: int) -> float:
    """Read the seconds of processor time of a process in nanoseconds where Linux has them, else in hundredths."""
    try:
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except (FileNotFoundError, IndexError):
        return total_cpu(pid)
