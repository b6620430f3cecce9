"""How long snapshots take, and how much memory they have: ``connect`` with CartPole and Pong.

Memory is what is private to the process of a new snapshot at once, and what all processes of the server have more while
one session holds many snapshots, between which steps are taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gymtwist.client import connect
from gymtwist_benchmarks.markdown_report import Section, percentile
from gymtwist_benchmarks.process_statistics import family, family_memory, private
from gymtwist_benchmarks.server_launcher import ServerProcess, gymtwist_server

#: The steps before the snapshots, seconds in which a process comes to rest, and how many snapshots are held together.
_STEPS, _REST, _MANY = 8, 0.2, 100
#: The most milliseconds that each may take, and megabytes.
_TAKE, _RESTORE, _BRANCH, _PRIVATE, _TOGETHER = 4.0, 6.0, 10.0, 1.0, 150.0


def _timed(act: Callable[[], Any], milliseconds: list[float]) -> Any:
    begun = time.perf_counter()
    result = act()
    milliseconds.append(1000 * (time.perf_counter() - begun))
    return result


def _branched(env: Any, here: Any) -> Any:
    branch = env.branch(here)
    branch.step(0)
    return branch


def _times(env: Any, rounds: int) -> tuple[list[float], ...]:
    """Take, restore and branch off snapshots in turn; the first one, before which copies are tried, does not count."""
    env.snapshot().release()
    taken, restored, branched = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        here = _timed(env.snapshot, taken)
        env.step(0)
        _timed(partial(env.restore, here), restored)
        _timed(partial(_branched, env, here), branched).close()
        here.release()
    return taken, restored, branched


def _memory(env: Any, server: ServerProcess, count: int) -> tuple[float, float]:
    """Return what is private to a snapshot at once, and what many have together, in megabytes."""
    others, before = set(family(server.pid)), family_memory(server.pid)
    held = [env.snapshot()]
    time.sleep(_REST)
    (first,) = set(family(server.pid)) - others
    at_once = private(first)
    while len(held) < count:
        env.step(len(held) % 2)
        held.append(env.snapshot())
        if len(held) % _STEPS == 0:
            env.reset()
    time.sleep(_REST)
    together = family_memory(server.pid) - before
    for each in held:
        each.release()
    return at_once, together


def measure(quick: bool) -> Section:
    """Measure one game after the other."""
    section = Section("Snapshots")
    with gymtwist_server("--debuggable", "--max-snapshots", str(_MANY + 1)) as server:
        for name, environment in (("CartPole", "CartPole-v1"), ("Pong", "ALE/Pong-v5")):
            with connect(("127.0.0.1", server.port), environment) as env:
                env.reset(seed=1)
                for index in range(_STEPS):
                    env.step(index % 2)
                samples = _times(env, 10 if quick else 50)
                env.reset(seed=1)
                at_once, together = _memory(env, server, 20 if quick else _MANY)
            ways = zip(("take", "restore", "branch, and a step"), samples, (_TAKE, _RESTORE, _BRANCH), strict=True)
            for way, found, most in ways:
                median = percentile(found, 50)
                section.add(f"{name}: {way}", f"{median:.2f} ms", f"{most:g} ms at most", median <= most)
                section.samples[f"{name}: {way}"] = found
            section.add(
                f"{name}: private at once", f"{at_once:.2f} MB", f"{_PRIVATE:g} MB at most", at_once <= _PRIVATE
            )
            target, met = ("", None) if quick else (f"{_TOGETHER:g} MB at most", together <= _TOGETHER)
            section.add(f"{name}: {20 if quick else _MANY} together", f"{together:.0f} MB", target, met)
    return section
