"""WebSocket (RFC 6455) without I/O: the upgrade, frames and messages.

A text message is JSON, and a binary message is MessagePack; all data messages of a session are of the same kind.
Extensions are not negotiated, because compressed messages would have no bounded size, and cost more time than they
save.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import enum
import hashlib
import os
import struct
from collections.abc import Callable

import numpy as np

from gymtwist.errors import GymtwistError, LimitExceeded, ProtocolError, RequestError, ServerFull, ServerStopping
from gymtwist.protocol.framing import MAX_FRAME, FrameReader, Framing, ProtocolName
from gymtwist.protocol.http_head import Head, Problem, shown
from gymtwist.protocol.receive_buffer import BUFFER_SIZE

#: The path of the framed protocol.
PATH = "/ws"
#: The maximum bytes of a header: two bytes, the length and the mask.
MAX_OVERHEAD = 14
#: The maximum payload of a control frame, according to RFC 6455.
MAX_CONTROL = 125

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_KEY_SIZE = 16
_UINT16, _UINT64 = struct.Struct(">H"), struct.Struct(">Q")
_SHORT_HEADER, _HEADER_16, _HEADER_64 = struct.Struct(">BB"), struct.Struct(">BBH"), struct.Struct(">BBQ")
_FINAL, _MASKED = 0x80, 0x80
_LENGTH_16, _LENGTH_64 = 126, 127
#: The number of bytes from which NumPy masks faster than Python integers.
_LARGE = 2048


class Opcode(enum.IntEnum):
    """The kind of a frame."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


#: The kind of message that each protocol uses.
OPCODES = {ProtocolName.TEXT: Opcode.TEXT, ProtocolName.BINARY: Opcode.BINARY}


class CloseCode(enum.IntEnum):
    """Why a connection is closed."""

    NORMAL = 1000  # the session was closed
    GOING_AWAY = 1001  # the server ends the session, or the client leaves
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003  # text in a session with binary messages, or vice versa
    NO_STATUS = 1005  # never sent: the frame had no code
    INVALID_TEXT = 1007  # a text message is not UTF-8
    POLICY_VIOLATION = 1008  # the client keeps making requests in vain
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011  # the environment or the server has failed
    TRY_AGAIN_LATER = 1013  # the server is full


#: The codes that a frame may contain, according to RFC 6455 and IANA's registry: public and private ones.
_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
#: The permitted first bytes of a frame: no reserved bits, known opcodes, and unfragmented control frames.
_FIRST_BYTES = frozenset(
    {
        *(Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY),
        *(_FINAL | each for each in Opcode),
    }
)

_CODES_OF_ERRORS: list[tuple[type[GymtwistError], CloseCode]] = [
    (ServerFull, CloseCode.TRY_AGAIN_LATER),
    (ServerStopping, CloseCode.GOING_AWAY),
    (LimitExceeded, CloseCode.TOO_BIG),
    (ProtocolError, CloseCode.PROTOCOL_ERROR),
    (RequestError, CloseCode.POLICY_VIOLATION),
]


class WebSocketError(ProtocolError):
    """The peer violated the WebSocket protocol or a limit; the connection is closed with a code.

    Args:
        close_code: The code.
        text: What was wrong.
    """

    def __init__(self, close_code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.close_code = close_code


def close_code(error: GymtwistError) -> CloseCode:
    """Return the code that closes a connection after an error."""
    if isinstance(error, WebSocketError):
        return error.close_code
    return next((code for kind, code in _CODES_OF_ERRORS if isinstance(error, kind)), CloseCode.INTERNAL_ERROR)


# The upgrade


def new_key() -> str:
    """Return a random key for a client's handshake."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` value for a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID).digest()).decode()


def upgrade_problem(head: Head) -> tuple[int, Problem] | None:
    """Return the HTTP status and the problem of an invalid WebSocket handshake; None if it is valid."""
    if head.method != "GET":
        remedy = "ask for WebSocket with GET"
        return 405, Problem("not the method of WebSocket", "method-not-allowed", "method", shown(head.method), remedy)
    version, key = (head.headers.get(name, "") for name in ("sec-websocket-version", "sec-websocket-key"))
    if version != _VERSION:
        remedy = f"use version {_VERSION}"
        message = "not the version of WebSocket that is spoken here"
        return 426, Problem(message, "bad-opening", "Sec-WebSocket-Version", shown(version), remedy)
    size = None
    with contextlib.suppress(binascii.Error, ValueError):
        size = len(base64.b64decode(key, validate=True))
    if size != _KEY_SIZE:
        remedy = "send 16 random bytes in base64"
        return 400, Problem("not a key of WebSocket", "bad-opening", "Sec-WebSocket-Key", shown(key), remedy)
    return None


def upgrade_response(head: Head) -> bytes:
    """Encode the response that accepts a valid WebSocket handshake."""
    accept = accept_key(head.headers["sec-websocket-key"])
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


# Frames


def frame_header(opcode: int, length: int) -> bytes:
    """Encode the header of a frame that is a whole message, as sent by a server: without a mask."""
    if length < _LENGTH_16:
        return _SHORT_HEADER.pack(_FINAL | opcode, length)
    if length < 1 << 16:
        return _HEADER_16.pack(_FINAL | opcode, _LENGTH_16, length)
    return _HEADER_64.pack(_FINAL | opcode, _LENGTH_64, length)


def without_header(frame: bytes) -> bytes:
    """Return the payload of a whole message sent by a server."""
    header = {_LENGTH_16: _HEADER_16, _LENGTH_64: _HEADER_64}.get(frame[1], _SHORT_HEADER)
    return frame[header.size :]


def masked_frame(opcode: Opcode, payload: bytes, mask: bytes) -> bytes:
    """Encode a frame that is a whole message, as sent by a client.

    Args:
        opcode: The kind of the frame.
        payload: The payload.
        mask: Four random bytes.
    """
    header = bytearray(frame_header(opcode, len(payload)))
    header[1] |= _MASKED
    return bytes(header) + mask + bytes(masked(payload, mask))


def close_frame(code: CloseCode | int, reason: str = "") -> bytes:
    """Encode the frame that closes a connection, as sent by a server.

    Args:
        code: The close code; for ``NO_STATUS``, the frame is empty.
        reason: The reason for people; shortened to fit the frame.
    """
    payload = close_payload(code, reason)
    return frame_header(Opcode.CLOSE, len(payload)) + payload


def close_payload(code: CloseCode | int, reason: str = "") -> bytes:
    """Encode the payload of :func:`close_frame`."""
    if code == CloseCode.NO_STATUS:
        return b""
    room = MAX_CONTROL - _UINT16.size
    return _UINT16.pack(code) + reason.encode("utf-8", "replace")[:room].decode("utf-8", "ignore").encode()


def masked(payload: bytes | memoryview, mask: bytes) -> bytes | memoryview:
    """Mask or unmask a payload; a long writable one is overwritten.

    Args:
        payload: The payload.
        mask: Four bytes.
    """
    length = len(payload)
    if length < _LARGE:
        pattern = (mask * (length // 4 + 1))[:length]
        number = int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")
        return number.to_bytes(length, "little")
    whole = length - length % 8
    data = np.frombuffer(payload, np.uint8)
    out = data if data.flags.writeable else np.empty_like(data)
    np.bitwise_xor(data[:whole].view(np.uint64), np.frombuffer(2 * mask, np.uint64), out=out[:whole].view(np.uint64))
    np.bitwise_xor(data[whole:], np.frombuffer(2 * mask, np.uint8)[: length - whole], out=out[whole:])
    return out.data


def read_close(payload: bytes) -> tuple[int, str]:
    """Read the payload of a close frame.

    Returns:
        The code and the reason.

    Raises:
        WebSocketError: The payload is invalid.
    """
    if not payload:
        return CloseCode.NO_STATUS, ""
    if len(payload) < _UINT16.size:
        raise WebSocketError(CloseCode.PROTOCOL_ERROR, "the code of a close frame has one byte; it has two")
    (code,) = _UINT16.unpack_from(payload)
    if code not in _CODES:
        raise WebSocketError(CloseCode.PROTOCOL_ERROR, f"{code} is not a code that a close frame may have")
    try:
        return code, payload[_UINT16.size :].decode()
    except UnicodeDecodeError:
        raise WebSocketError(CloseCode.INVALID_TEXT, "the reason of a close frame is not UTF-8") from None


def pong(payload: bytes | memoryview) -> bytes:
    """Encode a server's answer to a ping."""
    return frame_header(Opcode.PONG, len(payload)) + payload


def answer_pings(data: bytearray | memoryview, start: int, end: int, answer: Callable[[bytes], None]) -> None:
    """Answer pings among a client's frames that cannot be taken yet, and turn them into pongs, which are ignored.

    Args:
        data: The received bytes.
        start: The offset of a frame.
        end: The end of the received bytes.
        answer: Called with the frame of each answer.
    """
    view = memoryview(data)
    while end - start >= 2 + 4:
        length = view[start + 1] & ~_MASKED
        begin = start + 2 + 4
        if length >= _LENGTH_16:
            number = _UINT16 if length == _LENGTH_16 else _UINT64
            begin += number.size
            if begin > end:
                return
            (length,) = number.unpack_from(view, start + 2)
        if begin + length > end:
            return
        if view[start] == _FINAL | Opcode.PING and length <= MAX_CONTROL:
            answer(pong(masked(bytes(view[begin : begin + length]), bytes(view[begin - 4 : begin]))))
            view[start] = _FINAL | Opcode.PONG
        start = begin + length


class WebSocketReader(FrameReader):
    """Takes messages from a stream of frames.

    Args:
        control: Called with the opcode and the payload of each ping and pong.
        data: Bytes that were already received.
        limit: The maximum size of a message in bytes.
        borrowed: See :class:`~gymtwist.protocol.receive_buffer.ReceiveBuffer`.
        opcode: The kind of the messages; None if the first one decides.
        is_client: Whether this is the client's side, whose peer does not mask frames.
        size: See :class:`~gymtwist.protocol.receive_buffer.ReceiveBuffer`.

    Attributes:
        limit: The maximum size of a message in bytes.
        opcode: The kind of the messages.
        closed: The close code and the reason, once the peer has closed the connection; otherwise None.
    """

    def __init__(
        self,
        control: Callable[[Opcode, bytes], None],
        data: bytes = b"",
        limit: int = MAX_FRAME,
        borrowed: memoryview | None = None,
        opcode: Opcode | None = None,
        *,
        is_client: bool = False,
        size: int = BUFFER_SIZE,
    ) -> None:
        super().__init__(Framing.BINARY, data, limit + MAX_OVERHEAD, borrowed, size)
        self.limit = limit
        self.opcode = opcode
        self.closed: tuple[int, str] | None = None
        self._control = control
        self._is_client = is_client
        self._mask_bit, self._mask_size = (0, 0) if is_client else (_MASKED, 4)
        #: The first byte of an unfragmented message, if no other message is incomplete.
        self._whole = -1 if opcode is None else _FINAL | opcode
        self._fragments: bytearray | None = None
        #: A message that was found but has not been taken yet.
        self.found: memoryview | None = None

    def has_frame(self) -> bool:
        """Return whether the next message is complete, and keep it for :meth:`next_frame`.

        Raises:
            WebSocketError: As for :meth:`next_frame`.
        """
        if self.found is None and (message := self.next_frame()) is not None:
            self.found = memoryview(bytes(message))
        return self.found is not None

    def next_frame(self) -> memoryview | None:
        """Take the next message.

        Returns:
            The message, valid until :meth:`space` is called; None while it is incomplete, or if the peer has closed the
            connection.

        Raises:
            WebSocketError: The peer violated the protocol, or the message is over the limit.
        """
        if self.found is not None:
            message, self.found = self.found, None
            return message
        while self.closed is None and (found := self._locate()) is not None:
            first, begin, stop = found
            self.start = stop
            payload = self._payload(begin, stop)
            if first == self._whole:
                return self._checked(payload)
            opcode = first & ~_FINAL
            if opcode >= Opcode.CLOSE:
                self._handle(Opcode(opcode), bytes(payload))
            elif (whole := self._fragment(first, payload)) is not None:
                return self._checked(whole)
        return None

    def room(self) -> memoryview:
        """Return the free part of the buffer, which may be empty; no data is moved."""
        return self._view[self.end : self._size]

    def answer_pings(self, answer: Callable[[bytes], None]) -> None:
        """Answer the pings among the received bytes that have not been taken; see :func:`answer_pings`."""
        answer_pings(self._view, self.start, self.end, answer)

    def _locate(self) -> tuple[int, int, int] | None:
        """Find the next frame: its first byte, and the bounds of its payload; None while it is incomplete."""
        start, end, buffer = self.start, self.end, self._buffer
        if end - start < 2:
            if start == end:
                self.start = self.end = 0
            return None
        first, second = buffer[start], buffer[start + 1]
        length = second & ~_MASKED
        if first != self._whole:
            _check_first(first, length)
        if second & _MASKED != self._mask_bit:
            problem = "a frame of the server is masked" if self._is_client else "a frame is not masked; clients mask"
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, problem)
        begin = start + 2
        if length >= _LENGTH_16:
            number = _UINT16 if length == _LENGTH_16 else _UINT64
            begin += number.size
            if begin > end:
                return None
            (length,) = number.unpack_from(buffer, start + 2)
            if length < (_LENGTH_16 if number is _UINT16 else 1 << 16):
                raise WebSocketError(CloseCode.PROTOCOL_ERROR, "the length of a frame is longer than it needs to be")
        total = length
        if self._fragments is not None and first & ~_FINAL < Opcode.CLOSE:
            total += len(self._fragments)
        if total > self.limit:
            raise WebSocketError(
                CloseCode.TOO_BIG, f"the message has {total} bytes or more; at most {self.limit} are allowed"
            )
        begin += self._mask_size
        stop = begin + length
        return (first, begin, stop) if stop <= end else None

    def _payload(self, begin: int, stop: int) -> bytes | memoryview:
        if self._is_client:
            return self._view[begin:stop]
        return masked(self._view[begin:stop], bytes(self._view[begin - 4 : begin]))

    def _fragment(self, first: int, payload: bytes | memoryview) -> bytes | memoryview | None:
        """Add a frame to its message; return the message if it is complete."""
        opcode, is_final = Opcode(first & ~_FINAL), bool(first & _FINAL)
        if opcode is Opcode.CONTINUATION:
            if self._fragments is None:
                raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a frame continues a message that has not begun")
            self._fragments += payload
        elif self._fragments is not None:
            raise WebSocketError(CloseCode.PROTOCOL_ERROR, "a message begins within another")
        else:
            self._begin(opcode)
            if is_final:
                return payload
            self._fragments, self._whole = bytearray(payload), -1
        if not is_final:
            return None
        assert self.opcode is not None
        message, self._fragments, self._whole = self._fragments, None, _FINAL | self.opcode
        return memoryview(message)

    def _begin(self, opcode: Opcode) -> None:
        if self.opcode is None:
            self.opcode, self._whole = opcode, _FINAL | opcode
        elif opcode is not self.opcode:
            kind, other = self.opcode.name.lower(), opcode.name.lower()
            raise WebSocketError(
                CloseCode.UNSUPPORTED_DATA, f"a {other} message in a session whose first message was {kind}"
            )

    def _checked(self, message: bytes | memoryview) -> memoryview:
        """Return a message. An untrusted peer's text must be UTF-8; a client's JSON decoder checks that itself."""
        if self.opcode is Opcode.TEXT and not self._is_client and not (type(message) is bytes and message.isascii()):
            try:
                codecs.utf_8_decode(message, "strict", True)
            except UnicodeDecodeError:
                raise WebSocketError(CloseCode.INVALID_TEXT, "a text message is not UTF-8") from None
        return memoryview(message)

    def _handle(self, opcode: Opcode, payload: bytes) -> None:
        """Handle a control frame."""
        if opcode is Opcode.CLOSE:
            self.closed = read_close(payload)
        else:
            self._control(opcode, payload)


def _check_first(first: int, length: int) -> None:
    """Check the first byte of a frame, and the short length of a control frame."""
    if first not in _FIRST_BYTES:
        raise WebSocketError(
            CloseCode.PROTOCOL_ERROR,
            f"a frame begins with the byte {first:#04x}: a reserved bit or opcode, or a control frame in pieces",
        )
    if first & ~_FINAL >= Opcode.CLOSE and length > MAX_CONTROL:
        raise WebSocketError(CloseCode.PROTOCOL_ERROR, f"a control frame has more than {MAX_CONTROL} bytes")
