"""Admission: who has to wait for room."""

from __future__ import annotations

import collections
import contextlib
from typing import Protocol

from gymtwist.errors import ServerFull, ServerStopping


class Waiter(Protocol):
    """A connection that waits to be admitted."""

    def admitted(self) -> None:
        """Begin the session: there is room for it."""

    def refused(self, error: ServerStopping) -> None:
        """End the connection: there will be none."""


class Admission:
    """Counts the sessions and keeps the connections that wait for one to end, first come first served.

    Args:
        most: How many sessions there may be at once.
        queue: How many connections may wait.
    """

    def __init__(self, most: int, queue: int) -> None:
        self._most = most
        self._queue = queue
        self._sessions = 0
        self._waiting: collections.deque[Waiter] = collections.deque()
        self._stopping = False
        self._admitting = False

    def enter(self, waiter: Waiter) -> None:
        """Admit a connection, now or when there is room; it is told by ``admitted``.

        Raises:
            ServerFull: There is no room even to wait.
            ServerStopping: No sessions begin any more.
        """
        if self._stopping:
            raise ServerStopping("the server is shutting down; try again in a while")
        if self._sessions < self._most:
            self._sessions += 1
            waiter.admitted()
        elif len(self._waiting) < self._queue:
            self._waiting.append(waiter)
        else:
            raise ServerFull(
                f"the server is full: {self._sessions} sessions run and {len(self._waiting)} connections wait; "
                "try again later, or ask its operator for a larger --max-sessions"
            )

    def leave_queue(self, waiter: Waiter) -> None:
        """Forget a connection that will not wait any longer, if it is not forgotten already."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)

    def session_ended(self) -> None:
        """Give the place of a session to the connection that has waited longest."""
        self._sessions -= 1
        if self._admitting:
            return  # a session that ended as soon as it began: the loop below, which began it, goes on
        self._admitting = True
        try:
            while self._waiting and self._sessions < self._most:
                self._sessions += 1
                self._waiting.popleft().admitted()
        finally:
            self._admitting = False

    def stop(self) -> None:
        """Begin no session any more, and tell those who wait."""
        self._stopping = True
        waiting, self._waiting = self._waiting, collections.deque()
        for waiter in waiting:
            waiter.refused(ServerStopping("the server is shutting down; try again in a while"))
