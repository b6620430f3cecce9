"""How long a client sleeps before it polls for a large reply: until shortly before it is due."""

from __future__ import annotations

import pytest

from gymtwist.client import reply_delay
from gymtwist.client.reply_delay import Naps


class Clock:
    """A clock that goes on while somebody sleeps, and else stands still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Takes the place of the clock that is gone by."""
        self.now, self.slept, self.late = 1000.0, [0.0], 50e-6
        monkeypatch.setattr(reply_delay, "perf_counter", lambda: self.now)
        monkeypatch.setattr(reply_delay, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        """Sleeps, and wakes up as late as Linux does."""
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds + self.late


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock."""
    return Clock(monkeypatch)


def wait(clock: Clock, naps: Naps, takes: float) -> float | None:
    """Waits for a reply that takes so long; returns for how long it was polled, and None if it was not."""
    since = clock.now
    polled = None
    if naps.until_due(since):
        polled = max(0.0, since + takes - clock.now)
        if not polled:
            naps.was_late()
    clock.now = max(clock.now, since + takes)
    naps.took(clock.now - since)
    return polled


def test_at_first_it_does_not_sleep(clock: Clock) -> None:
    """As nothing is known."""
    naps = Naps()
    assert [wait(clock, naps, 200e-6) for _ in range(32)] == pytest.approx([200e-6] * 32)


@pytest.mark.parametrize("takes", [200e-6, 1e-3, 4e-3])
def test_then_it_sleeps_until_shortly_before_it_is_due(clock: Clock, takes: float) -> None:
    """It wakes up in time although that is late."""
    naps = Naps()
    polled = [wait(clock, naps, takes) for _ in range(100)]
    assert polled[40:] == pytest.approx([50e-6] * 60)


def test_it_goes_by_the_shorter_ones(clock: Clock) -> None:
    """A reply that takes longer now and then, as one to an episode's end, changes nothing."""
    naps = Naps()
    for number in range(320):
        wait(clock, naps, 20e-3 if number % 10 == 0 else 300e-6)
    assert wait(clock, naps, 300e-6) == pytest.approx(50e-6)


def test_it_learns_that_replies_have_become_faster(clock: Clock) -> None:
    """Although it sleeps too long at first, and so does not see when they came."""
    naps = Naps()
    for _ in range(96):
        wait(clock, naps, 1e-3)
    late = [wait(clock, naps, 200e-6) for _ in range(200)]
    assert late[:32] == [0.0] * 32
    assert late[-1] == pytest.approx(50e-6)


def test_where_one_is_woken_up_late_sleeps_do_not_grow(clock: Clock) -> None:
    """As they would if the end of a sleep were taken for the time of the reply."""
    naps, clock.late = Naps(), 500e-6
    for _ in range(2000):
        wait(clock, naps, 400e-6)
    assert max(clock.slept) <= 300e-6 + 1e-9
    assert max(wait(clock, naps, 400e-6) or 0.0 for _ in range(64)) > 0.0


def test_an_interrupt_spoils_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes; what is noted does not grow for ever."""

    def interrupted(values: list[float]) -> list[float]:
        raise KeyboardInterrupt

    naps = Naps()
    with monkeypatch.context() as context:
        context.setattr("builtins.sorted", interrupted)
        for _ in range(31):
            wait(clock, naps, 300e-6)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                wait(clock, naps, 300e-6)
    wait(clock, naps, 300e-6)
    assert wait(clock, naps, 300e-6) == pytest.approx(50e-6)
    assert len(naps._taken) == 1


def test_for_what_takes_long_it_is_not_polled(clock: Clock) -> None:
    """Nor is it slept; until it has become faster."""
    naps = Naps()
    for _ in range(64):
        wait(clock, naps, 6e-3)
    slept = len(clock.slept)
    assert wait(clock, naps, 6e-3) is None
    assert len(clock.slept) == slept
    for _ in range(64):
        wait(clock, naps, 1e-3)
    assert wait(clock, naps, 1e-3) is not None
