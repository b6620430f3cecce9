"""Adaptive waiting: whether to poll or to block, when to start polling, and when to stop trying.

Clients wait for replies and workers for requests, at a socket or in shared memory. All of them decide by these
policies, which neither wait nor do I/O themselves:

* :class:`WaitPolicy` measures polling and blocking now and then, and keeps the faster one.
* :class:`ReplyTimer` sleeps through most of the time that a large reply takes, so that little of it is polled.
* :class:`Backoff` pauses an optimization after it failed.

Polling notices a message at once, while a blocked process must be woken up. But polling keeps a core busy that others
may need, and on many virtual machines a process wakes up sooner on the core that its peer has just left. Only a
measurement can tell. Polling is useless where waits outlast it: a slow environment, a remote server, a learner that
computes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter, sleep

# Polling or blocking

#: Seconds to poll per wait: a client for a reply (several steps of a small environment), and for a large reply that is
#: due. The operator of a server chooses the budget of its workers.
REPLY_BUDGET, LARGE_REPLY_BUDGET = 150e-6, 300e-6
#: How much faster polling must be to be kept, as a factor on the time of blocking, because polling costs processor
#: time. A worker's measurement includes the learner's time, and a large reply is polled for only briefly.
REPLY_WORTH, LARGE_REPLY_WORTH, REQUEST_WORTH = 0.8, 0.99, 0.9
#: Waits of each kind in a trial, and how many of them are ignored while the scheduler settles.
_TRIAL, _SETTLING = 100, 20
#: Polling stops after so many misses in a row.
_MAX_MISSES = 4
#: Waits between two trials. The number doubles while trials agree.
_MIN_INTERVAL, _MAX_INTERVAL = 2_000, 32_000
#: Waits of a trial in which a worker checks for a shortage of cores.
_CORE_CHECKS = 5

# Early doorbells and polls of the memory

#: Seconds that a server takes to write a large reply after an early doorbell.
EARLY_DOORBELL_BUDGET = 50e-6
#: A failed poll after an early doorbell costs as much time as eight successful ones save.
_EARLY_DOORBELL_GROWTH = 8
#: The longest pause, in waits.
_MAX_PAUSE = 4096

# The time of a large reply

#: A new estimate follows after so many waits. It is the second shortest of them, unless more woke up late than this.
_WAITS, _ESTIMATE_RANK, _MAX_LATE = 32, 1, 4
#: Seconds that a sleep may overrun: Linux wakes a process up to 50 us late (timerslack_ns), and then it must run.
_MARGIN = 100e-6
#: Seconds of a reply from which on waking up makes no difference.
_LONG = 5e-3


def cores() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class WaitPolicy:
    """Decides before each wait for how long to poll.

    A trial polls for some waits and then blocks for as many. Call :meth:`hit` or :meth:`miss` after each poll. The
    caller decrements :attr:`waits_left` and calls :meth:`next` during a trial and when none is left.

    Args:
        budget: Seconds to poll per wait at most; 0 for never.
        worth: The factor by which polling must be faster.
        clock: Returns seconds.
        lacks_cores: Whether more processes want to run than there are cores; None to skip the check.

    Attributes:
        poll_seconds: Seconds to poll in the next wait; 0 to block at once.
        waits_left: Waits until the next trial.
        is_trial: True while waits are measured.
    """

    def __init__(
        self,
        budget: float,
        worth: float = REPLY_WORTH,
        clock: Callable[[], float] = perf_counter,
        lacks_cores: Callable[[], bool] | None = None,
    ) -> None:
        self._budget, self._worth, self._clock, self._lacks_cores = budget, worth, clock, lacks_cores
        self._misses = 0
        self._interval = _MIN_INTERVAL
        self._polled: list[float] = []
        self._blocked: list[float] = []
        self._has_polled = budget > 0
        self._since = 0.0
        self._checks_left, self._shortages = _CORE_CHECKS, 0
        self.poll_seconds = budget
        self.waits_left = _MIN_INTERVAL
        self.is_trial = budget > 0

    def start_trial(self) -> None:
        """Start a trial, unless the budget is 0."""
        self.waits_left = self._interval
        if self._budget:
            self._has_polled = self.poll_seconds > 0
            self._polled, self._blocked = [], []
            self._checks_left, self._shortages = _CORE_CHECKS, 0
            self.is_trial, self.poll_seconds = True, self._budget

    def begin(self) -> None:
        """Start the clock for a wait of a trial, before the request is sent."""
        self._since = self._clock()

    def next(self) -> None:
        """Go on after a wait: record it during a trial, else start a trial."""
        if self.is_trial:
            self.record(self._clock() - self._since)
        else:
            self.start_trial()

    def record(self, seconds: float) -> None:
        """Record the time of a wait during a trial."""
        times = self._polled if self.poll_seconds else self._blocked
        times.append(seconds)
        if len(times) < _TRIAL:
            return
        if self.poll_seconds:
            self.poll_seconds = 0.0
        else:
            polled, blocked = self._polled[_SETTLING:], self._blocked[_SETTLING:]
            # The median misses a shortage of cores, which makes a few waits very long; the sum shows it.
            self._decide(median(polled) < self._worth * median(blocked) and sum(polled) < sum(blocked))

    def check_cores(self) -> None:
        """Stop polling if most checks of a trial find too few cores: a trial takes a core from others."""
        if self._checks_left and self._lacks_cores is not None:
            self._checks_left -= 1
            self._shortages += self._lacks_cores()
            if 2 * self._shortages > _CORE_CHECKS:
                self.stop_polling()

    def hit(self) -> None:
        """Report that polling found a message."""
        self._misses = 0

    def miss(self) -> None:
        """Report that polling found nothing."""
        self._misses += 1
        if self._misses >= _MAX_MISSES:
            self.stop_polling()

    def stop_polling(self) -> None:
        """Block until the next trial, and end a trial that is under way."""
        self._decide(False)

    def _decide(self, polls: bool) -> None:
        agrees = polls == self._has_polled
        self._interval = min(2 * self._interval, _MAX_INTERVAL) if agrees else _MIN_INTERVAL
        self._has_polled = polls
        self._misses = 0
        self.is_trial, self.waits_left, self.poll_seconds = False, self._interval, self._budget if polls else 0.0


class Backoff:
    """Pauses something optional after it failed, for longer with every failure.

    During a pause, the user of this decrements :attr:`paused` each time instead of trying.

    Args:
        growth: The factor by which a failure extends the pause.
        tolerance: Failures in a row before the first pause.
        recovery: By how much a success shortens the next pause.

    Attributes:
        paused: How many attempts to skip.
        failures: Failures in a row. Where a success ends all pauses, it must be reported only if there were any.
    """

    def __init__(self, growth: int = 2, tolerance: int = _MAX_MISSES, recovery: int = _MAX_PAUSE) -> None:
        self._growth, self._tolerance, self._recovery = growth, tolerance, recovery
        self._pause = 1
        self.paused = 0
        self.failures = 0

    @classmethod
    def for_early_doorbells(cls) -> Backoff:
        """Return the policy of a client: whether to ask for an early doorbell, and to poll after it."""
        return cls(_EARLY_DOORBELL_GROWTH, tolerance=1, recovery=1)

    def succeeded(self) -> None:
        """Report a success."""
        self.failures, self._pause = 0, max(1, self._pause - self._recovery)

    def failed(self) -> None:
        """Report a failure."""
        self.failures += 1
        if self.failures >= self._tolerance:
            self.paused = self._pause = min(self._growth * self._pause, _MAX_PAUSE)


class ReplyTimer:
    """Estimates how long large replies take, and sleeps until one is almost due.

    Args:
        clock: Returns seconds.
        sleep: Sleeps for so many seconds.
    """

    def __init__(self, clock: Callable[[], float] = perf_counter, sleep: Callable[[float], object] = sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self._times: list[float] = []
        self._estimate = 0.0
        self._late = 0
        self._since = 0.0

    def begin(self) -> None:
        """Start the clock, before the request is sent."""
        self._since = self._clock()

    def sleep_until_due(self) -> bool:
        """Sleep until the reply is almost due.

        Returns:
            True to poll now. False, without any sleep, if replies take so long that blocking is as good.
        """
        if self._estimate > _LONG:
            return False
        left = self._since + self._estimate - _MARGIN - self._clock()
        if left > 0.0:
            self._sleep(left)
        return True

    def woke_late(self) -> None:
        """Report that the reply came before the sleep ended, so that its time is unknown."""
        self._late += 1

    def end(self) -> None:
        """Record the time of a reply that was waited for."""
        self._times.append(self._clock() - self._since)
        if len(self._times) >= _WAITS:
            times, self._times = sorted(self._times), []
            self._estimate = times[_ESTIMATE_RANK] if self._late <= _MAX_LATE else self._estimate / 2
            self._late = 0
