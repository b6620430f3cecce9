"""Sessions that do nothing, and whether all of them still answer: ``python benchmarks/compare/loads/idle.py``."""

from __future__ import annotations

import collections
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import classic
from player import Players
from report import say

from compare.loads.rows import Row, command, median_row
from compare.loads.servers import Running, Start, family, gymtwist, memory, port_of

_ENVIRONMENT = "CartPole-v1"
#: Steps that each session takes before it idles.
_STEPS = 20
#: Seconds to let everything come to rest.
_REST = 2.0
#: Descriptors of this process besides its clients' sockets.
_DESCRIPTORS = 100
#: For more than the default of --max-sessions.
_MORE = 16
COUNTS, QUICK_COUNTS = (1, 10, 50, 100, 1000), (1, 10, 100)
PEER_COUNTS, QUICK_PEER_COUNTS = (1, 10, 50), (1, 10)


def _allow_descriptors(clients: int) -> None:
    """Let this process have so many sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + _DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def step_all(clients: Sequence[classic.Client]) -> tuple[float, list[float], collections.Counter[str]]:
    """Let every client ask for a step at once.

    Returns:
        Seconds until the last reply was there; seconds until each was, in turn; and how many failed, by reason.
    """
    frame = classic.step_command(1)
    failures: collections.Counter[str] = collections.Counter()
    waited: list[float] = []
    start = time.perf_counter()
    asked = []
    for client in clients:
        try:
            client.socket.sendall(frame)
            asked.append(client)
        except OSError as error:
            failures[str(error)] += 1
    for client in asked:
        try:
            filled = client._receive(0)
            while classic.step_done(client._view[:filled]) is None:
                filled = client._receive(filled)
            waited.append(time.perf_counter() - start)
        except OSError as error:
            failures[str(error)] += 1
    return time.perf_counter() - start, waited, failures


def _opened(port: int) -> classic.Client:
    """Connect, and take some steps of an episode that goes on."""
    client = classic.Client(port, _ENVIRONMENT)
    # 256 KB for each of a thousand clients is too much.
    client._view = memoryview(bytearray(4096))
    client.reset()
    client.play([classic.step_command(number % 2) for number in range(_STEPS)])
    client.reset()
    return client


def measure_sessions(name: str, running: Running, counts: Sequence[int]) -> list[Row]:
    """Measure the memory of idle sessions, and let them all take a step.

    Args:
        name: Whose they are.
        running: The server.
        counts: How many sessions there are at once, in rising order.
    """
    rows: list[Row] = []
    clients: list[classic.Client] = []
    time.sleep(_REST)
    alone = memory(running)
    rows.append(Row(f"memory (PSS) of all processes, {name}, no session", alone, "MB"))
    for count in counts:
        _allow_descriptors(count)
        while len(clients) < count:
            clients.append(_opened(port_of(running)))
        time.sleep(_REST)
        whole = memory(running)
        text = f"{count} session{'s' if count > 1 else ''}"
        processes = len(family(running))
        rows.append(Row(f"memory (PSS) of all processes, {name}, {text}", whole, "MB", note=f"{processes} processes"))
        rows.append(Row(f"memory (PSS) for each session, {name}, {text}", (whole - alone) / count, "MB"))
        seconds, waited, failures = step_all(clients)
        rows.append(_failed(f"{text} idle, then a step of each: failures, {name}", failures, len(waited)))
        rows.append(Row(f"{text} idle, then a step of each: all, {name}", 1e3 * seconds, "ms", tuple(waited)))
        say(f"  {name}: {text}")
    for client in clients:
        client.close()
    return rows


def _failed(name: str, failures: Mapping[str, int], done: int) -> Row:
    reasons = "; ".join(f"{reason}: {count}" for reason, count in failures.items())
    return Row(name, float(sum(failures.values())), "", note=f"{done} answered{'; ' if reasons else ''}{reasons}")


def measure_rush(name: str, running: Running, count: int, seconds: float) -> list[Row]:
    """Let many clients connect at the same moment, and play at once for a while.

    Args:
        name: Of the server.
        running: The server.
        count: How many clients.
        seconds: For how long they play.
    """
    _allow_descriptors(count)
    players = Players(port_of(running), count)
    waited = players.open()["waited_s"]
    say(f"  {name}: {len(waited)} of {count} clients have their first observation")
    played = players.play(seconds)
    text = f"{count} clients that connect at once"
    steps = played["steps"]
    rows = [_failed(f"{text}: failures, {name}", played["failures"], sum(1 for each in steps if each))]
    if waited:
        rows.append(median_row(f"{text}: first observation, {name}", waited, "s"))
        rows.append(Row(f"{text}: the last first observation, {name}", max(waited), "s"))
        rows.append(Row(f"{text}: steps of all, {name}", sum(steps) / seconds, "per s"))
        rows.append(Row(f"{text}: steps of the slowest, {name}", min(steps) / seconds, "per s", tuple(steps)))
    return rows


def measure(*, quick: bool = False, peers: Mapping[str, Start] | None = None) -> list[Row]:
    """Measure all servers one after the other.

    Args:
        quick: Whether to have fewer sessions.
        peers: By name, what starts a server of the classic protocol.
    """
    counts, peer_counts = (QUICK_COUNTS, QUICK_PEER_COUNTS) if quick else (COUNTS, PEER_COUNTS)
    rows: list[Row] = []
    with gymtwist("--max-sessions", str(counts[-1] + _MORE)) as running:
        rows += measure_sessions("gymtwist", running, counts)
    with gymtwist("--max-sessions", str(counts[-1] + _MORE)) as running:
        rows += measure_rush("gymtwist", running, counts[-1], 2.0 if quick else 10.0)
    for name, start in (peers or {}).items():
        with start() as running:
            rows += measure_sessions(name, running, peer_counts)
    known = {row.name: row.value for row in rows}
    for name in peers or {}:
        for count in set(counts) & set(peer_counts):
            text = f"{count} session{'s' if count > 1 else ''}"
            one, other = (known[f"memory (PSS) for each session, {each}, {text}"] for each in ("gymtwist", name))
            if one and other:
                rows.append(Row(f"memory for each session, {name} / gymtwist, {text}", other / one, "times"))
    return rows


if __name__ == "__main__":
    command(measure, "Measure what idle sessions cost, and whether all of them answer.")
