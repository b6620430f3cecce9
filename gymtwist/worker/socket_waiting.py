"""How a session's process waits at its client's socket: it polls for a moment where that was found to be faster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from itertools import repeat

# By name: an environment may replace what the modules have.
from os import O_CLOEXEC, O_RDONLY, close, cpu_count, read
from os import open as open_descriptor
from time import monotonic

from gymtwist.protocol.adaptive_waiting import Polling, cores
from gymtwist.worker.session_status import LAST_ACTIVITY, SessionStatus

#: How often it is looked before others who want the core have it, and the clock is looked at.
_READS = 8
#: In how many waits of a trial it is looked whether a core is missing.
_LOOKS = 5
#: How much faster polling must be: less than for a client, as the time that is measured is the learner's, too.
_WORTH = 0.9
_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def receiver(connection: socket.socket, seconds: float, status: SessionStatus) -> Callable[[memoryview], int]:
    """Make the function that receives what a client sends, into a buffer, and waits for it.

    Args:
        connection: The client's socket, in blocking mode.
        seconds: To poll at most in a wait; 0 for never.
        status: Of the session.

    Returns:
        A function that returns how many bytes there were, 0 at the end, and raises :class:`OSError`.
    """
    if not seconds or cores() == 1:
        return connection.recv_into
    return _Waiting(connection, Polling(seconds, _WORTH), status).receive


def is_crowded(path: str = "/proc/loadavg") -> bool:
    """Tell whether more processes and threads of this machine would run at this moment than it has processors.

    Args:
        path: Where Linux says it, as "3/512": 3 of 512. Where nothing says it, there is no crowd.
    """
    try:
        descriptor = open_descriptor(path, O_RDONLY | O_CLOEXEC)
        try:
            runner = read(descriptor, 128).split()[3].partition(b"/")[0]
        finally:
            close(descriptor)
        return int(runner) > (cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return False


class _Waiting:
    """Waits at a socket.

    Args:
        connection: The socket, in blocking mode.
        polling: Decides how.
        status: Of the session.
    """

    def __init__(self, connection: socket.socket, polling: Polling, status: SessionStatus) -> None:
        self._receive, self._polling, self._words = connection.recv_into, polling, status.words
        #: How many waits block, with nothing to decide.
        self._plain = 0
        #: How often it is still looked in a trial whether a core is missing, and how often one was.
        self._looks, self._crowds = _LOOKS, 0

    def receive(self, space: memoryview) -> int:
        """See :func:`receiver`."""
        if self._plain:
            self._plain -= 1
            return self._receive(space)
        polling, count = self._polling, None
        if not (polling.seconds or polling.is_trial):
            self._try_again()
        if polling.is_trial and self._looks:
            self._look()
        if polling.seconds:
            count = self._polled(space, polling.seconds)
            if count is None:
                polling.was_in_vain()
            else:
                polling.paid()
        if count is None:
            count = self._receive(space)
        if polling.is_trial:
            # Since the environment had done its part: to send a reply takes longer if that must wake another core up.
            polling.measured(monotonic() - self._words[LAST_ACTIVITY])
        elif polling.seconds:
            polling.left -= 1
            if polling.left <= 0:
                self._try_again()
        if not (polling.seconds or polling.is_trial):
            self._plain = polling.left
        return count

    def _try_again(self) -> None:
        self._looks, self._crowds = _LOOKS, 0
        self._polling.next_trial()

    def _look(self) -> None:
        """Look whether a core is missing now that the client has got work to do; then a trial takes it from others."""
        self._looks -= 1
        self._crowds += is_crowded()
        if 2 * self._crowds > _LOOKS:
            self._polling.give_up()

    def _polled(self, space: memoryview, seconds: float) -> int | None:
        """Poll for what comes; None if nothing does."""
        receive, until = self._receive, monotonic() + seconds
        while True:
            for _ in repeat(None, _READS):
                try:
                    return receive(space, 0, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
            _give_way()
            if monotonic() > until:
                return None
