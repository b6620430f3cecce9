"""Steps per second of CartPole whose episodes the server records, in turn with another session that it does not."""

from __future__ import annotations

import tempfile
from functools import partial

from gymtwist.client import connect
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.programs.driver import environment_player, rate
from gymtwist_benchmarks.server_launcher import gymtwist_server
from gymtwist_benchmarks.workloads import CARTPOLE

_SECONDS = 1.0
_PLAIN, _RECORDED = "not recorded", "recorded"
#: The least ratio: recording costs no step more than a fifth.
_LEAST = 0.83


def measure(quick: bool) -> Section:
    """Measure with several pairs of sessions, over sockets."""
    pairs, rounds = (1, 2) if quick else (4, 10)
    rates: dict[str, list[float]] = {_PLAIN: [], _RECORDED: []}
    for pair in range(pairs):
        with (
            tempfile.TemporaryDirectory(prefix="gymtwist-bench-") as root,
            gymtwist_server("--monitor-root", root) as server,
        ):
            joined = partial(connect, ("127.0.0.1", server.port), CARTPOLE.environment, shared_memory=False)
            envs = {_PLAIN: joined(), _RECORDED: joined(record=f"cartpole{pair}-v0")}
            players = {name: environment_player(env, CARTPOLE) for name, env in envs.items()}
            ways = {name: partial(rate, player, _SECONDS) for name, player in players.items()}
            for name, found in take_turns(ways, rounds).items():
                rates[name] += found
            for player in players.values():
                player.close()
    section = Section("CartPole by `connect` over sockets, recorded")
    section.add_rates(rates, _PLAIN, {_RECORDED: _LEAST})
    return section
