"""A WebSocket connection, for servers that can be reached only through HTTP, for example behind a proxy."""

from __future__ import annotations

import contextlib
import os
import re
import socket

from gymtwist.client.address import Address
from gymtwist.client.client_errors import ConnectionLost, ProtocolBroken, RemoteError, TimedOut
from gymtwist.client.connection import Connection
from gymtwist.client.frame_connection import MAX_REPLY
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing, ProtocolName
from gymtwist.protocol.websocket import (
    OPCODES,
    Opcode,
    WebSocketReader,
    accept_key,
    close_payload,
    masked_frame,
    new_key,
)

#: The maximum size of the response to a WebSocket handshake, in bytes.
MAX_RESPONSE = 16 * 1024
_STATUS_LINE = b"HTTP/1.1 "
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")


class WebSocketConnection(Connection):
    """A WebSocket connection whose methods block.

    Args:
        address: The server's address.
        connect_timeout: Seconds to wait for the server to accept the handshake; None for no limit.
        connected: A connected socket.
        name: The server's name, for messages.
        framing: How messages are encoded.
        timeout: Seconds to wait for a reply; None for no limit.
        policy: Decides between polling and blocking.

    Raises:
        ConnectionLost: The server does not accept the handshake.
        TimedOut: The server did not respond in time.
    """

    _reader: WebSocketReader

    def __init__(
        self,
        address: Address,
        connect_timeout: float | None,
        connected: socket.socket,
        name: str,
        framing: Framing,
        timeout: float | None,
        policy: WaitPolicy,
    ) -> None:
        try:
            connected.settimeout(connect_timeout)
            self._received = _upgrade(connected, address)
        except BaseException:
            connected.close()
            raise
        self._opcode = OPCODES[ProtocolName(framing.value)]
        super().__init__(connected, name, framing, timeout, policy)

    def _new_reader(self, framing: Framing) -> WebSocketReader:
        return WebSocketReader(self._control, self._received, MAX_REPLY, opcode=self._opcode, is_client=True)

    def _put(self, data: bytes) -> None:
        super()._put(masked_frame(self._opcode, data, os.urandom(4)))

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        """Answer a ping, unless the server is not reading."""
        if opcode is Opcode.PING:
            with contextlib.suppress(OSError):
                self._send(masked_frame(Opcode.PONG, payload, os.urandom(4)), self._flags)

    def _lost(self, error: OSError) -> ConnectionLost:
        return super()._lost(closed_error(self._reader) or error)

    @property
    def has_received(self) -> bool:
        """True if there are received bytes that have not been taken."""
        return self._reader.found is not None or super().has_received

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection for good; see :meth:`Connection.close`."""
        if self._link is not None and self._reader.closed is None and reason is None:
            with contextlib.suppress(OSError):
                self._send(masked_frame(Opcode.CLOSE, close_payload(1000), os.urandom(4)), self._flags)
        super().close(reason)


def closed_error(reader: WebSocketReader) -> ConnectionResetError | None:
    """Return why the server has closed a connection; None if it has not sent a close frame."""
    if reader.closed is None:
        return None
    code, reason = reader.closed
    return ConnectionResetError(f"the server closed it: {reason or 'without a reason'} (code {code})")


def upgrade_request(address: Address, key: str) -> bytes:
    """Return a client's handshake request.

    Args:
        address: The server's address.
        key: The client's random key.
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        *(f"GET {address.websocket} HTTP/1.1", f"Host: {host}:{address.port}"),
        *("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def trailing_data(response: bytes, address: Address, key: str) -> bytes:
    """Check the response to a handshake request; return the bytes that follow it.

    Raises:
        ConnectionLost: The server does not accept the handshake.
        ProtocolBroken: It is not a response to a handshake.
    """
    head, end, rest = response.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    is_begun = _STATUS.match(response) or _STATUS_LINE.startswith(response[: len(_STATUS_LINE)])
    if is_begun and not end and len(response) < MAX_RESPONSE:
        raise ConnectionLost(f"no WebSocket with {address}: the server closed the connection")
    if not end or status is None:
        raise ProtocolBroken(f"{address} does not speak HTTP: it answers with {response[:80]!r}", code="protocol-error")
    if status[1] != b"101":
        body = rest[:300].decode("utf-8", "replace")
        raise ConnectionLost(f"no WebSocket with {address}: the server answers with {status[1].decode()} {body}")
    accepted = re.search(rb"(?im)^sec-websocket-accept:[ \t]*(\S+)", head)
    if accepted is None or accepted[1].decode("latin-1") != accept_key(key):
        raise ProtocolBroken(f"{address} accepts a WebSocket that nobody asked for", code="protocol-error")
    return rest


def _upgrade(connected: socket.socket, address: Address) -> bytes:
    """Perform the handshake; return the bytes that follow the server's response."""
    key = new_key()
    try:
        connected.sendall(upgrade_request(address, key))
        response = b""
        while b"\r\n\r\n" not in response and len(response) < MAX_RESPONSE:
            data = connected.recv(MAX_RESPONSE)
            if not data:
                break
            response += data
    except TimeoutError as error:
        raise TimedOut(f"no WebSocket with {address} in time; is the server reachable?") from error
    except OSError as error:
        raise ConnectionLost(f"no WebSocket with {address}: {error}") from error
    return trailing_data(response, address, key)
