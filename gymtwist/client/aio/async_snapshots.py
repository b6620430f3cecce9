"""Snapshots of asyncio environments."""

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
    """A snapshot of a remote environment; ``await env.snapshot()`` takes it.

    The server keeps it until it is released, for example at the end of an ``async with`` block, or the environment is
    closed.

    Attributes:
        tickets: The tickets by which sessions branch off, one for each process of the environment. Keep them secret.
    """

    _sessions: list[AsyncSession]

    @classmethod
    async def take(cls, sessions: Sequence[AsyncSession], state: Any) -> Snapshot:
        """Take a snapshot.

        Args:
            sessions: The sessions of the environment.
            state: The client's own state.

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
        """Have the server return to this snapshot; return the client's own state.

        Args:
            sessions: The present sessions of the environment.

        Raises:
            RemoteError: The server refuses, or the snapshot belongs to another environment.
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
        """Have the server release the snapshot; if it was released or the connection has ended, do nothing."""
        if self._released:
            return
        self._released = True
        for session, number in zip(self._sessions, self._numbers, strict=False):
            try:
                session.connection.check_open()
            except RemoteError:
                continue  # the snapshot has ended with its session
            await session.ask(Release(number), Released)

    async def __aenter__(self) -> Snapshot:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.release()
