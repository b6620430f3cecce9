"""Admission: limits the sessions, queues connections beyond that, and limits the connections without a session."""

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

    def moved(self, place: int) -> None:
        """Note the place in the queue, which has changed; 1 is the first."""

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

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return self._sessions

    @property
    def queued(self) -> int:
        """How many connections wait."""
        return len(self._waiting)

    @property
    def is_stopping(self) -> bool:
        """Whether no session begins any more."""
        return self._stopping

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
            waiter.moved(len(self._waiting))
        else:
            taken = f"{self._sessions} of {self._max_sessions} sessions run"
            if self._queue:
                taken += f" and {len(self._waiting)} of {self._queue} places in the queue are taken"
            waiter.refused(
                ServerFull(
                    f"the server is full: {taken}; try again later, or ask its operator for a larger --max-sessions"
                )
            )

    def leave_queue(self, waiter: Waiter) -> None:
        """Remove a connection from the queue if it is there."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(waiter)
            self._tell_places()

    def _tell_places(self) -> None:
        for place, waiter in enumerate(tuple(self._waiting), 1):
            waiter.moved(place)

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
        self._tell_places()

    def stop(self) -> None:
        """Refuse the connections that wait, and all later ones."""
        self._stopping = True
        waiting, self._waiting = self._waiting, collections.deque()
        for waiter in waiting:
            waiter.refused(ServerStopping(_STOPPING))


class Droppable(Protocol):
    """A connection without a session, as a :class:`ConnectionLimit` holds it."""

    def drop(self) -> None:
        """Close the connection as soon as possible, unless it can have its session now."""


class ConnectionLimit:
    """Limits the connections that have no session, in total and per address; beyond that the oldest is dropped.

    Args:
        total: How many there may be.
        per_address: How many of them may have the same address.

    Attributes:
        total: How many there may be.
    """

    def __init__(self, total: int, per_address: int) -> None:
        self.total = total
        self._per_address = per_address
        # Each in the order in which they came: the oldest first.
        self._addresses: dict[Droppable, str] = {}
        self._by_address: dict[str, dict[Droppable, None]] = {}
        self._crowded: dict[str, None] = {}
        self._dropping = False

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._addresses)

    def add(self, connection: Droppable, address: str) -> None:
        """Count a connection, and drop the oldest if there are too many; one that is counted keeps its age."""
        if connection in self._addresses:
            return
        self._addresses[connection] = address
        of_address = self._by_address.setdefault(address, {})
        of_address[connection] = None
        if len(of_address) > self._per_address:
            self._crowded[address] = None
        if self._dropping:
            return  # what is dropped may add itself again; the loop below continues
        self._dropping = True
        try:
            while (oldest := self._oldest_excess()) is not None:
                self.remove(oldest)
                oldest.drop()
        finally:
            self._dropping = False

    def _oldest_excess(self) -> Droppable | None:
        for address in self._crowded:
            return next(iter(self._by_address[address]))
        return next(iter(self._addresses)) if len(self._addresses) > self.total else None

    def remove(self, connection: Droppable) -> None:
        """Stop counting a connection if it is counted: it has a session, waits for one, or is closed."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        of_address = self._by_address[address]
        del of_address[connection]
        if len(of_address) <= self._per_address:
            self._crowded.pop(address, None)
        if not of_address:
            del self._by_address[address]
