"""Waits for requests on a client's socket, polling briefly at first if measurements show that this is faster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from itertools import repeat
from time import monotonic  # by name: an environment may patch the module

from gymtwist.protocol.adaptive_waiting import WaitPolicy, cores
from gymtwist.worker.session_status import LAST_ACTIVITY, SessionStatus

#: Reads between two yields of the core, each followed by a check of the clock.
_READS = 8
_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def receiver(connection: socket.socket, seconds: float, status: SessionStatus) -> Callable[[memoryview], int]:
    """Return a function that waits for bytes from a client and receives them into a buffer.

    Args:
        connection: The client's socket, in blocking mode.
        seconds: Maximum seconds to poll per wait; 0 to never poll.
        status: The session's status.

    Returns:
        A function that returns the number of bytes received, or 0 at the end of the connection, and raises
        :class:`OSError`.
    """
    if not seconds or cores() == 1:
        return connection.recv_into
    return _AdaptiveReceiver(connection, WaitPolicy(seconds), status).receive


class _AdaptiveReceiver:
    """Receives from a socket, by polling or by blocking.

    Args:
        connection: The socket, in blocking mode.
        policy: Decides whether to poll.
        status: The session's status.
    """

    def __init__(self, connection: socket.socket, policy: WaitPolicy, status: SessionStatus) -> None:
        self._receive, self._policy, self._words = connection.recv_into, policy, status.words
        #: How many waits block before the policy is asked again.
        self._blocking_waits = 0

    def receive(self, space: memoryview) -> int:
        """See :func:`receiver`."""
        if self._blocking_waits:
            self._blocking_waits -= 1
            return self._receive(space)
        policy, count = self._policy, None
        if policy.poll_seconds:
            count = self._poll(space, policy.poll_seconds)
            if count is None:
                policy.miss()
        if count is None:
            count = self._receive(space)
        policy.waits_left -= 1
        if policy.waits_left <= 0:
            # Measured from the end of the operation, because sending the reply takes longer if it must wake up another
            # core.
            policy.adapt(monotonic() - self._words[LAST_ACTIVITY])
        if not policy.poll_seconds and policy.waits_left > 1:
            self._blocking_waits, policy.waits_left = policy.waits_left - 1, 1
        return count

    def _poll(self, space: memoryview, seconds: float) -> int | None:
        """Poll for bytes and return their number; None if none arrive in time."""
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
