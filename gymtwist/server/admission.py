"""Admission: limits the number of sessions, and queues connections beyond that."""

from __future__ import annotations

import collections
import contextlib
from typing import Protocol

from gymtwist.errors import ServerFull, ServerStopping

_STOPPING = "the server is shutting down; try again in a while"


class Waiter(Protocol):
    """A connection that asks for a session."""

    def queued(self) -> None:
        """Wait for a session to end."""

    def admitted(self) -> None:
        """Begin the session."""

    def refused(self, error: ServerFull | ServerStopping) -> None:
        """Close the connection: no session will begin."""


class Admission:
    """Counts the sessions and queues connections until one ends, first come, first served.

    Args:
        max_sessions: How many sessions there may be at once.
        queue: How many connections may wait.
    """

    def __init__(self, max_sessions: int, queue: int) -> None:
        self._max_sessions = max_sessions
        self._queue = queue
        self._sessions = 0
        self._waiting: collections.deque[Waiter] = collections.deque()
        self._stopping = False
        self._admitting = False

    def enter(self, waiter: Waiter) -> None:
        """Admit, queue or refuse a connection, by calling its method of that name."""
        if self._stopping:
            waiter.refused(ServerStopping(_STOPPING))
        elif self._sessions < self._max_sessions:
            self._sessions += 1
            waiter.admitted()
        elif len(self._waiting) < self._queue:
            self._waiting.append(waiter)
            waiter.queued()
        else:
            waiter.refused(
                ServerFull(
                    f"the server is full: {self._sessions} sessions run and {len(self._waiting)} connections wait; "
                    "try again later, or ask its operator for a larger --max-sessions"
                )
            )

    def leave_queue(self, waiter: Waiter) -> None:
        """Remove a connection from the queue if it is there."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)

    def session_ended(self) -> None:
        """Admit the connection that has waited longest."""
        self._sessions -= 1
        if self._admitting:
            return  # a session that ended as soon as it began; the loop below, which began it, continues
        self._admitting = True
        try:
            while self._waiting and self._sessions < self._max_sessions:
                self._sessions += 1
                self._waiting.popleft().admitted()
        finally:
            self._admitting = False

    def stop(self) -> None:
        """Refuse the connections that wait, and all later ones."""
        self._stopping = True
        waiting, self._waiting = self._waiting, collections.deque()
        for waiter in waiting:
            waiter.refused(ServerStopping(_STOPPING))
