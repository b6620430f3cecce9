"""Many clients at once: whether all are served, how fast, and what it costs the parent."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import proc
from report import Part, say
from server import Server, variables

#: Processes that the clients are spread over.
_PROCESSES = 4
_TARGET_SHARE = 0.05


def measure(clients: int, seconds: float) -> Part:
    """Let many clients play CartPole at once.

    Args:
        clients: How many.
        seconds: How long.
    """
    with Server() as server:
        time.sleep(1.0)
        counts = [clients // _PROCESSES + (index < clients % _PROCESSES) for index in range(_PROCESSES)]
        processes = [_start(server.port, count, seconds) for count in counts]
        try:
            opened = [_read(process) for process in processes]
            waited = [each for one in opened for each in one["waited_s"]]
            say(f"  {len(waited)} of {clients} clients have their first observation")
            before, start = proc.cpu(server.pid), time.monotonic()
            for process in processes:
                _pipe(process.stdin).write(b"go\n")
                _pipe(process.stdin).flush()
            time.sleep(seconds)
            after, elapsed = proc.cpu(server.pid), time.monotonic() - start
            played = [_read(process) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return _part(clients, elapsed, waited, played, sum(after) - sum(before))


def _start(port: int, count: int, seconds: float) -> subprocess.Popen[bytes]:
    program = str(Path(__file__).with_name("player.py"))
    return subprocess.Popen(
        [sys.executable, program, str(port), str(count), str(seconds)],
        env=variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _read(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read a line of JSON from a process of clients."""
    found: dict[str, Any] = json.loads(_pipe(process.stdout).readline())
    return found


def _part(clients: int, seconds: float, waited: list[float], played: list[dict[str, Any]], parent: float) -> Part:
    steps = [each for one in played for each in one["steps"]]
    failures: dict[str, int] = {}
    for one in played:
        for reason, count in one["failures"].items():
            failures[reason] = failures.get(reason, 0) + count
    failed, share = sum(failures.values()), parent / seconds
    part = Part(f"{clients} connections at once, all playing CartPole-v1 for {seconds:.0f} s")
    part.samples = {
        "waited_s": waited,
        "steps": steps,
        "failures": failures,
        "seconds": seconds,
        "parent_cpu_s": parent,
    }
    reasons = "".join(f"; {reason}: {count}" for reason, count in failures.items())
    part.add("connections that failed", f"{failed}{reasons}", "0", failed == 0)
    part.add(
        "the parent's share of a core while they play",
        f"{share:.1%}",
        f"under {_TARGET_SHARE:.0%}",
        share < _TARGET_SHARE,
    )
    part.add("steps per second, all together", f"{sum(steps) / seconds:,.0f}")
    if waited:
        spread = f"{min(steps):,}; {statistics.median(steps):,.0f}; {max(steps):,}"
        part.add("steps of one connection: least; median; most", spread)
        part.add(
            "first observation after they all connected: median; last",
            f"{statistics.median(waited):.2f}; {max(waited):.2f} s",
        )
    return part
