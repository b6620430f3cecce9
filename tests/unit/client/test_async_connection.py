"""A connection of asyncio: what happens if one side sends and the other does not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gymtwist.client import ConnectionLost, ProtocolBroken, TimedOut
from gymtwist.client.aio.async_connection import AsyncConnection
from gymtwist.protocol.framing import Framing
from gymtwist_conformance.reference_client import INT32, frame
from tests.support.patience import PATIENCE

Test = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def pair(timeout: float | None = PATIENCE) -> AsyncIterator[tuple[AsyncConnection, socket.socket]]:
    """A connection, and the socket at its other end, which does not block."""
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    ours.setblocking(False)
    connection = AsyncConnection(ours, "the server", Framing.INT32, timeout, is_plain=True)
    await asyncio.get_running_loop().create_unix_connection(lambda: connection, sock=ours)
    with peer:
        yield connection, peer
    connection.close()
    await connection.wait_closed()


def run(test: Test) -> Test:
    """Run a test in an event loop."""

    def run_it() -> Any:
        return asyncio.run(asyncio.wait_for(test(), PATIENCE))

    run_it.__name__, run_it.__doc__ = test.__name__, test.__doc__
    return run_it


@run
async def test_frames_come_one_by_one() -> None:
    """However they are glued together or cut."""
    async with pair() as (connection, peer):
        whole = frame(INT32, b"one") + frame(INT32, b"two") + frame(INT32, b"x" * 300_000)
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, whole))
        for wanted in (b"one", b"two", b"x" * 300_000):
            await connection.wait()
            assert bytes(connection.receive()) == wanted
        await sending


@run
async def test_requests_that_the_server_does_not_read() -> None:
    """Who sends them waits, until it reads again; replies can come meanwhile."""
    async with pair() as (connection, peer):
        request = b"x" * (8 << 20)
        connection.send(request)
        draining = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        loop, count = asyncio.get_running_loop(), 0
        await loop.sock_sendall(peer, frame(INT32, b"y" * (4 << 20)))
        while count < len(request):
            count += len(await loop.sock_recv(peer, 1 << 20))
        await draining
        await connection.wait()
        assert len(connection.receive()) == 4 << 20


@run
async def test_a_server_that_never_reads() -> None:
    """Is not waited for longer than for a reply."""
    async with pair(0.1) as (connection, _):
        connection.send(b"x" * (8 << 20))
        with pytest.raises(TimedOut, match="within"):
            await connection.drain()
        with pytest.raises(TimedOut, match="connect again"):
            connection.send(b"x")


@run
async def test_replies_that_nobody_takes() -> None:
    """The server has to wait after a few megabytes, and all of them come in the end."""
    async with pair() as (connection, peer):
        count = 64
        connection.due = count
        whole = frame(INT32, b"z" * (1 << 20)) * count
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(peer, whole))
        while not connection._is_paused:
            await asyncio.sleep(0)
        assert connection.has_received
        assert not sending.done()
        for _ in range(count):
            await connection.wait()
            assert len(connection.receive()) == 1 << 20
        await sending


@run
async def test_a_reply_without_a_request() -> None:
    """Closes the connection at the next request."""
    async with pair() as (connection, peer):
        await asyncio.get_running_loop().sock_sendall(peer, frame(INT32, b"unasked"))
        while not connection.has_received:
            await asyncio.sleep(0)
        with pytest.raises(ProtocolBroken, match="a reply without a request"):
            connection.send(b"x")


@run
async def test_the_end_of_a_connection_is_noticed_after_what_came_before() -> None:
    """The last reply can still be received."""
    async with pair() as (connection, peer):
        connection.send(b"x")
        await asyncio.get_running_loop().sock_sendall(peer, frame(INT32, b"last"))
        peer.close()
        await connection.wait()
        assert bytes(connection.receive()) == b"last"
        connection.send(b"x")
        await connection.wait()
        with pytest.raises(ConnectionLost, match="has ended"):
            connection.receive()
