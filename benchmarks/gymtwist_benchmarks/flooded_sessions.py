"""Steps per second of CartPole, and the time of a new session, while another identity opens 1,000 connections a second.

The server knows two identities by their tokens. One plays in a session that lasts, and begins others; in turn, it is
alone, and the other one floods the server from another address.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gymtwist.client import connect
from gymtwist.server.identities import new_token
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.programs.driver import WARM, Player, environment_player, play_for
from gymtwist_benchmarks.server_launcher import environment_variables, gymtwist_server, stop
from gymtwist_benchmarks.workloads import CARTPOLE

#: Connections that the other one opens in a second, and sessions that the one that plays begins in a turn.
_RATE, _NEW = 1000, 5
_QUOTAS = "max-sessions = 4\nsessions-per-minute = 60\n"
_ALONE, _FLOODED = "alone", "flooded"
#: The least ratio of the rates, and the most seconds of a new session.
_LEAST, _MOST = 0.8, 1.0


class _Turns:
    """What is measured in turn.

    Args:
        port: The server's.
        tokens: Of who plays and who floods.
        seconds: How long it plays in a turn.
    """

    def __init__(self, port: int, tokens: tuple[str, str], seconds: float) -> None:
        self._port, self._tokens, self._seconds = port, tokens, seconds
        self._player = self._play()
        self.new: dict[str, list[float]] = {_ALONE: [], _FLOODED: []}
        self.opened: list[float] = []

    def _play(self) -> Player:
        env = connect(("127.0.0.1", self._port), CARTPOLE.environment, token=self._tokens[0])
        return environment_player(env, CARTPOLE)

    def measure(self, name: str) -> float:
        """Return the steps per second; note how long new sessions take."""
        steps, seconds, _ = play_for(self._player, self._seconds, WARM)
        for _ in range(_NEW):
            begin = time.perf_counter()
            with connect(("127.0.0.1", self._port), CARTPOLE.environment, token=self._tokens[0]) as env:
                env.reset(seed=1)
                self.new[name].append(time.perf_counter() - begin)
        return steps / seconds

    def measure_flooded(self) -> float:
        """Measure while the other identity floods the server; note how many connections it opens in a second."""
        program = "gymtwist_benchmarks.programs.connection_flood"
        words = [sys.executable, "-m", program, str(self._port), str(_RATE), self._tokens[1]]
        with subprocess.Popen(
            words, env=environment_variables(), stdout=subprocess.PIPE, text=True, start_new_session=True
        ) as flood:
            assert flood.stdout is not None
            try:
                flood.stdout.readline()
                return self.measure(_FLOODED)
            finally:
                stop(flood)
                self.opened += map(float, flood.stdout.readlines())

    def close(self) -> None:
        """End the session."""
        self._player.close()


def measure(quick: bool) -> Section:
    """Measure with two identities."""
    player, flooder = new_token("player"), new_token("flooder")
    with tempfile.TemporaryDirectory(prefix="gymtwist-bench-") as directory:
        identities = Path(directory, "identities.toml")
        identities.write_text(f'[player]\ntoken = "{player[1]}"\n[flooder]\ntoken = "{flooder[1]}"\n{_QUOTAS}')
        with gymtwist_server("--identities", str(identities)) as server:
            turns = _Turns(server.port, (player[0], flooder[0]), 1.0 if quick else 3.0)
            ways: dict[str, Callable[[], float]] = {
                _ALONE: partial(turns.measure, _ALONE),
                _FLOODED: turns.measure_flooded,
            }
            rates = take_turns(ways, 2 if quick else 8)
            turns.close()
    section = Section("CartPole by `connect` while another identity opens 1,000 connections a second")
    for name, each in rates.items():
        section.add_median(name, each, "steps per s")
    section.add_ratio(f"{_FLOODED} / {_ALONE}", rates[_FLOODED], rates[_ALONE], _LEAST)
    section.add_median("connections that were opened", turns.opened, "per s")
    for name, new in turns.new.items():
        section.add_median(f"a new session, {name}: median", [1e3 * each for each in new], "ms")
    section.add_value("the slowest, flooded", max(turns.new[_FLOODED]), "s", turns.new[_FLOODED], f"under {_MOST:g} s")
    return section
