"""For how long a policy polls: what that costs beside the least that any policy could pay, in simulated time."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path

import pytest

from gymtwist.protocol.adaptive_waiting import PRICE, TRIAL, WaitPolicy, is_crowded, poll_time

#: Seconds that waking up takes, and the limit of a poll.
WAKE, LIMIT = 30e-6, 1.5e-3


class Simulation:
    """Waits for messages, in a time of its own.

    Args:
        policy: Decides for how long to poll.
        wake: Seconds that a blocked side needs to wake up.
        slowdown: The factor by which a message comes later because this side polls: in a crowd.
    """

    def __init__(self, policy: WaitPolicy, wake: float = WAKE, slowdown: float = 1.0) -> None:
        self.policy, self.wake, self.slowdown = policy, wake, slowdown
        self.cost = self.least = self.polled = 0.0

    def wait(self, seconds: float) -> None:
        """Wait for a message that is there after so many seconds."""
        policy, polls = self.policy, self.policy.poll_seconds
        due = seconds * (self.slowdown if polls else 1.0)
        polled = min(due, polls)
        if due <= polls:
            took = due
        else:
            if polls:
                policy.miss()
            took = due + self.wake
        self.polled += polled
        self.cost += took + PRICE * polled
        self.least += min(seconds * (1.0 + PRICE), seconds + self.wake)
        policy.waits_left -= 1
        if policy.waits_left <= 0:
            policy.adapt(took)

    def play(self, times: Iterable[float]) -> float:
        """Wait for some messages; return the cost as a multiple of the least for who knows each time beforehand."""
        self.cost = self.least = self.polled = 0.0
        for seconds in times:
            self.wait(seconds)
        return self.cost / self.least


def short(draw: random.Random) -> float:
    """Return the time of a small environment."""
    return draw.uniform(5e-6, 15e-6)


def usual(draw: random.Random) -> float:
    """Return the time of a physics engine."""
    return draw.lognormvariate(-9.2, 0.2)  # 100 us


def slow(draw: random.Random) -> float:
    """Return the time of a slow environment."""
    return draw.uniform(4e-3, 6e-3)


def bimodal(draw: random.Random) -> float:
    """Return the time of an environment that is slow in every tenth step, as at resets."""
    return 5e-3 if draw.random() < 0.1 else draw.uniform(15e-6, 30e-6)


def mostly_slow(draw: random.Random) -> float:
    """Return the time of an environment that is fast in every tenth step only."""
    return 20e-6 if draw.random() < 0.1 else draw.uniform(1e-3, 8e-3)


def scattered(draw: random.Random) -> float:
    """Return times between 3 us and 3 ms."""
    return float(3e-6 * 10.0 ** draw.uniform(0.0, 3.0))


@pytest.mark.parametrize("wake", [3e-6, WAKE, 60e-6])
@pytest.mark.parametrize(
    ("kind", "most"),
    [(short, 1.03), (usual, 1.03), (slow, 1.02), (bimodal, 1.03), (mostly_slow, 1.04), (scattered, 1.08)],
)
def test_it_costs_little_more_than_the_least(kind: Callable[[random.Random], float], most: float, wake: float) -> None:
    """Who knows each time beforehand pays the least; a policy pays for its trials, too."""
    draw = random.Random(1)
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False), wake)
    simulation.play(kind(draw) for _ in range(2_000))
    assert simulation.play(kind(draw) for _ in range(60_000)) < most


def test_times_that_drift() -> None:
    """It follows: a learner that thinks between its steps, or a game that becomes slower."""
    draw = random.Random(2)
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False))
    for scale in (1.0, 30.0, 3.0, 100.0, 1.0, 10.0):
        simulation.play(scale * short(draw) for _ in range(15_000))
        assert simulation.play(scale * short(draw) for _ in range(15_000)) < 1.05


def test_misses_end_polling_at_once() -> None:
    """A wait that is suddenly long is not polled for long: an idle session costs no processor time."""
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False))
    simulation.play(repeat(20e-6, 40_000))
    assert simulation.policy.poll_seconds > 20e-6
    simulation.play(repeat(1.0, 1_000))
    assert simulation.polled < 40 * LIMIT


def test_a_moment_without_a_core_ends_polling_for_a_moment() -> None:
    """Four waits of a millisecond, now and then, cost little: polling resumes soon."""
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False))
    simulation.play(repeat(20e-6, 2_000))
    usual = [20e-6] * 1_500 + [1e-3] * 4
    simulation.play(usual * 30)
    assert simulation.play(usual * 30) < 1.03


def test_in_a_crowd_it_does_not_poll() -> None:
    """Nor in a trial: it would take a core from who has work."""
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: True))
    assert simulation.play(repeat(20e-6, 50_000)) > 1.0
    assert simulation.polled == 0.0


def test_where_polling_slows_the_other_side_down_it_blocks() -> None:
    """The load of the machine does not tell of a limit on this container's cores, but the waits do."""
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False), slowdown=10.0)
    simulation.play(repeat(20e-6, 50_000))
    assert simulation.policy.poll_seconds == 0.0
    assert simulation.polled < 10 * TRIAL * 200e-6


def test_a_moment_of_load_is_no_crowd() -> None:
    """Less than half of the looks at the machine's load."""
    looks = iter([True, False, True, False, False])
    policy = WaitPolicy(LIMIT, lacks_cores=lambda: next(looks))
    Simulation(policy).play(repeat(20e-6, 2 * TRIAL + 1))
    assert policy.poll_seconds > 20e-6


def test_slow_messages_are_never_polled_for() -> None:
    """Not even in a trial, which learns enough from the waits that block."""
    simulation = Simulation(WaitPolicy(LIMIT, lacks_cores=lambda: False))
    simulation.play(repeat(10e-3, 5_000))
    assert simulation.polled == 0.0


@pytest.mark.parametrize("limit", [0.0, 40e-6])
def test_the_limit_holds(limit: float) -> None:
    """An operator or a user may lower it, or turn polling off."""
    policy = WaitPolicy(limit, lacks_cores=lambda: False)
    longest = 0.0
    simulation = Simulation(policy)
    for _ in range(5_000):
        simulation.wait(30e-6)
        longest = max(longest, policy.poll_seconds)
    assert longest == limit


def test_the_time_of_a_poll() -> None:
    """It covers what pays, and no more: the rare wait of 1 ms costs more to poll for than it saves."""
    polled = [10e-6] * 30 + [1e-3] * 2
    chosen, saved = poll_time([each + WAKE for each in polled], polled, LIMIT)
    assert 10e-6 < chosen < 20e-6 + WAKE
    assert saved == pytest.approx(WAKE)
    assert poll_time(polled, polled, LIMIT) == (0.0, 0.0)


def test_a_crowd_is_more_than_there_are_cores() -> None:
    """Of whatever runs on this machine."""
    words = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    busy = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for each in busy:
            assert each.stdout is not None
            each.stdout.readline()
        assert sum(is_crowded() for _ in range(50)) > 40
    finally:
        for each in busy:
            each.kill()
            each.communicate()


@pytest.mark.parametrize("text", ["", "0.1 0.2", "0.1 0.2 0.3 x/7 9", "0.1 0.2 0.3 1/512 77"])
def test_without_load_figures_the_machine_is_not_crowded(tmp_path: Path, text: str) -> None:
    """Other systems have no such file, or another."""
    path = tmp_path / "loadavg"
    path.write_text(text)
    assert not is_crowded(str(path))
    assert not is_crowded(str(tmp_path / "none"))
    path.write_text(f"0.1 0.2 0.3 {10**6}/{10**7} 77")
    assert is_crowded(str(path))
