"""A session whose requests are coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from gymtwist.client.aio.async_connection import AsyncConnection
from gymtwist.client.aio.async_resumable_connection import AsyncResumableConnection
from gymtwist.client.aio.connecting import open_connection
from gymtwist.client.client_errors import RemoteError, RequestRefused
from gymtwist.client.client_session import Outlive, Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.message_values import MessageValues, Steps
from gymtwist.client.pending_makes import Makes
from gymtwist.client.progress import Report
from gymtwist.client.remote_method import explained
from gymtwist.client.session_requests import Stepped
from gymtwist.protocol import all_messages, messages

_Reply = TypeVar("_Reply", bound=messages.Message)


class AsyncSession:
    """An asyncio session.

    It sends a request, lets the event loop run until the reply has come, and then receives it without waiting.

    A cancelled coroutine leaves its reply to be discarded before the next one, like an interrupted blocking client.

    Args:
        session: A session with an asyncio connection.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def connection(self) -> AsyncConnection:
        """The connection."""
        connection = self.session.connection
        assert isinstance(connection, AsyncConnection)
        return connection

    @classmethod
    async def make(
        cls,
        options: ConnectOptions,
        num_envs: int | None = None,
        first: int = 0,
        branch: str = "",
        *,
        is_restart: bool = False,
    ) -> AsyncSession:
        """Connect and wait for the environment; try again while the server is not up or is full.

        Args:
            options: How to reach the server, and what to make there.
            num_envs: The number of environments, if there are several.
            first: The index of the session's first environment among those of all sessions.
            branch: The ticket of the snapshot to branch off; empty for a new environment.
            is_restart: Whether the server was up before.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """

        def start(connection: AsyncConnection) -> Session:
            return options.start_session(connection, num_envs, first, branch, _outliving(options))

        return await cls.begin(options, start, is_restart=is_restart)

    @classmethod
    async def begin(
        cls, options: ConnectOptions, start: Callable[[AsyncConnection], Session], *, is_restart: bool = False
    ) -> AsyncSession:
        """Connect and wait for an environment of any kind; try again while the server is not up or is full.

        Args:
            options: How to reach the server.
            start: Asks for the environment.
            is_restart: Whether the server was up before.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """
        attempts = options.attempts(is_restart=is_restart)
        while True:
            try:
                session = cls(start(await open_connection(options, attempts)))
                await session._finish(options.progress)
                return session
            except RemoteError as error:
                await asyncio.sleep(attempts.pause_after(error))

    async def _finish(self, report: Report | None) -> None:
        """Wait for the make reply.

        Args:
            report: Called at the start, whenever a place in the queue has come, and every second.

        Raises:
            RemoteError: The server refused the request; the connection is closed.
        """
        makes = Makes([self.session], report)
        try:
            makes.tell()
            await self.connection.wait(makes.tell)
            while not self.session.advance():
                makes.tell()
                await self.connection.wait(makes.tell)
        except BaseException as error:
            makes.give_up(error)
            raise
        makes.finish()

    @property
    def values(self) -> MessageValues:
        """Converts the environment's values."""
        return self.session.values

    async def replied(self, others: int = 1) -> None:
        """Wait for a reply, discarding earlier replies to cancelled requests.

        If the connection has ended, the wait ends at once, and receiving the reply raises the reason.

        Args:
            others: How many replies are due besides those to :meth:`send`.
        """
        connection = self.connection
        await connection.wait()
        while connection.due > self.session.outstanding + others:
            self.session.discard()
            await connection.wait()

    async def settle(self) -> None:
        """Wait for the replies to cancelled requests, and discard them.

        Raises:
            RemoteError: A reply does not come.
        """
        connection = self.connection
        connection.check_free()
        while connection.due > self.session.outstanding:
            await connection.wait()
            self.session.discard()

    async def ask(self, request: all_messages.Request, kind: type[_Reply]) -> _Reply:
        """Send a request and wait for its reply.

        Raises:
            RemoteError: The server replied with an error, or did not reply.
        """
        self.connection.check_free()
        self.session.send(request)
        await self.replied()
        return self.session.receive(kind)

    async def ask_for_attribute(self, request: all_messages.Request, kind: type[_Reply]) -> _Reply:
        """Send a request for an attribute and wait for its reply.

        Raises:
            AttributeUnreachable: The attribute cannot be reached, or the server does not know such requests.
            RemoteError: The server replied with another error, or did not reply.
        """
        try:
            return await self.ask(request, kind)
        except RequestRefused as error:
            raise explained(error) from None

    async def step(self, action: Any, read: Callable[[Any], Any]) -> Stepped:
        """Take a step; see :meth:`~gymtwist.client.session_requests.SessionRequests.step`."""
        session = self.session
        self.connection.check_free()
        session.check_idle()
        session.send_step(session.values.written(action))
        await self.replied()
        return session.receive_step(read)

    async def send(self, action: Any) -> None:
        """Request a step without waiting for its reply.

        Raises:
            RemoteError: The action is invalid, or the connection is closed.
        """
        session = self.session
        session.send_step(session.values.written(action))
        session.outstanding += 1
        await self.connection.drain()

    async def recv(self, read: Callable[[Any], Any]) -> Stepped:
        """Wait for the first step that was sent but not received; if this is cancelled, the next call waits for it.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        session = self.session
        self.connection.check_free()
        if session.outstanding:
            await self.replied(0)
        session.take()
        return session.receive_step(read)

    async def step_many(self, actions: Any, count: int | None, observations: messages.ObservationsWanted) -> Steps:
        """Take several steps in one round trip.

        Raises:
            RemoteError: The steps failed.
        """
        self.connection.check_free()
        self.session.send(self.values.many(actions, count, observations))
        await self.replied()
        return self.session.receive_many(observations)

    async def close(self) -> None:
        """Close the connection; closing it again does nothing."""
        await self.connection.end()


def _outliving(options: ConnectOptions) -> Outlive | None:
    """Return what makes a connection that outlives the first one; None if the session ends with its connection."""
    if options.make.resume is None:
        return None
    reopen = partial(open_connection, options)
    return partial(AsyncResumableConnection, reopening=options.reopening(reopen))
