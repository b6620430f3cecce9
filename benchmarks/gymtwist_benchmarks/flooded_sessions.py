"""Steps per second of CartPole, and the time of a new session, while another identity opens 1,000 connections a second.

The server knows two identities by their tokens. One plays in a session that lasts, and begins others; in turn, it is
alone, and the other one floods the server from another address.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from gymtwist.client import connect
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.programs.driver import environment_player, rate
from gymtwist_benchmarks.server_launcher import running_beside, server_with_identities
from gymtwist_benchmarks.workloads import CARTPOLE

#: Connections that the other one opens in a second, and sessions that the one that plays begins in a turn.
_RATE, _NEW = 1000, 5
_QUOTAS = "max-sessions = 4\nsessions-per-minute = 60\n"
_ALONE, _FLOODED = "alone", "flooded"
#: The least ratio of the rates, and the most seconds of a new session.
_LEAST, _MOST = 0.8, 1.0


def _measure(section: Section, port: int, tokens: list[str], quick: bool) -> None:
    """Measure the session of the first token, while the second one's identity floods the server, and alone."""
    joined = partial(connect, ("127.0.0.1", port), CARTPOLE.environment, token=tokens[0])
    player = environment_player(joined(), CARTPOLE)
    new: dict[str, list[float]] = {_ALONE: [], _FLOODED: []}
    opened: list[float] = []

    def measure(name: str) -> float:
        found = rate(player, 1.0 if quick else 3.0)
        for _ in range(_NEW):
            begin = time.perf_counter()
            with joined() as env:
                env.reset(seed=1)
                new[name].append(time.perf_counter() - begin)
        return found

    def measure_flooded() -> float:
        with running_beside("connection_flood", port, _RATE, tokens[1]) as counted:
            found = measure(_FLOODED)
        opened.extend(map(float, counted))
        return found

    ways: dict[str, Callable[[], float]] = {_ALONE: partial(measure, _ALONE), _FLOODED: measure_flooded}
    rates = take_turns(ways, 2 if quick else 8)
    player.close()
    section.add_rates(rates, _ALONE, {_FLOODED: _LEAST})
    section.add_median("connections that were opened", opened, "per s")
    for name, seconds in new.items():
        section.add_median(f"a new session, {name}: median", [1e3 * each for each in seconds], "ms")
    section.add_value("the slowest, flooded", max(new[_FLOODED]), "s", new[_FLOODED], f"under {_MOST:g} s")


def measure(quick: bool) -> Section:
    """Measure with two identities."""
    section = Section("CartPole by `connect` while another identity opens 1,000 connections a second")
    with server_with_identities(player="", flooder=_QUOTAS) as (server, tokens):
        _measure(section, server.port, tokens, quick)
    return section
