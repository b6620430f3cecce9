"""An asyncio environment whose failures end episodes."""

from __future__ import annotations

import contextlib
from typing import Any

from gymtwist.client.aio.async_env import RemoteEnv
from gymtwist.client.aio.async_session import AsyncSession
from gymtwist.client.client_errors import Closed, RemoteError
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import Steps
from gymtwist.client.truncating_env import ATTEMPTS, LOSSES, TruncatedEpisodes, log_repeated, refused_many
from gymtwist.client.truncating_group import check_same_spaces_again, ends_episodes
from gymtwist.protocol import messages


class TruncatingEnv(TruncatedEpisodes, RemoteEnv):
    """An environment that continues after a failure; see :class:`gymtwist.client.truncating_env.TruncatingEnv`.

    Args:
        options: How the server was reached, and what was made there.
        session: A session that has received its make reply.
    """

    def __init__(self, options: ConnectOptions, session: AsyncSession) -> None:
        super().__init__(options, session)
        self._how = options.without_origin()

    async def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, over a new connection if the last one is lost; see :meth:`RemoteEnv.reset`.

        Raises:
            RemoteError: The reset failed, or the server is not up again within ``connect_timeout``.
        """
        for left in reversed(range(ATTEMPTS)):
            await self._connect_again()
            while self._has_failed and self._session.session.outstanding:
                with contextlib.suppress(RemoteError):
                    await super().recv()
            try:
                begun = await super().reset(seed=seed, options=options)
            except LOSSES as error:
                if not left:
                    raise
                log_repeated(error)
            else:
                self._begin(begun[0])
                return begun
        raise AssertionError("unreachable")

    async def _connect_again(self) -> None:
        try:
            self._session.connection.check_open()
        except Closed:
            raise
        except RemoteError:
            session = await AsyncSession.make(self._how, is_restart=True)
            check_same_spaces_again(session.session, self._session.session)
            self._session, self._sessions = session, [session]

    async def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; see :meth:`RemoteEnv.step`."""
        self._check_going()
        try:
            stepped = await super().step(action)
        except RemoteError as error:
            return self._truncated(error, self._session.session)
        self._last = stepped[0]
        return stepped

    async def send(self, action: Any) -> None:
        """Request a step without waiting for its reply; see :meth:`RemoteEnv.send`."""
        self._check_going()
        try:
            await super().send(action)
        except RemoteError as error:
            if not ends_episodes(error):
                raise
            self._unsent = error

    async def recv(self) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Wait for the first step that was sent but not received; see :meth:`RemoteEnv.recv`."""
        self._check_going()
        try:
            if self._unsent is not None and not self._session.session.outstanding:
                raise self._unsent
            stepped = await super().recv()
        except RemoteError as error:
            return self._truncated(error, self._session.session)
        self._last = stepped[0]
        return stepped

    async def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Refuse several steps, in which the time of a failure would be unknown."""
        raise refused_many()
