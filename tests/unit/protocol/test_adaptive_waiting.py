"""Adaptive waiting: poll while it is faster, pause what failed, sleep until a large reply is due."""

from __future__ import annotations

import pytest

from gymtwist.protocol.adaptive_waiting import Backoff, ReplyTimer, WaitPolicy

BUDGET = 100e-6


def play(policy: WaitPolicy, waits: int, polled: float, blocked: float) -> None:
    """Wait for replies that take so long, in seconds, by polling and by blocking."""
    for _ in range(waits):
        taken = blocked
        if policy.poll_seconds:
            if polled <= policy.poll_seconds:
                policy.hit()
                taken = polled
            else:
                policy.miss()
        policy.waits_left -= 1
        if policy.is_trial:
            policy.record(taken)
        elif policy.waits_left <= 0:
            policy.start_trial()


def test_polling_that_is_faster_is_kept() -> None:
    """After a trial of both."""
    policy = WaitPolicy(BUDGET)
    play(policy, 300, 10e-6, 30e-6)
    assert (policy.is_trial, policy.poll_seconds) == (False, BUDGET)


def test_polling_that_is_as_fast_is_not_worth_it() -> None:
    """It costs processor time."""
    policy = WaitPolicy(BUDGET)
    play(policy, 300, 10e-6, 11e-6)
    assert (policy.is_trial, policy.poll_seconds) == (False, 0)


def test_polling_that_is_slower_on_the_whole_ends() -> None:
    """Where a core is missing, most waits are short and a few are very long."""
    policy = WaitPolicy(BUDGET)
    for index in range(200):
        policy.record((5e-3 if index == 50 else 10e-6) if policy.poll_seconds else 30e-6)
    assert (policy.is_trial, policy.poll_seconds) == (False, 0)


def test_a_slow_environment_is_not_polled() -> None:
    """What is polled in vain is a few moments, out of many waits."""
    policy = WaitPolicy(BUDGET)
    in_vain = 0
    for _ in range(20_000):
        in_vain += policy.poll_seconds > 0
        play(policy, 1, 5e-3, 5e-3)
    assert in_vain < 40


def test_it_is_tried_again_now_and_then() -> None:
    """An environment that was slow can get fast, and the other way round."""
    policy = WaitPolicy(BUDGET)
    play(policy, 100, 5e-3, 5e-3)
    assert policy.poll_seconds == 0
    play(policy, 40_000, 10e-6, 30e-6)
    assert policy.poll_seconds == BUDGET
    play(policy, 100_000, 5e-3, 5e-3)
    assert policy.poll_seconds == 0


def test_trials_get_rare_while_they_come_out_the_same() -> None:
    """They cost something, too."""
    policy = WaitPolicy(BUDGET)
    trials = 0
    for _ in range(200_000):
        trials += policy.is_trial
        play(policy, 1, 30e-6, 10e-6)
    assert trials < 4_000


def test_without_a_budget_it_is_never_polled() -> None:
    """A single core is the server's."""
    policy = WaitPolicy(0.0)
    for _ in range(10_000):
        assert (policy.is_trial, policy.poll_seconds) == (False, 0)
        play(policy, 1, 1e-6, 30e-6)


def attempts(backoff: Backoff, waits: int) -> list[int]:
    """Let every attempt fail; return in which of the waits there was one."""
    made = []
    for wait in range(waits):
        if backoff.paused:
            backoff.paused -= 1
        else:
            made.append(wait)
            backoff.failed()
    return made


def test_a_pause_doubles_with_every_failure() -> None:
    """After some failures in a row."""
    assert attempts(Backoff(), 40) == [0, 1, 2, 3, 6, 11, 20, 37]


def test_a_success_ends_the_pauses() -> None:
    """It takes as many failures as at first until there is another."""
    backoff = Backoff()
    attempts(backoff, 37)
    backoff.succeeded()
    assert attempts(backoff, 7) == [0, 1, 2, 3, 6]


def test_a_pause_has_an_end() -> None:
    """Even after many failures, it is tried again."""
    made = attempts(Backoff(), 50_000)
    assert made[-1] - made[-2] == 4097


def test_an_early_doorbell_that_failed_is_soon_rare() -> None:
    """A failure costs as much as eight successes save, and each of those shortens the next pause by one."""
    backoff = Backoff.for_early_doorbells()
    assert attempts(backoff, 139) == [0, 9, 74]
    backoff = Backoff.for_early_doorbells()
    attempts(backoff, 74)
    for _ in range(62):
        backoff.succeeded()
    assert attempts(backoff, 18) == [0, 17]


class Clock:
    """A clock that goes on while somebody sleeps, and else stands still."""

    def __init__(self) -> None:
        """Sleep overrun as they do in Linux."""
        self.now, self.slept, self.late = 1000.0, [0.0], 50e-6
        self.timer = ReplyTimer(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Sleep, and wakes up late."""
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds + self.late

    def wait(self, takes: float) -> float | None:
        """Wait for a reply that takes so long; return for how long it was polled, and None if it was not."""
        since, timer, polled = self.now, self.timer, None
        timer.begin()
        if timer.sleep_until_due():
            polled = max(0.0, since + takes - self.now)
            if not polled:
                timer.woke_late()
        self.now = max(self.now, since + takes)
        timer.end()
        return polled


@pytest.fixture
def clock() -> Clock:
    """A clock, and a timer that goes by it."""
    return Clock()


def test_at_first_it_does_not_sleep(clock: Clock) -> None:
    """As nothing is known."""
    assert [clock.wait(200e-6) for _ in range(32)] == pytest.approx([200e-6] * 32)


@pytest.mark.parametrize("takes", [200e-6, 1e-3, 4e-3])
def test_then_it_sleeps_until_a_reply_is_almost_due(clock: Clock, takes: float) -> None:
    """It wakes up in time although that is late."""
    polled = [clock.wait(takes) for _ in range(100)]
    assert polled[40:] == pytest.approx([50e-6] * 60)


def test_it_goes_by_the_shorter_ones(clock: Clock) -> None:
    """A reply that takes longer now and then, as one to an episode's end, changes nothing."""
    for number in range(320):
        clock.wait(20e-3 if number % 10 == 0 else 300e-6)
    assert clock.wait(300e-6) == pytest.approx(50e-6)


def test_it_learns_that_replies_have_become_faster(clock: Clock) -> None:
    """Although it sleeps too long at first, and so does not see when they came."""
    for _ in range(96):
        clock.wait(1e-3)
    late = [clock.wait(200e-6) for _ in range(200)]
    assert late[:32] == [0.0] * 32
    assert late[-1] == pytest.approx(50e-6)


def test_where_one_is_woken_up_late_sleeps_do_not_grow(clock: Clock) -> None:
    """As they would if the end of a sleep were taken for the time of the reply."""
    clock.late = 500e-6
    for _ in range(2000):
        clock.wait(400e-6)
    assert max(clock.slept) <= 300e-6 + 1e-9
    assert max(clock.wait(400e-6) or 0.0 for _ in range(64)) > 0.0


def test_an_interrupt_spoils_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it comes; what is noted does not grow forever."""

    def interrupted(values: list[float]) -> list[float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("builtins.sorted", interrupted)
        for _ in range(31):
            clock.wait(300e-6)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                clock.wait(300e-6)
    clock.wait(300e-6)
    assert clock.wait(300e-6) == pytest.approx(50e-6)
    assert len(clock.timer._times) == 1


def test_slow_replies_are_not_polled_for(clock: Clock) -> None:
    """Nor is it slept; until they have become faster."""
    for _ in range(64):
        clock.wait(6e-3)
    slept = len(clock.slept)
    assert clock.wait(6e-3) is None
    assert len(clock.slept) == slept
    for _ in range(64):
        clock.wait(1e-3)
    assert clock.wait(1e-3) is not None
