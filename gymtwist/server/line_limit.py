"""Limits on the log lines that clients can cause, with a count of the lines left out."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any

#: Seconds from the first line left out to the summary.
_SUMMARY_DELAY = 1.0


class LineLimit:
    """Limits the lines of one source: a burst first, then a number per second.

    Args:
        clock: Provides the time: an ``IReactorTime``.
        burst: The maximum number of lines at once.
        rate: The maximum number of lines per second after that.
        summarise: Logs one line with the counts of what was left out, by kind.
    """

    def __init__(self, clock: Any, burst: int, rate: float, summarise: Callable[[Mapping[str, int]], None]) -> None:
        self._clock = clock
        self._burst = float(burst)
        self._rate = rate
        self._summarise = summarise
        self._tokens = self._burst
        self._refilled_at: float = clock.seconds()
        self._left_out: collections.Counter[str] = collections.Counter()
        self._summary: Any = None

    def allows(self, kind: str, lines: int = 1) -> bool:
        """Return whether something may be logged, and count it if not.

        Args:
            kind: What it is, as a plural noun.
            lines: The number of lines that it takes.
        """
        self._refill()
        if self._tokens >= min(lines, self._burst):
            self._tokens -= lines
            return True
        self._left_out[kind] += 1
        if self._summary is None:
            self._summary = self._clock.callLater(_SUMMARY_DELAY, self.flush)
        return False

    @property
    def is_idle(self) -> bool:
        """Whether the limit is back in its initial state."""
        self._refill()
        return self._summary is None and self._tokens >= self._burst

    def flush(self) -> None:
        """Log the summary now, if one is due."""
        if self._summary is None:
            return
        if self._summary.active():
            self._summary.cancel()
        self._summary = None
        left_out, self._left_out = self._left_out, collections.Counter()
        self._refill()
        self._tokens -= 1  # the summary also counts as a line
        self._summarise(left_out)

    def _refill(self) -> None:
        now = self._clock.seconds()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._refilled_at))
        self._refilled_at = now


def listed(left_out: Mapping[str, int]) -> str:
    """Return what was left out as text: ``12 refusals, 3 sessions``."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
