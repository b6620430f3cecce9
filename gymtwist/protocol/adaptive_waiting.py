"""Whether to poll for what the other side sends, or to block on it: whichever has been found to be faster.

What is polled for is seen at once, while a process that blocks must be woken up. But polling keeps a core busy that
others may need, and on many a virtual machine a process is woken up sooner on the core that its peer has just left. So
both are tried for a few waits now and then, and the faster one is kept. Where waits are so long that a moment of
polling is over before they end, as those for a slow environment, a server far away or a learner that thinks, it is not
polled.
"""

from __future__ import annotations

import os
from statistics import median

#: How many waits a trial of polling or blocking has, and how many of them are left for the scheduler to settle.
_TRIAL, _SETTLING = 100, 20
#: After so many waits in a row in which polling was in vain, it ends.
_IN_VAIN = 4
#: How many waits there are between trials: more and more of them, while they come out the same.
_FEWEST, _MOST = 2_000, 32_000


def cores() -> int:
    """Count the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class Polling:
    """Decides, wait by wait, for how long to poll.

    Args:
        budget: Seconds to poll at most in a wait; 0 for never.
        worth: Polling must be faster by this factor at least, as it costs processor time.

    Attributes:
        seconds: For how long to poll in the next wait; 0 to block at once.
        left: How many waits there are until the next trial.
        is_trial: Whether the next wait is to be measured, and :meth:`measured` to be called.
    """

    def __init__(self, budget: float, worth: float = 0.8) -> None:
        self._budget, self._worth = budget, worth
        self._in_vain = 0
        self._interval = _FEWEST
        self._polled: list[float] = []
        self._blocked: list[float] = []
        self._was_polling = budget > 0
        self.seconds = budget
        self.left = _FEWEST
        self.is_trial = budget > 0

    def next_trial(self) -> None:
        """Begin a trial, if there is something to choose from; to be called when none is left."""
        self.left = self._interval
        if self._budget:
            self._was_polling = self.seconds > 0
            self._polled, self._blocked = [], []
            self.is_trial, self.seconds = True, self._budget

    def measured(self, seconds: float) -> None:
        """Note how long a wait of a trial took."""
        taken = self._polled if self.seconds else self._blocked
        taken.append(seconds)
        if len(taken) < _TRIAL:
            return
        if self.seconds:
            self.seconds = 0.0
        else:
            polled, blocked = self._polled[_SETTLING:], self._blocked[_SETTLING:]
            # Neither what is usual alone counts nor what is rare: a core that is missing shows in few waits, but long.
            self._decide(median(polled) < self._worth * median(blocked) and sum(polled) < sum(blocked))

    def paid(self) -> None:
        """Note that a reply came while it was polled for."""
        self._in_vain = 0

    def was_in_vain(self) -> None:
        """Note that polling ended without a reply."""
        self._in_vain += 1
        if self._in_vain >= _IN_VAIN:
            self.give_up()

    def give_up(self) -> None:
        """Block until the next trial, whatever this one would have shown."""
        self._decide(False)

    def _decide(self, polls: bool) -> None:
        same = polls == self._was_polling
        self._interval = min(2 * self._interval, _MOST) if same else _FEWEST
        self._was_polling = polls
        self._in_vain = 0
        self.is_trial, self.left, self.seconds = False, self._interval, self._budget if polls else 0.0
