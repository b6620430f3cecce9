"""Snapshots of environments whose methods are coroutines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.client_errors import RemoteError
from gymtwist.client.snapshots import SnapshotReference
from gymtwist.protocol.snapshot_messages import Release, Released, Restore, Restored, SnapshotTaken
from gymtwist.protocol.snapshot_messages import Snapshot as SnapshotRequest


class Snapshot(SnapshotReference):
    """A remote environment as it was at one moment; ``await env.snapshot()`` makes it.

    The server keeps it until it is released, also at the end of an ``async with`` block, or until the environment is
    closed.

    Attributes:
        tickets: What a session branches off by, one for each process of the environment. Keep them secret.
    """

    _sessions: list[AsyncSession]

    @classmethod
    async def take(cls, sessions: Sequence[AsyncSession], state: Any) -> Snapshot:
        """Take a snapshot.

        Args:
            sessions: The sessions of the environment.
            state: What the client has to know when it goes on from there.

        Raises:
            RemoteError: The server refuses.
        """
        here = cls(sessions, state)
        for session in sessions:
            session.connection.check_free()
            session.session.check_idle()
        try:
            for session in sessions:
                here._add(await session.ask(SnapshotRequest(), SnapshotTaken))
        except RemoteError:
            with contextlib.suppress(RemoteError):
                await here.release()
            raise
        return here

    async def restore(self, sessions: Sequence[AsyncSession]) -> Any:
        """Have the server go on from here; return the state of the client.

        Args:
            sessions: The sessions of the environment now.

        Raises:
            RemoteError: The server refuses, or the snapshot is of another environment.
        """
        self.check(sessions)
        for session in sessions:
            session.connection.check_free()
            session.session.check_idle()
        for session, number in zip(sessions, self._numbers, strict=True):
            session.session.failure = None
            await session.ask(Restore(number), Restored)
        return self._state

    async def release(self) -> None:
        """Have the server give it up; again, or after the end of the connection, this does nothing."""
        if self._released:
            return
        self._released = True
        for session, number in zip(self._sessions, self._numbers, strict=False):
            try:
                session.connection.check_open()
            except RemoteError:
                continue  # it has ended with its session
            await session.ask(Release(number), Released)

    async def __aenter__(self) -> Snapshot:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.release()
