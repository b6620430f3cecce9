"""Publishes the events of one session."""

from __future__ import annotations

import time

from gymtwist.server.process_memory import Usage
from gymtwist.server.session_events import (
    Crashed,
    Disconnected,
    Ended,
    MemoryExceeded,
    Reconnected,
    Resumed,
    SessionEvents,
    SessionInfo,
    Started,
)
from gymtwist.worker.session_status import SessionStatus


class SessionReporter:
    """Publishes the events of one session; each assignment to a worker is reported once."""

    def __init__(self, info: SessionInfo, events: SessionEvents) -> None:
        self.info = info
        self.ended = False
        self.started_at = time.monotonic()
        self._events = events
        self._assignment: type[Started] | type[Resumed] | None = Started

    def assigned(self, process: int | None, place: str = "") -> None:
        """Report the worker's process, once it is known or known to stay unknown."""
        if self._assignment is not None:
            self._events.publish(self._assignment(self.info, process, place))
            self._assignment = None

    def crashed(self, how: str, status: SessionStatus, timeout_reason: str) -> None:
        """Report that the worker has ended in the middle of the session."""
        self.assigned(None)
        self._events.publish(Crashed(self.info, how, status.operation, timeout_reason))

    def memory_exceeded(self, usage: Usage, limit: int) -> None:
        """Report that processes of the session were killed because they held too much memory together."""
        self._events.publish(MemoryExceeded(self.info, usage.held, limit, of_worker=usage.own > limit))

    def disconnected(self, seconds: float) -> None:
        """Report that the session has lost its connection, and waits this many seconds."""
        self._events.publish(Disconnected(self.info, seconds))

    def reconnected(self, seconds: float) -> None:
        """Report that the client has come back after this many seconds."""
        self._events.publish(Reconnected(self.info, seconds))

    def resuming(self) -> None:
        """Note that another worker will serve the session."""
        self._assignment = Resumed

    def end(self, reason: str, status: SessionStatus, processor_time: float, exchanged: tuple[int, int]) -> None:
        """Report that the session has ended; ``exchanged`` has the bytes that the client received and sent."""
        self.ended = True
        self.assigned(None)
        elapsed = time.monotonic() - self.started_at
        self._events.publish(
            Ended(
                *(self.info, reason, status.steps, status.episodes, elapsed, processor_time, *exchanged),
                snapshots=status.snapshots_taken,
            )
        )
