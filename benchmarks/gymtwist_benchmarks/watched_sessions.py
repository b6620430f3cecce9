"""Steps per second of CartPole while its server's web page is open, and at a server that knows its clients.

One session plays in turn: unwatched, with the page's list open, and with the live view of this session, which has 10
frames a second at most. Another plays in turn with it at a server with identities, with a token and all quotas.
"""

from __future__ import annotations

from functools import partial

from gymtwist.client import connect
from gymtwist_benchmarks.benchmark_runner import take_turns
from gymtwist_benchmarks.markdown_report import Section
from gymtwist_benchmarks.programs.driver import WARM, Player, environment_player, rate
from gymtwist_benchmarks.server_launcher import gymtwist_server, running_beside, server_with_identities
from gymtwist_benchmarks.workloads import CARTPOLE

#: Seconds of a turn: each has one of the page's requests, which come each second.
_SECONDS = 1.0
_QUOTAS = "max-sessions = 8\nsessions-per-minute = 600\nsession-seconds = 86400\n"
_ALONE, _LIST, _LIVE, _KNOWN = "unwatched", "the page's list open", "the live view open", "with a token and quotas"
#: The least ratios to the rate without.
_TARGETS = {_LIST: 0.98, _LIVE: 0.9, _KNOWN: 0.98}


def _watched_rate(player: Player, port: int, kind: str, frames: list[float]) -> float:
    """Play while another process asks for what the page asks for; note the frames that it gets in a second."""
    with running_beside("web_page", port, kind) as shown:
        found = rate(player, _SECONDS)
    frames.append(len(shown) / (_SECONDS + WARM))
    return found


def _play(port: int, token: str | None = None) -> Player:
    env = connect(("127.0.0.1", port), CARTPOLE.environment, render_mode="rgb_array", token=token)
    return environment_player(env, CARTPOLE)


def _measure(rounds: int, frames: list[float]) -> dict[str, list[float]]:
    """Measure all in turn, with one pair of sessions."""
    with gymtwist_server() as server, server_with_identities(learner=_QUOTAS) as (guarded, (token,)):
        player, known = _play(server.port), _play(guarded.port, token)
        ways = {
            _ALONE: partial(rate, player, _SECONDS),
            _LIST: partial(_watched_rate, player, server.port, "list", []),
            _LIVE: partial(_watched_rate, player, server.port, "live", frames),
            _KNOWN: partial(rate, known, _SECONDS),
        }
        found = take_turns(ways, rounds)
        player.close()
        known.close()
    return found


def measure(quick: bool) -> Section:
    """Measure with several pairs of sessions: one may be faster than another."""
    pairs, rounds = (1, 2) if quick else (4, 10)
    frames: list[float] = []
    rates: dict[str, list[float]] = {}
    for _ in range(pairs):
        for name, each in _measure(rounds, frames).items():
            rates.setdefault(name, []).extend(each)
    section = Section("CartPole by `connect`, watched, and with identities")
    section.add_rates(rates, _ALONE, _TARGETS)
    section.add_median("frames of the live view", frames, "per s")
    return section
