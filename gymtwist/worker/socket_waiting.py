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

from gymtwist.protocol.adaptive_waiting import REQUEST_WORTH, WaitPolicy, cores
from gymtwist.worker.session_status import LAST_ACTIVITY, SessionStatus

#: How often it is looked before others who want the core have it, and the clock is looked at.
_READS = 8
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
    return _Waiting(connection, WaitPolicy(seconds, REQUEST_WORTH, lacks_cores=is_crowded), status).receive


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
        policy: Decides how.
        status: Of the session.
    """

    def __init__(self, connection: socket.socket, policy: WaitPolicy, status: SessionStatus) -> None:
        self._receive, self._policy, self._words = connection.recv_into, policy, status.words
        #: How many waits block, with nothing to decide.
        self._plain = 0

    def receive(self, space: memoryview) -> int:
        """See :func:`receiver`."""
        if self._plain:
            self._plain -= 1
            return self._receive(space)
        policy, count = self._policy, None
        if not (policy.poll_seconds or policy.is_trial):
            policy.start_trial()
        if policy.is_trial:
            policy.check_cores()
        if policy.poll_seconds:
            count = self._polled(space, policy.poll_seconds)
            if count is None:
                policy.miss()
            else:
                policy.hit()
        if count is None:
            count = self._receive(space)
        if policy.is_trial:
            # Since the environment had done its part: to send a reply takes longer if that must wake another core up.
            policy.record(monotonic() - self._words[LAST_ACTIVITY])
        elif policy.poll_seconds:
            policy.waits_left -= 1
            if policy.waits_left <= 0:
                policy.start_trial()
        if not (policy.poll_seconds or policy.is_trial):
            self._plain = policy.waits_left
        return count

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
