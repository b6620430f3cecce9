"""Snapshots of remote environments, which servers keep."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from gymtwist.client.client_errors import RemoteError, RequestRefused
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.protocol.snapshot_messages import Release, Released, Restore, Restored, SnapshotTaken
from gymtwist.protocol.snapshot_messages import Snapshot as SnapshotRequest


class SnapshotReference:
    """What the client keeps of a snapshot, whether its methods wait or not.

    Args:
        sessions: The sessions of the environment.
        state: What the client has to know when it goes on from there.

    Attributes:
        tickets: What a session branches off by, one for each process of the environment. Keep them secret.
    """

    def __init__(self, sessions: Sequence[Any], state: Any) -> None:
        self._sessions, self._numbers = list(sessions), list[int]()
        self._state, self._released = state, False
        self.tickets: list[str] = []

    def _add(self, taken: SnapshotTaken) -> None:
        """Add the snapshot of one session."""
        self._numbers.append(taken.snapshot)
        self.tickets.append(taken.ticket)

    def check(self, sessions: Sequence[Any] | None = None) -> None:
        """Check that the server keeps it, as a snapshot of these sessions.

        Raises:
            RequestRefused: It does not.
        """
        if self._released:
            raise RequestRefused("the snapshot was released", code="unknown-snapshot")
        if sessions is not None and list(sessions) != self._sessions:
            raise RequestRefused(
                "the snapshot is of another environment, or of a connection that was lost: restore it where it was "
                "taken, or use branch()",
                code="unknown-snapshot",
            )

    def branched(self, options: ConnectOptions) -> ConnectOptions:
        """Return how to make an environment that goes on from here.

        Args:
            options: How this one was made.

        Raises:
            RequestRefused: The server does not keep the snapshot.
        """
        self.check()
        return dataclasses.replace(options, branches=tuple(self.tickets))

    @property
    def state(self) -> Any:
        """What the client has to know when it goes on from here."""
        return self._state

    def __repr__(self) -> str:
        state = "released" if self._released else f"number {', '.join(map(str, self._numbers))}"
        return f"<{type(self).__name__} {state}>"


class Snapshot(SnapshotReference):
    """A remote environment as it was at one moment; ``env.snapshot()`` makes it.

    The server keeps it until it is released, also at the end of a ``with`` block, or until the environment is closed.

    Attributes:
        tickets: What a session branches off by, one for each process of the environment. Keep them secret.
    """

    def __init__(self, sessions: Sequence[Session], state: Any) -> None:
        """Take a snapshot.

        Args:
            sessions: The sessions of the environment.
            state: What the client has to know when it goes on from there.

        Raises:
            RemoteError: The server refuses.
        """
        super().__init__(sessions, state)
        for session in sessions:
            session.check_idle()
        try:
            for session in sessions:
                self._add(session.ask(SnapshotRequest(), SnapshotTaken))
        except RemoteError:
            with contextlib.suppress(RemoteError):
                self.release()
            raise

    def branched(self, options: ConnectOptions) -> ConnectOptions:
        """As for others; what the server will describe is known already."""
        described = tuple(each.made for each in self._sessions)
        return dataclasses.replace(super().branched(options), described=described)

    def restore(self, sessions: Sequence[Session]) -> Any:
        """Have the server go on from here; return the state of the client.

        Args:
            sessions: The sessions of the environment now.

        Raises:
            RemoteError: The server refuses, or the snapshot is of another environment.
        """
        self.check(sessions)
        for session in sessions:
            session.check_idle()
        for session, number in zip(sessions, self._numbers, strict=True):
            session.failure = None
            session.ask(Restore(number), Restored)
        return self._state

    def release(self) -> None:
        """Have the server give it up; again, or after the end of the connection, this does nothing."""
        if self._released:
            return
        self._released = True
        for session, number in zip(self._sessions, self._numbers, strict=False):
            try:
                session.connection.check_open()
            except RemoteError:
                continue  # it has ended with its session
            session.ask(Release(number), Released)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
