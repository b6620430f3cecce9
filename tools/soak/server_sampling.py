"""What a server costs at a moment: memory, descriptors, processes, and what it counts itself."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.process_inspection import children, command_line, descendants, descriptors

_TICKS = os.sysconf("SC_CLK_TCK")
#: The variable by which all processes below the server are known, also those that have left it.
MARK = "GYMTWIST_SOAK"
_METRIC = re.compile(rb"^gymtwist_(\w+?)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
_COUNTED = (
    *("sessions", "connections", "queue_length", "handshakes", "steps_total", "sessions_ended_total"),
    *("refusals_total", "worker_crashes_total", "session_resumptions_total"),
)


def memory(process: int) -> dict[str, Any]:
    """Read the resident, proportional and anonymous proportional memory of a process in bytes, and its descriptors."""
    found = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, size = line.split()[:2]
        found[name.rstrip(":")] = int(size) * 1024
    sizes = {"rss": found["Rss"], "pss": found["Pss"], "anonymous": found.get("Pss_Anon", 0)}
    opened = descriptors(process)
    kinds = Counter(re.sub(r"[0-9]+|/tmp/[^ ]*", "", each) for each in opened)
    return sizes | {"descriptors": len(opened), "kinds": kinds}


def processor_seconds(process: int, *, with_ended: bool = False) -> float:
    """Read the processor time of a process, and that of its children that have ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / _TICKS


class ServerSampler:
    """Sample a server and what is below it.

    Args:
        process: The server's.
        fork_server: Its fork server's.
        port: Where it answers HTTP.
        mark: The value of the variable in its environment that marks its processes.
        scratch: The directory in which sessions have theirs.
    """

    def __init__(self, process: int, fork_server: int, port: int, mark: str, scratch: Path) -> None:
        self._process, self._fork_server, self._port = process, fork_server, port
        self._mark, self._scratch = f"{MARK}={mark}".encode(), scratch
        self._seen: dict[int, float] = {}

    def sample(self) -> dict[str, Any]:
        """Return everything."""
        below = descendants(self._process)
        return {
            "parent": memory(self._process),
            "fork_server": memory(self._fork_server),
            "processes": len(below) + 1,
            "workers": len(children(self._fork_server)),
            "scratch": len(list(self._scratch.iterdir())),
            **self.counted(),
        }

    def counted(self) -> dict[str, float]:
        """Return what the metrics count, all labels together."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=60) as answer:
            body = answer.read()
        found: Counter[str] = Counter()
        for name, value in _METRIC.findall(body):
            found[name.decode()] += float(value)  # type: ignore[assignment]
        return {name: found[name] for name in _COUNTED}

    def marked(self) -> dict[int, str]:
        """Return the command lines of all processes that were started below the server, wherever they are now."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if self._mark in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = command_line(int(entry.name))
        return found

    def processor_time(self) -> float:
        """Return the seconds of processor time of the server and everything below it so far."""
        for each in descendants(self._process):
            if each != self._fork_server:
                self._seen[each] = max(self._seen.get(each, 0.0), processor_seconds(each))
        living = {each: self._seen[each] for each in self._seen if Path(f"/proc/{each}").exists()}
        ended = processor_seconds(self._fork_server, with_ended=True)
        self._seen = living
        return processor_seconds(self._process) + ended + sum(living.values())
