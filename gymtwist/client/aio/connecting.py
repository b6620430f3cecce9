"""Connects to servers in an event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

from gymtwist.client.address import Address, Attempts, context_of, notice_loss, tune, unencrypted
from gymtwist.client.aio.async_connection import AsyncConnection
from gymtwist.client.aio.async_websocket import AsyncWebSocketConnection, Upgrade
from gymtwist.client.client_errors import TimedOut
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.protocol.framing import Framing


async def open_connection(options: ConnectOptions, attempts: Attempts, timeout: float | None = None) -> AsyncConnection:
    """Connect to a server.

    Args:
        options: How to reach the server.
        attempts: Decides when to try again while the server is not up.
        timeout: Seconds to connect; None for the timeout in the options.

    Raises:
        RemoteError: The server cannot be reached.
        ValueError: The certificates to trust cannot be read.
    """
    address = options.address
    context = context_of(address, options.tls)
    connected = await _open_when_up(address, timeout or options.connect_timeout, attempts)
    if options.make.resume is not None:
        notice_loss(connected)
    usual: dict[str, Any] = {"timeout": options.timeout, "is_plain": context is None}
    arguments = connected, str(address), Framing(options.spoken.value)
    if not address.websocket:
        connection = AsyncConnection(*arguments, **usual)
        await _begin(options, context, connected, connection, connection.close)
        return connection
    upgrade = Upgrade(address)
    await _begin(options, context, connected, upgrade, connected.close)
    try:
        received = await asyncio.wait_for(upgrade.accepted(), options.connect_timeout)
        connection = AsyncWebSocketConnection(received, *arguments, **usual)
        upgrade.transport.set_protocol(connection)
        connection.connection_made(upgrade.transport)
    except asyncio.TimeoutError as error:
        upgrade.transport.abort()
        raise TimedOut(f"no WebSocket with {address} in time; is the server reachable?") from error
    except BaseException:
        upgrade.transport.abort()
        raise
    return connection


async def _begin(
    options: ConnectOptions,
    context: Any,
    connected: socket.socket,
    protocol: asyncio.BaseProtocol,
    close: Callable[[], None],
) -> None:
    """Give a socket to a transport, with TLS if there is a context."""
    address, loop = options.address, asyncio.get_running_loop()
    # The empty name of a UNIX socket cannot be checked.
    secure: dict[str, Any] = {} if context is None else {"ssl": context, "server_hostname": address.host}
    create: Any = loop.create_unix_connection if address.path else loop.create_connection
    try:
        await asyncio.wait_for(create(lambda: protocol, sock=connected, **secure), options.connect_timeout)
    except asyncio.TimeoutError as error:
        close()
        raise unencrypted(address, TimeoutError("timed out")) from error
    except OSError as error:
        close()
        raise unencrypted(address, error) from error
    except BaseException:
        close()
        raise


async def _open_when_up(address: Address, timeout: float | None, attempts: Attempts) -> socket.socket:
    """Connect; try again while the server is not up."""
    while True:
        try:
            connected = await asyncio.wait_for(_open(address), timeout)
        except asyncio.TimeoutError:
            await asyncio.sleep(attempts.pause_after(TimeoutError("timed out")))
        except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
            await asyncio.sleep(attempts.pause_after(error))
        else:
            attempts.succeed()
            return connected


async def _open(address: Address) -> socket.socket:
    if address.path:
        return await _connected(socket.AF_UNIX, address.path)
    failure: OSError | None = None
    for family, *_, place in await _places(address):
        try:
            connected = await _connected(family, place)
        except OSError as error:
            failure = error
        else:
            tune(connected)
            return connected
    raise failure or OSError(f"{address.host} has no address")


async def _places(address: Address) -> list[tuple[Any, ...]]:
    """Return the socket addresses of a host, without using a thread if the host is given by its IP address."""
    try:
        numeric = socket.AI_NUMERICHOST
        return list(socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=numeric))
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return list(await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))


async def _connected(family: int, place: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, place)
    except OSError as error:
        connection.close()
        # The loop has its own error texts.
        raise OSError(error.errno, os.strerror(error.errno)) if error.errno else error from error
    except BaseException:
        connection.close()
        raise
    return connection
