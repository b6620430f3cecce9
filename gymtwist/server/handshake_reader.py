"""Reads the handshake of a connection; in the framed protocol, a client may try again after a refusal."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable

import msgspec

from gymtwist.errors import GymtwistError, HandshakeError, RequestError
from gymtwist.protocol.handshake import (
    FRAMED,
    MAX_HANDSHAKE,
    MAX_MAKE,
    Handshake,
    ProtocolName,
    after_refusal,
    error_reply,
    read_handshake,
    read_message,
    recognise,
)
from gymtwist.protocol.http_head import Head, read_head
from gymtwist.protocol.websocket import OPCODES, CloseCode, Opcode, WebSocketError, WebSocketReader, pong

#: Refused handshakes per connection that do not close it; more are an attack or an endless loop.
MOST_REFUSALS = 16
#: Initial buffer size for WebSocket messages, in bytes: hundreds of connections may never send one.
_FEW = 1024
#: The protocol for each type of WebSocket message.
_PROTOCOLS = {opcode: protocol for protocol, opcode in OPCODES.items()}


class Refusal(msgspec.Struct, frozen=True):
    """An invalid handshake, or one that asks for something not allowed.

    Attributes:
        error: The reason.
        reply: The error in the client's protocol.
        is_final: Whether to close the connection, because the client cannot try again.
    """

    error: GymtwistError
    reply: bytes
    is_final: bool


class Left(msgspec.Struct, frozen=True):
    """The client has closed a WebSocket.

    Attributes:
        code: The close code that it sent.
    """

    code: int


class Http(enum.Enum):
    """Whether a port speaks HTTP."""

    ALSO = enum.auto()
    ONLY = enum.auto()
    NEVER = enum.auto()


class HandshakeReader:
    """Reads a connection's handshake; does no I/O.

    Args:
        check: Checks whether the client may have what its handshake asks for; raises a ``GymtwistError`` if not.
        answer: Called with the replies to WebSocket control frames.

    Attributes:
        received: Bytes that were received but not consumed, including data after the handshake.
        http: Whether the port speaks HTTP.
    """

    def __init__(self, check: Callable[[Handshake], None], answer: Callable[[bytes], None]) -> None:
        self.received = bytearray()
        self.http = Http.ALSO
        self._check_client = check
        self._answer = answer
        self._websocket: WebSocketReader | None = None
        self._answered = 0
        self._refusals = 0
        self._told: set[str] = set()
        self._protocol: ProtocolName | None = None

    def next(self) -> Handshake | Refusal | Head | Left | None:
        """Consume the handshake, and return it or its refusal; None if it is incomplete.

        The head of an HTTP request is not consumed.
        """
        if self._websocket is not None:
            return self._next_message(self._websocket)
        try:
            if self._is_http():
                return read_head(self.received)
        except GymtwistError as error:
            return self._refuse(error)
        if self._protocol is ProtocolName.NETSTRING:  # a second handshake, perhaps after a line end
            del self.received[: len(self.received) - len(self.received.lstrip(b"\r\n"))]
        try:
            handshake = read_handshake(self.received, self._protocol)
            if handshake is None:
                if len(self.received) > MAX_HANDSHAKE:
                    raise HandshakeError(f"the handshake has more than {MAX_HANDSHAKE} bytes")
                return None
            self._check(handshake)
        except GymtwistError as error:
            return self._refuse(error)
        del self.received[: handshake.size]
        return handshake

    def _check(self, handshake: Handshake) -> None:
        try:
            self._check_client(handshake)
        except GymtwistError as error:
            error.warnings = handshake.warnings
            raise

    def _is_http(self) -> bool:
        """Return whether the connection speaks HTTP.

        Raises:
            HandshakeError: It does but must not, or must but does not.
        """
        protocol = self.protocol()
        if protocol is ProtocolName.HTTP:
            if self.http is Http.NEVER:
                raise HandshakeError(
                    "this port does not speak HTTP; use another one, or start the server without --no-http"
                )
            return True
        if self.http is Http.ONLY and protocol is not None:
            raise HandshakeError("this port speaks HTTP and WebSocket alone; use another one")
        return False

    def speaks(self, protocol: ProtocolName) -> None:
        """Set the protocol of a connection whose handshake another server has read."""
        self._protocol = protocol
        if protocol in _PROTOCOLS.values():
            self._websocket = WebSocketReader(self._control, limit=MAX_MAKE, size=_FEW)

    # WebSocket

    @property
    def speaks_websocket(self) -> bool:
        """Whether the connection has been upgraded to WebSocket."""
        return self._websocket is not None

    def upgrade(self, head: Head) -> None:
        """Read WebSocket messages from now on.

        Args:
            head: The request for the upgrade.
        """
        del self.received[: head.size]
        self._protocol = None
        self._websocket = WebSocketReader(self._control, limit=MAX_MAKE, size=_FEW)

    def _next_message(self, reader: WebSocketReader) -> Handshake | Refusal | Left | None:
        reader.add(self.received)
        self.received.clear()
        try:
            payload = reader.next_frame()
            if payload is None:
                return None if reader.closed is None else Left(reader.closed[0])
            assert reader.opcode is not None
            self._protocol = _PROTOCOLS[reader.opcode]
            message = bytes(payload)
            handshake = read_message(self._protocol, message, message)
            self._check(handshake)
        except GymtwistError as error:
            return self._refuse(error)
        self.received += reader.rest()
        return handshake

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        """Answer a ping, within limits: replies to a client that does not read use up memory."""
        self._answered += len(payload) + 1
        if self._answered > MAX_HANDSHAKE:
            raise WebSocketError(CloseCode.POLICY_VIOLATION, "too many control frames without a message")
        if opcode is Opcode.PING:
            self._answer(pong(payload))

    def _refuse(self, error: GymtwistError) -> Refusal:
        protocol = self.protocol()
        self._refusals += 1
        # After a request error the stream is still in sync; the classic protocol has no second handshake.
        in_sync = isinstance(error, RequestError) and protocol in FRAMED
        is_final = not in_sync or self._refusals > MOST_REFUSALS
        if not is_final and self._websocket is None:
            del self.received[: after_refusal(self.received)]
        error.warnings = tuple(each for each in error.warnings if each not in self._told)
        self._told.update(error.warnings)
        reply = b"" if isinstance(error, WebSocketError) else error_reply(protocol, error)
        return Refusal(error, reply, is_final)

    def release(self) -> None:
        """Release memory at once when the connection is closed, instead of waiting for the garbage collector."""
        self.received.clear()
        self._websocket = None
        self._answer = self._check_client = _nothing

    def protocol(self) -> ProtocolName | None:
        """Return the client's protocol, even if its handshake is incomplete; None if it is unknown."""
        if self._protocol is None:  # once known, it does not change
            with contextlib.suppress(HandshakeError):
                self._protocol = recognise(self.received)
        return self._protocol


def _nothing(_: object) -> None:
    """Do nothing."""
