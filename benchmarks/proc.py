"""What Linux tells of processes: their processor time, their memory and their family; see proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> tuple[float, float]:
    """Read the processor time that a process has used, all its threads together.

    The sum of the two is exact to a hundredth of a second; how it is shared between them Linux estimates by sampling.

    Returns:
        Seconds in user mode, and in the kernel.
    """
    # The second field is the command's name in parentheses, and may contain anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def total_cpu(pid: int) -> float:
    """Read the seconds of processor time that a process has used, in user mode and in the kernel."""
    return sum(cpu(pid))


def pss(pid: int) -> float:
    """Read the proportional memory of a process: its own pages, and its share of those it has in common with others.

    Returns:
        Megabytes (millions of bytes).
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"/proc/{pid}/smaps_rollup has no line for Pss")


def children(parent: int) -> list[int]:
    """List the processes that a process is the parent of."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            if int(fields[1]) == parent:
                found.append(int(entry))
    return found
