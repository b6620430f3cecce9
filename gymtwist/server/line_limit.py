"""Limits on the lines of the log that clients can cause, with a count of what is left out."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from typing import Any

#: Seconds from the first line that is left out to the line with their number.
_SUMMARY_DELAY = 1.0


class LineLimit:
    """Limits the lines of one source: so many at once, and later so many per second.

    Args:
        clock: Provides the time: an ``IReactorTime``.
        burst: How many lines may come at once.
        rate: How many may follow per second.
        summarise: Logs one line that has the numbers of what was left out, by kind.
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
        """Return whether something may be logged; count it if not.

        Args:
            kind: What it is, as a noun in the plural.
            lines: How many lines it takes.
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
        """Whether nothing depends on what was logged before."""
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
        self._tokens -= 1  # the summary is a line, too
        self._summarise(left_out)

    def _refill(self) -> None:
        now = self._clock.seconds()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._refilled_at))
        self._refilled_at = now


def listed(left_out: Mapping[str, int]) -> str:
    """Return what was left out as a text: ``12 refusals, 3 sessions``."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
