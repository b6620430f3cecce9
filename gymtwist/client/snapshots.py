"""Snapshots of remote environments, which are kept by servers."""

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
    """The client's part of a snapshot, shared by the blocking and the asyncio client.

    Args:
        sessions: The sessions of the environment.
        state: The client's own state at the time of the snapshot.

    Attributes:
        tickets: The tickets by which sessions branch off, one for each process of the environment. Keep them secret.
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
        """Check that the server holds the snapshot, and that it is one of these sessions.

        Raises:
            RequestRefused: The snapshot was released, or belongs to other sessions.
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
        """Return the options for an environment that continues from this snapshot.

        Args:
            options: The options of the original environment.

        Raises:
            RequestRefused: The snapshot was released.
        """
        self.check()
        return dataclasses.replace(options, branches=tuple(self.tickets))

    @property
    def state(self) -> Any:
        """The client's own state at the time of the snapshot."""
        return self._state

    def __repr__(self) -> str:
        state = "released" if self._released else f"number {', '.join(map(str, self._numbers))}"
        return f"<{type(self).__name__} {state}>"


class Snapshot(SnapshotReference):
    """A snapshot of a remote environment; ``env.snapshot()`` takes it.

    The server keeps it until it is released, for example at the end of a ``with`` block, or the environment is closed.

    Attributes:
        tickets: The tickets by which sessions branch off, one for each process of the environment. Keep them secret.
    """

    def __init__(self, sessions: Sequence[Session], state: Any) -> None:
        """Take a snapshot.

        Args:
            sessions: The sessions of the environment.
            state: The client's own state.

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
        """See :meth:`SnapshotReference.branched`; the environments' descriptions are known already."""
        described = tuple(each.made for each in self._sessions)
        return dataclasses.replace(super().branched(options), described=described)

    def restore(self, sessions: Sequence[Session]) -> Any:
        """Have the server return to this snapshot; return the client's own state.

        Args:
            sessions: The present sessions of the environment.

        Raises:
            RemoteError: The server refuses, or the snapshot belongs to another environment.
        """
        self.check(sessions)
        for session in sessions:
            session.check_idle()
        for session, number in zip(sessions, self._numbers, strict=True):
            session.failure = None
            session.ask(Restore(number), Restored)
        return self._state

    def release(self) -> None:
        """Have the server release the snapshot; if it was released or the connection has ended, do nothing."""
        if self._released:
            return
        self._released = True
        for session, number in zip(self._sessions, self._numbers, strict=False):
            try:
                session.connection.check_open()
            except RemoteError:
                continue  # the snapshot has ended with its session
            session.ask(Release(number), Released)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
