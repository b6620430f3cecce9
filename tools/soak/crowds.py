"""The two processes of clients: a crowd that does anything, and witnesses who must lose nothing."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
import traceback
from collections.abc import Callable

from tools.soak.client_deeds import DEEDS, Visit
from tools.soak.journal import Orders, Tally
from tools.soak.protocol_players import PLAYERS, Comparison, environments_of

#: Clients of the crowd at once.
_CROWD = 8
#: Steps that a witness takes together, and in a session.
_TOGETHER, _STEPS = 10, 100
#: Kinds of the witnesses whose session lasts for the whole soak.
LASTING = ("Int32", "shared memory")
#: Seconds between records in the journal.
_EVERY = 30.0


def _start(orders: Orders, tally: Tally, kind: str, workers: list[Callable[[], None]]) -> None:
    """Run threads until the soak ends."""

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:
            orders.journal.write("fault", what="a thread of the soak ended", text=traceback.format_exc())
            raise

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in workers]
    for thread in threads:
        thread.start()
    tally.write_regularly(kind, orders, _EVERY)
    for thread in threads:
        thread.join(60)
    tally.write(kind, orders.journal)


def run_crowd(orders: Orders) -> None:
    """Do one thing after the other, drawn by the seed."""
    logging.getLogger("gymtwist.client").setLevel(logging.ERROR)  # connections are cut on purpose
    tally = Tally()

    def live(number: int) -> None:
        source = random.Random(f"{orders.seed} {number}")
        deeds = tuple(DEEDS)
        while not orders.stop.is_set():
            if not orders.lull.is_set():
                deed = source.choices(deeds, tuple(DEEDS.values()))[0]
                # A seed of its own, so that what a client does depends on no timing of another.
                visit = Visit(orders, random.Random(source.randrange(2**63)))
                tally.count(deed.__name__)
                try:
                    deed(visit)
                except Exception:
                    tally.count("faults")
                    orders.journal.write("fault", what=deed.__name__, text=traceback.format_exc())
            orders.rest(source.uniform(0.5, 1.5))

    _start(orders, tally, "crowd", [lambda number=number: live(number) for number in range(_CROWD)])  # type: ignore[misc]


def run_witnesses(orders: Orders) -> None:
    """Play episodes by each protocol, compare every observation, and time steps and new sessions."""
    tally = Tally()
    workers: list[Callable[[], None]] = [
        lambda kind=kind, number=number: _witness(orders, tally, kind, number)  # type: ignore[misc]
        for number, kind in enumerate(PLAYERS)
    ]
    workers += [lambda kind=kind: _last(orders, tally, kind) for kind in LASTING]  # type: ignore[misc]
    _start(orders, tally, "witnesses", workers)


def _witness(orders: Orders, tally: Tally, kind: str, number: int) -> None:
    """Play one session after the other."""
    source = random.Random(f"{orders.seed} witness {number}")
    while not orders.stop.is_set():
        if not orders.lull.is_set():
            environment = source.choice(environments_of(kind))
            try:
                _play(orders, tally, kind, environment, source.randrange(2**31))
            except Exception:
                tally.count("losses")
                orders.journal.write("loss", what=f"{kind}, {environment}", text=traceback.format_exc())
        orders.rest(1.0)


def _play(orders: Orders, tally: Tally, kind: str, environment: str, seed: int) -> None:
    begin = time.perf_counter()
    player = PLAYERS[kind](orders.port, environment)
    comparison = Comparison(kind, environment, player, seed)
    with contextlib.closing(comparison):
        comparison.step()  # the first observation
        if not environment.startswith("ALE/"):  # whose constructor alone takes long
            tally.time("session", time.perf_counter() - begin)
        tally.count(f"sessions by {kind}")
        taken = 0
        while taken < _STEPS and not orders.is_quiet():
            taken += _steps(tally, comparison, kind, environment)
            orders.rest(0.25)


def _steps(tally: Tally, comparison: Comparison, kind: str, environment: str) -> int:
    """Take steps, and time those that say most about the server: of short steps without HTTP."""
    for _ in range(_TOGETHER):
        begin = time.perf_counter()
        comparison.step()
        if kind == "Int32" and environment != "ALE/Pong-v5":
            tally.time("step", time.perf_counter() - begin)
    tally.count(f"steps by {kind}", _TOGETHER)
    return _TOGETHER


def _last(orders: Orders, tally: Tally, kind: str) -> None:
    """Play in one session for the whole soak."""
    comparison = Comparison(kind, "CartPole-v1", PLAYERS[kind](orders.port, "CartPole-v1"), orders.seed)
    try:
        while not orders.stop.is_set():
            _steps(tally, comparison, kind, "CartPole-v1")
            # Also in a lull, and far more often than a client may be silent.
            orders.stop.wait(min(5.0, orders.pause.value))
        comparison.close()
    except Exception:
        tally.count("losses")
        orders.journal.write("loss", what=f"{kind}, for the whole soak", text=traceback.format_exc())
