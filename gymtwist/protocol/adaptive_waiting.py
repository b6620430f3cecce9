"""Adaptive waiting: for how long to poll for a message before blocking.

Clients wait for replies and workers for requests, at a socket or in shared memory. All of them ask one policy,
:class:`WaitPolicy`, which neither waits nor reads a clock itself.

Polling notices a message at once, while a blocked process must be woken up, which takes up to 60 us on virtual
machines. But polling keeps a core busy. Where no other process needs that core, this costs little; otherwise it costs
more than it saves. So a policy measures what polling saves here and how long the messages of this session take, and
polls for as long as that pays.
"""

from __future__ import annotations

import os
from collections.abc import Callable

# By name: an environment may patch the modules.
from os import O_CLOEXEC, O_RDONLY, close, cpu_count, read
from os import open as open_descriptor
from statistics import median

#: The default limit of a poll in seconds: of a client, and of a worker.
REPLY_LIMIT, REQUEST_LIMIT = 1.5e-3, 500e-6
#: What a second of polling costs, in seconds of waiting, where a core is free.
PRICE = 0.05
#: Waits of each kind in a trial, and how many of them are ignored while the scheduler settles.
TRIAL, _SETTLING = 40, 8
#: Waits of a trial between two looks at the machine's load.
_LOAD_EVERY = 8
#: Misses after which a policy checks whether its polls still pay.
_MISSES = 4
#: Waits that block after such a check has failed. The number doubles if the next one fails, too, up to a new trial.
_MIN_PAUSE, _MAX_PAUSE = 16, 512
#: Waits between two trials. The number doubles while trials agree.
_MIN_INTERVAL, _MAX_INTERVAL = 1_024, 32_768
#: How many times the usual wait a wait counts at most where two kinds of waits are compared.
_LONG = 4
#: More waits than there will be.
_NEVER = 1 << 62
#: How much longer a poll lasts than the longest wait for which it pays: later waits vary.
_MARGIN = 1.25


def cores() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def is_crowded(path: str = "/proc/loadavg") -> bool:
    """Return True if more threads of this machine are runnable now than it has processors.

    Args:
        path: The file in which Linux reports it, as "3/512": 3 of 512. If it is missing, the result is False.
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
    """Choose for how long to poll, by what waits have taken.

    A poll that finds its message saves the difference of the medians. Each poll costs :data:`PRICE` times its length,
    also in vain.

    Args:
        blocked: Seconds of waits without polling.
        polled: Seconds of waits with polling up to the limit.
        limit: Seconds to poll at most.

    Returns:
        Seconds to poll, 0 if polling does not pay; and the seconds that a poll saves which finds its message.
    """
    usual = median(blocked)
    saved = usual - median(polled)
    # The median misses a shortage of cores, which makes some waits very long. How long does not matter: a poll ends.
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
    # The other side may have blocked. If its wake-up made this side miss, too, both would block in turn.
    return min(limit, max(_MARGIN * chosen, chosen + saved)) if best else 0.0, saved


def _sum_to(most: float, waits: list[float]) -> float:
    return sum(min(each, most) for each in waits)


class WaitPolicy:
    """Decides before each wait for how long to poll.

    A trial blocks for some waits, then polls for as many, and :func:`poll_time` decides. It ends at once where more
    processes want to run than there are cores. Between trials, polling stops when it no longer pays.

    Whoever waits polls for :attr:`poll_seconds` and calls :meth:`miss` if that was in vain. After each wait it
    decrements :attr:`waits_left`, and calls :meth:`adapt` if that is not positive.

    Args:
        limit: Seconds to poll per wait at most; 0 for never.
        lacks_cores: Whether more processes want to run than there are cores; :func:`is_crowded` if None.

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
        #: What a poll saves, and what is known since the last check: the misses, and the waits that were left then.
        self._saved, self._misses, self._checked_at = 0.0, 0, 0
        #: During a pause: how long to poll after it, and the waits until the next trial then.
        self._resumes: tuple[float, int] | None = None
        self._pause = _MIN_PAUSE
        self.poll_seconds = 0.0
        self.waits_left = 0 if limit else _NEVER
        self.is_trial = False

    def adapt(self, seconds: float) -> None:
        """Go on after a wait: record it during a trial, else end a pause or start a trial.

        Args:
            seconds: How long the wait took; ignored outside of a trial.
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
            # A moment in which another process had the core ends soon. A learner that thinks does not.
            self._resumes = self.poll_seconds, self.waits_left - self._pause
            self.poll_seconds, self.waits_left = 0.0, self._pause
            self._pause *= 2

    def _start(self) -> None:
        self._misses = 0
        self._blocked, self._polled, self._shortages = [], [], 0
        self.is_trial, self.poll_seconds = True, 0.0

    def _check_blocked(self) -> None:
        """Start polling in a trial, or end it: in a crowd a poll takes a core from others, and a long wait is lost."""
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
