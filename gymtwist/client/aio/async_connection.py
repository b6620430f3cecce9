"""An asyncio connection, which never blocks: a coroutine waits until a reply can be received."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from gymtwist.client.client_errors import ConnectionLost, RemoteError, RequestRefused
from gymtwist.client.frame_connection import MAX_REPLY, FrameConnection
from gymtwist.client.progress import INTERVAL
from gymtwist.errors import ProtocolError
from gymtwist.protocol.framing import Framing

#: How many bytes are received while no coroutine waits for them; after that, the server has to wait.
_MOST_UNAWAITED = 1 << 20


class _Link:
    """A socket, and the transport that moves its bytes.

    Args:
        connected: The socket.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket, self._process = connected, os.getpid()
        self.transport: Any = None

    def close(self) -> None:
        """Close the socket at once."""
        if self.transport is None or os.getpid() != self._process:
            # A forked process must not touch the selector, which it shares with its parent.
            self._socket.close()
        else:
            self.transport.abort()


class AsyncConnection(FrameConnection, asyncio.BufferedProtocol):
    """A connection in an event loop.

    :meth:`send` sends a request; :meth:`wait` then waits until :meth:`receive` has something to return.
    :class:`~gymtwist.client.client_session.Session` can thus use it like a blocking connection. A cancelled coroutine
    has never sent or received only a part of a frame.

    Args:
        connected: A connected socket; this object is the protocol of its transport.
        name: The server's name, for messages.
        framing: How frames are delimited.
        timeout: Seconds to wait for a reply; None for no limit.
        is_plain: False with TLS.
    """

    def __init__(
        self, connected: socket.socket, name: str, framing: Framing, timeout: float | None, *, is_plain: bool
    ) -> None:
        self._own_link = _Link(connected)
        super().__init__(self._own_link, connected.fileno(), name, framing, timeout, is_plain=is_plain)
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        #: Why no more bytes come; None while the connection is open.
        self._end: OSError | None = None
        self._waiter: asyncio.Future[None] | None = None
        #: What the waiter waits for.
        self._is_over: Callable[[], bool] = self._can_receive
        #: Whether the server has to wait, because nobody takes what it sends.
        self._is_paused = False
        #: Whether the transport holds too many bytes that the server has not taken.
        self._is_full = False

    # The protocol of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._own_link.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory to receive the next bytes into."""
        return self._reader.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes received into the memory."""
        self._reader.received(nbytes)
        if self._waiter is not None:
            self._wake()
        else:
            start, end = self._reader.pending
            if end - start > _MOST_UNAWAITED and not self._is_paused:
                self._is_paused = True
                self._own_link.transport.pause_reading()

    def pause_writing(self) -> None:
        """Record that the server does not take what is sent."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Record that the server takes it again."""
        self._is_full = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that no more bytes come."""
        self._end = exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection")
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    # The interface for a session

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection; a coroutine that waits for a reply gets the reason."""
        super().close(reason)
        self._wake()

    async def end(self) -> None:
        """Close the connection, and wait until it is closed."""
        self.close()
        await self.wait_closed()

    def close_from_anywhere(self) -> None:
        """Close the connection, from any thread.

        Raises:
            RuntimeError: The event loop is closed.
        """
        if self._link is not None:
            self.call_soon(self.close)

    def call_soon(self, act: Callable[[], None]) -> None:
        """Call a function in the event loop, from any thread.

        Raises:
            RuntimeError: The event loop is closed.
        """
        self._loop.call_soon_threadsafe(act)

    def loss(self) -> ConnectionLost | None:
        """Close a connection that was lost and has no more replies, and return its error; otherwise return None."""
        if self._link is None:
            return self._reason if isinstance(self._reason, ConnectionLost) else None
        if self._end is None:
            return None
        with contextlib.suppress(ProtocolError):  # which receive() explains
            return None if self._reader.has_frame() else self._lost(self._end)
        return None

    def send(self, data: bytes) -> None:
        """Send a request; see :class:`~gymtwist.client.frame_connection.FrameConnection`."""
        if self._link is None or (not self.due and self._reader.start != self._reader.end):
            self._check_unasked()
        self.due += 1
        if self._end is None:
            self._own_link.transport.write(data)

    def receive(self) -> bytes | memoryview:
        """Return the next payload, which :meth:`wait` has waited for."""
        self.check_open()
        try:
            frame = self._reader.next_frame()
        except ProtocolError as error:
            raise self._broken(error) from error
        if frame is None:
            end = self._end or BlockingIOError("no reply was waited for")
            raise self._lost(end) from end
        self.due -= 1
        return frame

    def is_ready(self) -> bool:
        """Return whether :meth:`receive` has something to return, or to raise."""
        return self._can_receive()

    # Waiting

    def check_free(self) -> None:
        """Check that no coroutine is waiting for a reply.

        Raises:
            RequestRefused: A coroutine is waiting.
        """
        if self.is_awaited:
            raise self.occupied()

    @property
    def is_awaited(self) -> bool:
        """Whether a coroutine is waiting for a reply."""
        return self._waiter is not None

    def occupied(self) -> RequestRefused:
        """Return the error for a second waiting coroutine."""
        return RequestRefused(
            "another coroutine waits for a reply of this environment: await it first, or use an environment of "
            "your own",
            code="replies-outstanding",
        )

    async def wait(self, tick: Callable[[], None] | None = None) -> None:
        """Wait until :meth:`receive` has something to return, or to raise.

        Args:
            tick: Called periodically while nothing comes; an exception that it raises ends the wait.

        Raises:
            TimedOut: No reply came in time, and the connection is closed.
        """
        await self._wait_until(self._can_receive, tick)

    async def drain(self) -> None:
        """Wait until the server has taken most of what was sent.

        Raises:
            TimedOut: It has not done so in time, and the connection is closed.
            ProtocolBroken: It sends without limit instead.
        """
        if self._is_full:
            await self._wait_until(self._can_send)
            self._check_pending()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed, which needs no message from the server."""
        await asyncio.shield(self._gone)

    async def _wait_until(self, is_over: Callable[[], bool], tick: Callable[[], None] | None = None) -> None:
        if is_over():
            return
        self.check_free()
        self._is_over, self._waiter = is_over, self._loop.create_future()
        if self._is_paused:
            self._is_paused = False
            self._own_link.transport.resume_reading()
        timer = None if self.timeout is None else self._loop.call_later(self.timeout, self._wake_anyway)
        try:
            if tick is not None:
                while not (await asyncio.wait({self._waiter}, timeout=INTERVAL))[0]:
                    tick()
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
        if not is_over():
            raise self.timed_out()

    def _can_receive(self) -> bool:
        if self._end is not None or self._link is None:
            return True
        try:
            return self._reader.has_frame()
        except ProtocolError:  # which receive() explains
            return True

    def _can_send(self) -> bool:
        start, end = self._reader.pending
        return not self._is_full or self._end is not None or self._link is None or end - start > MAX_REPLY

    def _wake(self) -> None:
        if self._is_over():
            self._wake_anyway()

    def _wake_anyway(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
