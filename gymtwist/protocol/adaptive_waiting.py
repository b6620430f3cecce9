"""Adaptive waiting: how long to poll for a message before blocking.

Clients wait for replies and workers for requests, on a socket or in shared memory. All of them ask one policy,
:class:`WaitPolicy`, which neither waits nor reads a clock itself.

Polling notices a message at once, while a blocked process must be woken up, which takes up to 60 us on virtual
machines. But polling keeps a core busy. If no other process needs that core, this costs little; otherwise, it costs
more than it saves. So a policy measures how much polling saves and how long the session's messages take, and polls only
as long as that pays off.
"""

from __future__ import annotations

import os
from collections.abc import Callable

# By name: an environment may patch the modules.
from os import O_CLOEXEC, O_RDONLY, close, cpu_count, read
from os import open as open_descriptor
from statistics import median

#: The default limits of a poll, in seconds: for a client, and for a worker.
REPLY_LIMIT, REQUEST_LIMIT = 1.5e-3, 500e-6
#: The cost of a second of polling on an idle core, in seconds of waiting.
PRICE = 0.05
#: The number of waits of each kind in a trial, and how many of them are ignored while the scheduler settles.
TRIAL, _SETTLING = 40, 8
#: The number of a trial's waits between two checks of the machine's load.
_LOAD_EVERY = 8
#: The number of misses after which a policy checks whether its polls still pay off.
_MISSES = 4
#: How many waits block after such a check has failed. The number doubles with each further failure, until a new trial.
_MIN_PAUSE, _MAX_PAUSE = 16, 512
#: The number of waits between two trials. It doubles as long as trials agree.
_MIN_INTERVAL, _MAX_INTERVAL = 1_024, 32_768
#: When two kinds of waits are compared, a wait counts for at most this many times the usual wait.
_LONG = 4
#: More waits than there will be.
_NEVER = 1 << 62
#: How much longer a poll lasts than the longest wait for which it pays off, because later waits vary.
_MARGIN = 1.25


def cores() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def is_crowded(path: str = "/proc/loadavg") -> bool:
    """Return True if the machine now has more runnable threads than processors.

    Args:
        path: The file in which Linux reports this, for example as "3/512" for 3 of 512. If it is missing, the result is
            False.
    """
    try:
        descriptor = open_descriptor(path, O_RDONLY | O_CLOEXEC)
        try:
            runnable = read(descriptor, 128).split()[3].partition(b"/")[0]
        finally:
            close(descriptor)
        return int(runnable) > (cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return False


def poll_time(blocked: list[float], polled: list[float], limit: float) -> tuple[float, float]:
    """Choose how long to poll, given the durations of waits.

    A poll that finds its message saves the difference between the medians. Each poll costs :data:`PRICE` times its
    length, even in vain.

    Args:
        blocked: Seconds of waits without polling.
        polled: Seconds of waits with polling up to the limit.
        limit: Maximum seconds to poll.

    Returns:
        Seconds to poll, 0 if polling does not pay off; and the seconds saved by a poll that finds its message.
    """
    usual = median(blocked)
    saved = usual - median(polled)
    # The median does not reveal a shortage of cores, which makes some waits very long. How long does not matter,
    # because a poll ends.
    if saved <= 0.0 or _sum_to(_LONG * usual, polled) >= _sum_to(_LONG * usual, blocked):
        return 0.0, 0.0
    best = chosen = elapsed = 0.0
    for found, seconds in enumerate(sorted(polled), 1):
        if seconds > limit:
            break
        elapsed += seconds
        gain = found * saved - PRICE * (elapsed + (len(polled) - found) * seconds)
        if gain > best:
            best, chosen = gain, seconds
    # The other side may have blocked. If its wake-up made this side miss, too, both sides would take turns blocking.
    return min(limit, max(_MARGIN * chosen, chosen + saved)) if best else 0.0, saved


def _sum_to(most: float, waits: list[float]) -> float:
    return sum(min(each, most) for each in waits)


class WaitPolicy:
    """Decides before each wait how long to poll.

    A trial blocks for some waits, then polls for as many, and :func:`poll_time` decides. It ends early if more
    processes want to run than there are cores. Between trials, polling stops when it no longer pays off.

    The caller polls for :attr:`poll_seconds`, and calls :meth:`miss` if that was in vain. After each wait, it
    decrements :attr:`waits_left`, and calls :meth:`adapt` if that is not positive.

    Args:
        limit: Maximum seconds to poll per wait; 0 to never poll.
        lacks_cores: Returns whether more processes want to run than there are cores; :func:`is_crowded` if None.

    Attributes:
        poll_seconds: Seconds to poll in the next wait; 0 to block at once.
        waits_left: Waits until the next trial; not positive during a trial.
        is_trial: True while waits are measured.
    """

    def __init__(self, limit: float, *, lacks_cores: Callable[[], bool] | None = None) -> None:
        self._limit, self._lacks_cores = limit, lacks_cores or is_crowded
        self._interval, self._has_polled = _MIN_INTERVAL, False
        self._blocked: list[float] = []
        self._polled: list[float] = []
        self._shortages = 0
        #: What a poll saves, the misses since the last check, and the value of waits_left at that check.
        self._saved, self._misses, self._checked_at = 0.0, 0, 0
        #: During a pause, the values to continue with: seconds to poll, and waits until the next trial.
        self._resumes: tuple[float, int] | None = None
        self._pause = _MIN_PAUSE
        self.poll_seconds = 0.0
        self.waits_left = 0 if limit else _NEVER
        self.is_trial = False

    def adapt(self, seconds: float) -> None:
        """Continue after a wait: record it during a trial; otherwise end a pause or start a trial.

        Args:
            seconds: How long the wait took; ignored outside a trial.
        """
        if self._resumes is not None:
            (self.poll_seconds, self.waits_left), self._resumes = self._resumes, None
            self._checked_at = self.waits_left
        elif not self.is_trial:
            self._start()
        elif self.poll_seconds:
            self._polled.append(seconds)
            if len(self._polled) == TRIAL:
                chosen, self._saved = poll_time(self._blocked[_SETTLING:], self._polled[_SETTLING:], self._limit)
                self._decide(chosen)
        else:
            self._blocked.append(seconds)
            self._check_blocked()

    def miss(self) -> None:
        """Report that polling found nothing."""
        self._misses += 1
        if self._misses % _MISSES:
            return
        if self.is_trial:
            if self._misses > len(self._polled):
                self._decide(0.0)
            return
        hits, self._checked_at = self._checked_at - self.waits_left - _MISSES, self.waits_left
        if hits * self._saved > PRICE * _MISSES * self.poll_seconds:
            self._pause = _MIN_PAUSE
        elif self._pause > _MAX_PAUSE or self.waits_left <= self._pause:
            self._decide(0.0)
        else:
            # If another process briefly had the core, that ends soon. A learner that computes does not.
            self._resumes = self.poll_seconds, self.waits_left - self._pause
            self.poll_seconds, self.waits_left = 0.0, self._pause
            self._pause *= 2

    def _start(self) -> None:
        self._misses = 0
        self._blocked, self._polled, self._shortages = [], [], 0
        self.is_trial, self.poll_seconds = True, 0.0

    def _check_blocked(self) -> None:
        """Start polling in a trial, or end it: on a crowded machine, polls take cores from others, and are wasted."""
        count = len(self._blocked)
        if count % _LOAD_EVERY == 0:
            self._shortages += self._lacks_cores()
            if 2 * _LOAD_EVERY * self._shortages > TRIAL:
                self._decide(0.0)
                return
        if count == TRIAL:
            usual = median(self._blocked)
            if usual > 2 * self._limit:
                self._decide(0.0)
            else:
                self.poll_seconds = min(self._limit, _LONG * usual)

    def _decide(self, poll_seconds: float) -> None:
        polls = poll_seconds > 0.0
        self._interval = min(2 * self._interval, _MAX_INTERVAL) if polls == self._has_polled else _MIN_INTERVAL
        self._has_polled, self._misses, self._pause = polls, 0, _MIN_PAUSE
        self.is_trial, self.poll_seconds = False, poll_seconds
        self.waits_left = self._checked_at = self._interval
