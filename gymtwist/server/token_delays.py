"""Delays the refusals of tokens, so that nobody can try many."""

from __future__ import annotations

from collections.abc import Callable

#: Seconds before a network's first refusal; each further one takes twice as long, up to the maximum.
_FIRST = 0.125
_MOST = 8.0
#: Seconds without a refusal after which a network starts over.
_FORGIVEN = 60.0
#: The maximum number of networks to remember; beyond it, the least recently refused ones are forgotten.
_MOST_NETWORKS = 10_000


class TokenDelays:
    """Counts the refused tokens of each network.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: The last delay and its time for each network, the least recently refused first.
        self._last: dict[str, tuple[float, float]] = {}

    def next(self, network: str) -> float:
        """Return the number of seconds by which to delay a refusal.

        Args:
            network: The client's network, as returned by ``network_of``.
        """
        now = self._clock()
        delay, refused_at = self._last.pop(network, (_FIRST / 2, now))
        delay = _FIRST if now - refused_at >= _FORGIVEN else min(2 * delay, _MOST)
        while len(self._last) >= _MOST_NETWORKS:
            del self._last[next(iter(self._last))]
        self._last[network] = (delay, now)
        return delay
