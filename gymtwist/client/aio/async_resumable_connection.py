"""An asyncio connection that reconnects to continue its session."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from gymtwist.client.address import Attempts, is_not_up
from gymtwist.client.aio.async_connection import AsyncConnection
from gymtwist.client.client_errors import ConnectionLost, RemoteError
from gymtwist.client.resumable_connection import CLOSE_PAUSE, CLOSE_TIMEOUT, OutlivingConnection


class AsyncResumableConnection(OutlivingConnection, AsyncConnection):
    """A connection over one connection after another, in an event loop.

    The coroutine that waits for a reply is the one that reconnects.
    """

    _inner: AsyncConnection
    #: Whether a coroutine is reconnecting.
    _is_resuming = False

    def send(self, data: bytes) -> None:
        """Send a request, and keep it until its reply has come; see :meth:`AsyncConnection.send`.

        Raises:
            RequestRefused: The server could not keep as many replies as would be due.
        """
        self.check_open()
        self._keep(data)
        if self._inner.loss() is not None:
            self._inner.due += 1  # the next connection sends it
            return
        try:
            self._inner.send(data)
        except RemoteError:
            self._forget_last()
            raise

    def receive(self) -> bytes | memoryview:
        """Return the next payload, which :meth:`wait` has waited for."""
        return self._received(self._inner.receive())

    def check_free(self) -> None:
        """See :meth:`AsyncConnection.check_free`."""
        if self._is_resuming:
            raise self.occupied()
        self._inner.check_free()

    async def wait(self, tick: Callable[[], None] | None = None) -> None:
        """Wait until :meth:`receive` has something to return or to raise, reconnecting if necessary.

        Args:
            tick: See :meth:`AsyncConnection.wait`.

        Raises:
            ConnectionLost: The session cannot continue.
            TimedOut: No reply came in time, and the connection is closed.
        """
        while True:
            self.check_free()
            await self._inner.wait(tick)
            lost = self._inner.loss()
            if lost is None or self._is_final:
                return
            await self._resume(lost)

    async def drain(self) -> None:
        """See :meth:`AsyncConnection.drain`."""
        await self._inner.drain()

    async def wait_closed(self) -> None:
        """See :meth:`AsyncConnection.wait_closed`."""
        await self._inner.wait_closed()

    async def _resume(self, lost: ConnectionLost) -> None:
        """Reconnect and continue the session.

        Raises:
            ConnectionLost: That failed.
        """
        since, attempts = time.monotonic(), self._attempts
        self._is_resuming = True
        try:
            if attempts is None:
                attempts = self._begin_attempts(lost)
            else:
                await asyncio.sleep(attempts.pause_after(lost))
            while True:
                try:
                    found = await self._go_on(await self._reopening.open(attempts, None))
                    break
                except RemoteError as error:
                    if self._is_final:
                        raise
                    await asyncio.sleep(attempts.pause_after(error))
        except RemoteError as error:
            raise self._given_up(lost, error) from error
        finally:
            self._is_resuming = False
        self._tell_success(since, *found)

    async def _go_on(self, connection: AsyncConnection, *, is_closing: bool = False) -> tuple[int, int]:
        """Continue over a new connection.

        Args:
            connection: The connection.
            is_closing: Whether the purpose is to end the session.

        Raises:
            RemoteError: The new connection is lost, too, the session cannot continue, or another coroutine ends it.
        """
        try:
            connection.send(self._resume_request())
            await connection.wait()
            if self._is_final and not is_closing:
                raise ConnectionLost("the environment is being closed")
            return self._use(connection, connection.receive())
        except BaseException as error:
            connection.close(error if isinstance(error, RemoteError) else ConnectionLost("it was given up"))
            raise

    async def end(self) -> None:
        """Close the connection and its session for good.

        The server has a few seconds to confirm that the session has ended.
        """
        if not self._is_final:
            self._is_final = True
            try:
                with contextlib.suppress(RemoteError, asyncio.TimeoutError):
                    await asyncio.wait_for(self._end_session(), CLOSE_TIMEOUT)
            finally:
                self._inner.close()
        await self.wait_closed()

    async def _end_session(self) -> None:
        """Have the server end the session, over a new connection if this one is lost.

        Raises:
            RemoteError: The session has ended, or cannot be reached.
        """
        frame = self._close_request()
        if self._inner.is_awaited:
            self._inner.close()  # this tells the waiting coroutine
        with contextlib.suppress(RemoteError):
            self._inner.send(frame)
        while True:
            try:
                while self._inner.due:
                    await self._inner.wait()
                    self._inner.receive()
                return
            except RemoteError:
                pass
            try:
                connection = await self._reopening.open(Attempts(self._reopening.address, 0.0), None)
                await self._go_on(connection, is_closing=True)
            except ConnectionLost as error:
                if is_not_up(error.__cause__):  # a server that is not up has no session
                    raise
                await asyncio.sleep(CLOSE_PAUSE)

    def close_from_anywhere(self) -> None:
        """Close the connection from any thread.

        The session is ended, too, if that is possible without waiting, and nobody has its resume token.

        Raises:
            RuntimeError: The event loop is closed.
        """
        if not self._is_final:
            self._inner.call_soon(self._close_forgotten)

    def _close_forgotten(self) -> None:
        self._is_final = True
        if not self.leaves_session:
            with contextlib.suppress(RemoteError):
                self._inner.send(self._close_request())
        self._inner.close()
