"""A worker that takes turns with its client on one core moves to another."""

from __future__ import annotations

import ctypes
import os
import sys

import pytest

from gymtwist.worker import process_control
from gymtwist.worker.shared_core import SharedCore
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually


class Moves:
    """Counts moves.

    Attributes:
        count: How many there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of the kernel."""
        self.count = 0
        monkeypatch.setattr(process_control, "leave_core", self._move)

    def _move(self) -> None:
        self.count += 1


def play(core: SharedCore, waits: range, every: int = 1) -> None:
    """Take a turn in every so many waits; the range counts down."""
    for waits_left in waits:
        if waits_left % every == 0:
            core.take_turn(waits_left)


def test_it_moves_after_some_turns_and_then_stays_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two that cannot be parted would move all the time."""
    moves, core = Moves(monkeypatch), SharedCore()
    play(core, range(1000, 993, -1))
    assert moves.count == 0
    play(core, range(993, 992, -1))
    assert moves.count == 1
    play(core, range(992, 860, -1))
    assert moves.count == 1
    play(core, range(860, 850, -1))
    assert moves.count == 2


def test_it_stays_if_turns_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may come at the moment of giving way."""
    moves, core = Moves(monkeypatch), SharedCore()
    play(core, range(1000, 0, -1), every=2)
    assert moves.count == 0


def test_waits_may_be_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each trial of the policy."""
    moves, core = Moves(monkeypatch), SharedCore()
    for _ in range(3):
        play(core, range(2048, 2040, -1))
    assert moves.count == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the core")
def test_a_thread_leaves_its_core_and_may_come_back() -> None:
    """The cores that it may use are the same afterwards."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) == 1:
        pytest.skip("there is only one core")
    core = ctypes.CDLL(None).sched_getcpu

    def has_moved() -> bool:
        before = core()
        process_control.leave_core()
        return bool(core() != before)

    eventually(has_moved, PATIENCE)  # the kernel may move it back at once
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has the cores of a thread")
def test_with_one_core_it_stays() -> None:
    """There is nowhere else to go."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        process_control.leave_core()
        assert os.sched_getaffinity(0) == {min(allowed)}
    finally:
        os.sched_setaffinity(0, allowed)
