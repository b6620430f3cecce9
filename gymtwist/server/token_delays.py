"""How long the refusal of a token is delayed, so that nobody can try many."""

from __future__ import annotations

from collections.abc import Callable

#: Seconds before the first refusal of a network; each further one takes twice as long, up to the most.
_FIRST = 0.125
_MOST = 8.0
#: Seconds without a refusal after which a network begins anew.
_FORGIVEN = 60.0
#: Networks that are remembered; then those are forgotten that were refused longest ago.
_MOST_NETWORKS = 10_000


class TokenDelays:
    """Counts the refused tokens of each network.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        #: The last delay and its time, the network that was refused longest ago first.
        self._last: dict[str, tuple[float, float]] = {}

    def next(self, network: str) -> float:
        """Return the seconds by which to delay a refusal.

        Args:
            network: The client's network, as ``network_of`` returns it.
        """
        now = self._clock()
        delay, refused_at = self._last.pop(network, (_FIRST / 2, now))
        delay = _FIRST if now - refused_at >= _FORGIVEN else min(2 * delay, _MOST)
        while len(self._last) >= _MOST_NETWORKS:
            del self._last[next(iter(self._last))]
        self._last[network] = (delay, now)
        return delay
