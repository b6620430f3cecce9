"""When to poll: if it has been found to be faster, and not for longer than a moment."""

from __future__ import annotations

from gymtwist.protocol.adaptive_waiting import Polling

BUDGET = 100e-6


def play(polling: Polling, waits: int, polled: float, blocked: float) -> None:
    """Waits for replies that take so long, in seconds, by polling and by blocking."""
    for _ in range(waits):
        taken = blocked
        if polling.seconds:
            if polled <= polling.seconds:
                polling.paid()
                taken = polled
            else:
                polling.was_in_vain()
        polling.left -= 1
        if polling.is_trial:
            polling.measured(taken)
        elif polling.left <= 0:
            polling.next_trial()


def test_polling_that_is_faster_is_kept() -> None:
    """After a trial of both."""
    polling = Polling(BUDGET)
    play(polling, 300, 10e-6, 30e-6)
    assert (polling.is_trial, polling.seconds) == (False, BUDGET)


def test_polling_that_is_as_fast_is_not_worth_it() -> None:
    """It costs processor time."""
    polling = Polling(BUDGET)
    play(polling, 300, 10e-6, 11e-6)
    assert (polling.is_trial, polling.seconds) == (False, 0)


def test_polling_that_is_slower_on_the_whole_ends() -> None:
    """Where a core is missing, most waits are short and a few are very long."""
    polling = Polling(BUDGET)
    for index in range(200):
        polling.measured((5e-3 if index == 50 else 10e-6) if polling.seconds else 30e-6)
    assert (polling.is_trial, polling.seconds) == (False, 0)


def test_a_slow_environment_is_not_polled() -> None:
    """What is polled in vain is a few moments, out of many waits."""
    polling = Polling(BUDGET)
    in_vain = 0
    for _ in range(20_000):
        in_vain += polling.seconds > 0
        play(polling, 1, 5e-3, 5e-3)
    assert in_vain < 40


def test_it_is_tried_again_now_and_then() -> None:
    """An environment that was slow can get fast, and the other way round."""
    polling = Polling(BUDGET)
    play(polling, 100, 5e-3, 5e-3)
    assert polling.seconds == 0
    play(polling, 40_000, 10e-6, 30e-6)
    assert polling.seconds == BUDGET
    play(polling, 100_000, 5e-3, 5e-3)
    assert polling.seconds == 0


def test_trials_get_rare_while_they_come_out_the_same() -> None:
    """They cost something, too."""
    polling = Polling(BUDGET)
    trials = 0
    for _ in range(200_000):
        trials += polling.is_trial
        play(polling, 1, 30e-6, 10e-6)
    assert trials < 4_000


def test_without_a_budget_it_is_never_polled() -> None:
    """A single core is the server's."""
    polling = Polling(0.0)
    for _ in range(10_000):
        assert (polling.is_trial, polling.seconds) == (False, 0)
        play(polling, 1, 1e-6, 30e-6)
