"""How long to sleep before a large reply is polled for: until shortly before it is due, going by those before it."""

from __future__ import annotations

from time import perf_counter, sleep

#: How many waits are looked at, which of them, from the shortest on, the next one is expected to be like, and how many
#: may be slept too long for.
_WAITS, _SHORT, _LATE = 32, 1, 4
#: Seconds that a sleep may be too long: Linux wakes a process up to 50 us late (timerslack_ns), and then it must run.
_SPARE = 100e-6
#: Seconds from which on it makes no difference whether a process must be woken up.
_LONG = 5e-3


class Naps:
    """Knows how long replies take."""

    def __init__(self) -> None:
        self._taken: list[float] = []
        self._usual = 0.0
        self._late = 0

    def until_due(self, since: float) -> bool:
        """Sleep until a reply will be there soon.

        Args:
            since: When the request was sent, by ``perf_counter``.

        Returns:
            Whether it will; it was not slept if it takes long.
        """
        if self._usual > _LONG:
            return False
        left = since + self._usual - _SPARE - perf_counter()
        if left > 0.0:
            sleep(left)
        return True

    def was_late(self) -> None:
        """Note that the reply was there before the sleep was over: nobody knows for how long."""
        self._late += 1

    def took(self, seconds: float) -> None:
        """Note how long a reply took that was waited for."""
        self._taken.append(seconds)
        if len(self._taken) >= _WAITS:
            taken, self._taken = sorted(self._taken), []
            self._usual = taken[_SHORT] if self._late <= _LATE else self._usual / 2
            self._late = 0
