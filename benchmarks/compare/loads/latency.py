"""How long steps take at a fixed rate: ``python benchmarks/compare/loads/latency.py``.

Each step has a time at which it is meant to be sent, whether or not those before it are done, and what it takes is
counted from there: a step that holds up others makes them late, too, as it does for whoever has to keep a rate.
"""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from report import say

from compare.loads.rows import Row, command, share
from compare.loads.servers import Start, gymtwist, port_of
from compare.loads.speaking import Balancer, speaker
from compare.workloads import CARTPOLE

#: Seconds before a step's time that are waited for in a loop: the kernel wakes a process up too late.
_SPIN = 300e-6
_WARM = 500
PARTS = (0.5, 0.99, 0.999)


def at_a_rate(balancer: Balancer, rate: float, count: int) -> list[float]:
    """Take steps at a fixed rate.

    Args:
        balancer: Who takes them.
        rate: How many a second.
        count: How many.

    Returns:
        Seconds that each took, from when it was meant to be sent until its reply was there.
    """
    found = []
    now = time.perf_counter
    start = now() + 0.01
    for number in range(count):
        meant = start + number / rate
        if balancer.ended:
            balancer.begin()
        _wait_until(meant)
        balancer.step()
        found.append(now() - meant)
    return found


def _wait_until(moment: float) -> None:
    left = moment - time.perf_counter()
    if left > _SPIN:
        select.select((), (), (), left - _SPIN)
    while time.perf_counter() < moment:
        pass


def measure(*, quick: bool = False, peers: Mapping[str, Start] | None = None, rate: float = 1000.0) -> list[Row]:
    """Measure all in turn.

    Args:
        quick: Whether to take fewer steps.
        peers: By name, what starts a server of the classic protocol.
        rate: Steps a second.
    """
    rounds, count = (2, int(2 * rate)) if quick else (5, int(10 * rate))
    samples: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        own = port_of(stack.enter_context(gymtwist()))
        turns: dict[str, tuple[str, int]] = {
            f"gymtwist, {protocol}": (protocol, own) for protocol in ("int32", "netstring", "classic")
        }
        for name, start in (peers or {}).items():
            turns[name] = ("classic", port_of(stack.enter_context(start())))
        for number in range(rounds):
            for name, (protocol, port) in turns.items():
                client = speaker(protocol, port, CARTPOLE.environment)
                balancer = Balancer(client)
                at_a_rate(balancer, rate, _WARM)
                samples.setdefault(name, []).extend(1e6 * each for each in at_a_rate(balancer, rate, count))
                client.close()
            say(f"  round {number + 1} of {rounds}")
    rows = []
    for name, found in samples.items():
        title = f"a step of CartPole at {rate:,.0f} per s"
        for part in PARTS:
            rows.append(Row(f"{title}, p{100 * part:g}, {name}", share(found, part), "us"))
        rows.append(Row(f"{title}, the longest, {name}", max(found), "us", found))
    return rows


if __name__ == "__main__":
    command(measure, "Measure how long steps take at a fixed rate.")
