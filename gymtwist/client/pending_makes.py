"""Sessions whose make request has no reply yet: waits for all of them, and reports progress."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from gymtwist.client.client_errors import RemoteError, TimedOut
from gymtwist.client.connection import wait_for_any
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.progress import Progress, Report

_log = logging.getLogger("gymtwist.client")


class Pending(Protocol):
    """A session, as seen by the wait for its make reply.

    Attributes:
        connection: Its connection.
        place: Its place in the server's queue; None if it is not queued.
    """

    connection: FrameConnection
    place: int | None

    @property
    def made_id(self) -> str | None:
        """The id of its environment."""

    def advance(self) -> bool:
        """Receive a message; return whether it was the reply."""


def finish_all(sessions: Sequence[Pending], report: Report | None = None) -> None:
    """Wait for the make replies of several sessions, in whatever order they come.

    Args:
        sessions: The sessions.
        report: Called at the start, whenever a reply or a place in the queue has come, and every second.

    Raises:
        RemoteError: The first refusal, even if other sessions are still waiting.
    """
    makes = Makes(sessions, report)
    while makes.waiting:
        try:
            makes.tell()
            connections = [session.connection for session in makes.waiting]
            index = wait_for_any(connections, None if report is None else makes.tell)
        except BaseException as error:
            # No reply has come in time, or the callback or a signal handler has raised an exception.
            makes.give_up(error)
            raise
        if makes.waiting[index].advance():
            del makes.waiting[index]
    makes.finish()


class Makes:
    """The make requests of several sessions, until they have their replies.

    Args:
        sessions: The sessions.
        report: Called by :meth:`tell`.

    Attributes:
        waiting: The sessions that wait for their reply.
    """

    def __init__(self, sessions: Sequence[Pending], report: Report | None) -> None:
        self.waiting = list(sessions)
        self._first, self._total, self._report, self._start = sessions[0], len(sessions), report, monotonic()

    def tell(self) -> None:
        """Report what the sessions are waiting for."""
        if self._report is not None:
            places = [session.place for session in self.waiting if session.place is not None]
            seconds = monotonic() - self._start
            self._report(Progress("queued" if places else "making", seconds, max(places, default=None)))

    def give_up(self, error: BaseException) -> None:
        """Close the connections because of an error.

        Raises:
            TimedOut: The error is a timeout, and the server is full.
        """
        for session in self.waiting:
            session.connection.close(error if isinstance(error, RemoteError) else None)
        if isinstance(error, TimedOut):
            raise explained_timeout(error, self.waiting, self._total) from None

    def finish(self) -> None:
        """Log that all sessions have their reply."""
        first, seconds = self._first, monotonic() - self._start
        _log.info("%s: made %s in %.1f s", first.connection.name, first.made_id, seconds)


def explained_timeout(error: TimedOut, waiting: Sequence[Pending], total: int) -> TimedOut:
    """Return the error for a timeout, which says so if the server is full."""
    places = [session.place for session in waiting if session.place is not None]
    if not places:
        return error
    which = "" if total == 1 else f" for {len(places)} of {total} processes"
    return TimedOut(
        f"{waiting[0].connection.name} is full: no session was free{which} within {waiting[0].connection.timeout:g} s, "
        f"at place {min(places)} in its queue; try again later, or ask its operator for a larger --max-sessions"
    )
