"""An asyncio WebSocket connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import Any

from gymtwist.client.address import Address
from gymtwist.client.aio.async_connection import AsyncConnection
from gymtwist.client.client_errors import ConnectionLost, RemoteError
from gymtwist.client.frame_connection import MAX_REPLY
from gymtwist.client.websocket_connection import MAX_RESPONSE, closed_error, trailing_data, upgrade_request
from gymtwist.protocol.framing import Framing, ProtocolName
from gymtwist.protocol.websocket import (
    OPCODES,
    Opcode,
    WebSocketReader,
    close_payload,
    masked_frame,
    new_key,
)


class Upgrade(asyncio.Protocol):
    """Performs the WebSocket handshake.

    Args:
        address: The server's address.

    Attributes:
        transport: The transport, once connected.
    """

    transport: Any

    def __init__(self, address: Address) -> None:
        self._address, self._key = address, new_key()
        self._response = b""
        self._responded = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake request."""
        self.transport = transport
        self.transport.write(upgrade_request(self._address, self._key))

    def data_received(self, data: bytes) -> None:
        """Collect the response."""
        self._response += data
        if b"\r\n\r\n" in self._response or len(self._response) > MAX_RESPONSE:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait for the response."""
        self._end()

    def _end(self) -> None:
        if not self._responded.done():
            self._responded.set_result(None)

    async def accepted(self) -> bytes:
        """Wait for the response; return the bytes that follow it.

        Raises:
            RemoteError: The server does not accept the handshake.
        """
        await self._responded
        return trailing_data(self._response, self._address, self._key)


class AsyncWebSocketConnection(AsyncConnection):
    """A WebSocket connection in an event loop.

    Args:
        received: The bytes that follow the server's handshake response.
        connected: A connected socket, whose handshake the server has accepted.
        name: The server's name, for messages.
        framing: How messages are encoded.
        timeout: Seconds to wait for a reply; None for no limit.
        is_plain: False with TLS.
    """

    _reader: WebSocketReader

    def __init__(
        self,
        received: bytes,
        connected: socket.socket,
        name: str,
        framing: Framing,
        timeout: float | None,
        *,
        is_plain: bool,
    ) -> None:
        self._received = received
        self._opcode = OPCODES[ProtocolName(framing.value)]
        super().__init__(connected, name, framing, timeout, is_plain=is_plain)

    def _new_reader(self, framing: Framing) -> WebSocketReader:
        return WebSocketReader(self._control, self._received, MAX_REPLY, opcode=self._opcode, is_client=True)

    def send(self, data: bytes) -> None:
        """Send a request; see :class:`~gymtwist.client.frame_connection.FrameConnection`."""
        super().send(masked_frame(self._opcode, data, os.urandom(4)))

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes, and answer pings even if nobody waits for a reply."""
        super().buffer_updated(nbytes)
        self._can_receive()

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING and self._end is None:
            self._own_link.transport.write(masked_frame(Opcode.PONG, payload, os.urandom(4)))

    def _lost(self, error: OSError) -> ConnectionLost:
        return super()._lost(closed_error(self._reader) or error)

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection; a coroutine that waits for a reply gets the reason."""
        if self._link is not None and self._reader.closed is None and reason is None and self._end is None:
            with contextlib.suppress(OSError):
                self._own_link.transport.write(masked_frame(Opcode.CLOSE, close_payload(1000), os.urandom(4)))
        super().close(reason)
