"""A session that has lost its connection and waits for its client to come back."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from gymtwist.server.identities import Identity
from gymtwist.server.server_session import Session

#: Why a session without a connection ends in a process that has handed over its ports.
REPLACED = "its client cannot come back to it: the server was upgraded"
#: Seconds that a worker has to close its environment before it is killed.
_CLOSE_TIMEOUT = 30.0


class DisconnectedSession:
    """Stands in for the connection of a session, and ends the session if its client does not come back in time.

    Args:
        factory: What connections share.
        session: The session.
        identity: Who the client is.
    """

    client_socket = None

    def __init__(self, factory: Any, session: Session, identity: Identity) -> None:
        assert session.reconnection is not None
        self.identity = identity
        self._factory, self._session = factory, session
        self._seconds = session.reconnection.seconds
        self._since = time.monotonic()
        self._timer: Any = None
        factory.connections.add(self)
        factory.disconnected.add(self)
        if factory.successor is not None:
            self.stop(REPLACED)
        elif session.reason is None:
            self._look()

    def _look(self) -> None:
        """Check the session, and set the timer for the next check."""
        session, measure = self._session, self._factory.watchdog.measure
        if measure:
            session.check_memory()
        left = self._seconds - (time.monotonic() - self._since)
        reason = session.over_quota() or (
            f"the client did not come back within {self._seconds:g} s" if left <= 0 else ""
        )
        if reason:
            self.stop(reason)
            return
        limits = [left, session.time_left, measure or None]
        self._call_later(min(each for each in limits if each is not None), self._look)

    def _call_later(self, seconds: float, act: Any) -> None:
        self._cancel()
        self._timer = self._factory.reactor.callLater(max(seconds, 0.01), act)

    def _cancel(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def stop(self, reason: str) -> None:
        """End the session.

        Args:
            reason: Why, for the log.
        """
        if self._session.reason is None:
            self._session.give_up(reason)
            self._call_later(_CLOSE_TIMEOUT, self._kill)

    def _kill(self) -> None:
        self._session.kill()
        # A process in a system call may take a while to die; try again.
        self._call_later(_CLOSE_TIMEOUT, self._kill)

    def drain(self) -> None:
        """End the session: the server is stopping, so its client cannot come back."""
        self.stop("the server is shutting down")

    def session_resumed(self) -> None:
        """Keep waiting: another worker serves the session."""

    def session_disconnected(self) -> DisconnectedSession:
        """Keep waiting: another worker, without a connection, serves the session."""
        return self

    def session_taken(self) -> None:
        """Forget the session: its client has come back."""
        self._cancel()
        self._factory.disconnected.discard(self)
        self._factory.connection_closed(self)

    def session_ended(self, final_reply: bytes) -> None:
        """Forget the session, which has ended."""
        self.session_taken()
        self._factory.admission.session_ended(self)


class DisconnectedSessions:
    """The sessions that wait for their clients; if there are too many, the oldest of one identity ends.

    Args:
        most: The maximum number of them.

    Attributes:
        most: The maximum number of them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._sessions: dict[DisconnectedSession, None] = {}

    def __len__(self) -> int:
        """Return the number of sessions that wait."""
        return len(self._sessions)

    def add(self, session: DisconnectedSession) -> None:
        """Add a session.

        If its identity now has too many, the identity's oldest ends; if there are too many in total, the oldest of the
        identity with the most.
        """
        self._sessions[session] = None
        name, most = session.identity.name, session.identity.max_disconnected
        counts = Counter(each.identity.name for each in self._sessions)
        if most is not None and counts[name] > most:
            self._end_oldest(name, f'"{name}" may have {most} sessions without a connection (max-disconnected)')
        elif len(self._sessions) > self.most:
            longest = max(counts, key=counts.__getitem__)
            self._end_oldest(longest, f"there may be {self.most} sessions without a connection (--max-disconnected)")

    def end_all(self, reason: str) -> None:
        """End all of them.

        Args:
            reason: Why, for the log.
        """
        for each in list(self._sessions):
            each.stop(reason)

    def _end_oldest(self, name: str, reason: str) -> None:
        oldest = next(each for each in self._sessions if each.identity.name == name)
        del self._sessions[oldest]
        oldest.stop(reason)

    def discard(self, session: DisconnectedSession) -> None:
        """Forget a session, if it is known."""
        self._sessions.pop(session, None)
