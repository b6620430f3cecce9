"""Leaving a processor core on which a worker and its client take turns although both poll.

Two processes that poll need a core each. If the kernel has both on one, each gives way to the other at each message,
even while another core is idle: Linux places a process when it wakes up, and neither of them sleeps.
"""

from __future__ import annotations

from gymtwist.worker import process_control

#: A worker moves when it has taken so many turns within so many waits, and stays for as many as this afterwards.
_TURNS, _WITHIN, _STAY = 8, 12, 128


class SharedCore:
    """Notices that a worker takes turns with its client, and moves it to another core."""

    def __init__(self) -> None:
        self._turns = 0
        #: How many waits were left before the first of these turns, or when it may move again.
        self._begin = 0

    def take_turn(self, waits_left: int) -> None:
        """Count a request that was found when another process had had this core.

        Args:
            waits_left: A number that each wait decrements, and that begins anew from time to time.
        """
        elapsed = self._begin - waits_left
        if -_STAY <= elapsed < 0:
            return
        if not 0 <= elapsed < _WITHIN:
            self._turns, self._begin = 0, waits_left
        self._turns += 1
        if self._turns == _TURNS:
            process_control.leave_core()
            self._turns, self._begin = 0, waits_left - _STAY
