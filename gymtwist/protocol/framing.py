"""The two framings of the framed protocol, which delimit messages.

A netstring (https://cr.yp.to/proto/netstrings.txt) is the payload's length in decimal, a colon, the payload and a
comma. An Int32 frame is the payload's length as a big-endian uint32, followed by the payload, as in Twisted's
``Int32StringReceiver``.
"""

from __future__ import annotations

import enum
import struct
from typing import TypeAlias

from gymtwist.error_texts import bytes_text
from gymtwist.errors import LimitExceeded, ProtocolError
from gymtwist.protocol.receive_buffer import BUFFER_SIZE, ReceiveBuffer

#: The maximum payload in bytes that a server accepts; clients set their own limit.
MAX_FRAME = 16 * 1024 * 1024
#: The maximum number of digits in a netstring's length.
MAX_DIGITS = 9
#: The maximum bytes around a payload: the digits, the colon and the comma of a netstring.
MAX_OVERHEAD = MAX_DIGITS + 2

#: Bytes of the length in front of an Int32 payload.
INT32_HEADER = 4

#: Buffers sent by one system call, without joining them.
Parts: TypeAlias = "list[bytes | memoryview]"

_LONGEST_NETSTRING, _LONGEST_INT32 = 10**MAX_DIGITS - 1, 2**32 - 1
_UINT32 = struct.Struct(">I")
_ZERO, _NINE, _COLON, _COMMA = b"09:,"
_LINE_ENDS = b"\r\n"


class ProtocolName(enum.Enum):
    """The protocols that a connection can use."""

    CLASSIC = "classic"  # gym-socket-api's own binary protocol
    NETSTRING = "netstring"  # the framed protocol: netstrings of JSON
    INT32 = "int32"  # the framed protocol: MessagePack after a uint32 length
    TEXT = "websocket-text"  # the framed protocol: JSON in WebSocket text messages
    BINARY = "websocket-binary"  # the framed protocol: MessagePack in WebSocket binary messages
    HTTP = "http"  # not for sessions: the web site answers


class Framing(enum.Enum):
    """How frames are delimited, which determines their encoding."""

    NETSTRING = "netstring"  # JSON after a decimal length, with punctuation
    INT32 = "int32"  # MessagePack after a binary length
    TEXT = "websocket-text"  # JSON in WebSocket text messages, whose frames the transport adds
    BINARY = "websocket-binary"  # MessagePack in WebSocket binary messages, likewise

    @property
    def is_json(self) -> bool:
        """Whether the encoding is JSON."""
        return self in (Framing.NETSTRING, Framing.TEXT)

    @property
    def is_websocket(self) -> bool:
        """Whether the frames are WebSocket's, which the transport adds and removes."""
        return self in (Framing.TEXT, Framing.BINARY)


def locate(
    framing: Framing, data: bytes | bytearray | memoryview, start: int, end: int, limit: int, least: int = 1
) -> tuple[int, int, int] | None:
    """Find a frame in received bytes.

    Args:
        framing: The framing.
        data: The received bytes.
        start: The offset of the frame.
        end: The end of the received bytes.
        limit: The maximum payload in bytes.
        least: The minimum payload in bytes; ignored for netstrings.

    Returns:
        The start and the end of the payload, and the end of the frame; None while the frame is incomplete.

    Raises:
        ProtocolError: The bytes are not a frame, so the following bytes cannot be decoded either.
        LimitExceeded: The payload is over the limit; raised as soon as its length is known.
    """
    if framing is Framing.INT32:
        if end - start < 4:
            return None
        (length,) = _UINT32.unpack_from(data, start)
        if not least <= length <= limit:
            _refuse(length, limit)
        stop = start + 4 + length
        return (start + 4, stop, stop) if stop <= end else None
    colon = _find_colon(data, start, end)
    if colon is None:
        return None
    length = int(bytes(data[start:colon]))
    if length > limit:
        _refuse(length, limit)
    stop = colon + 1 + length
    if stop >= end:
        return None
    if data[stop] != _COMMA:
        given = bytes_text(bytes([data[stop]]))
        raise ProtocolError(
            f"the netstring of {length} bytes ends with {given}; end it with a comma, and count bytes, not characters"
        )
    return colon + 1, stop, stop + 1


def _find_colon(data: bytes | bytearray | memoryview, start: int, end: int) -> int | None:
    """Find the end of a netstring's length; None while it is incomplete."""
    position, most = start, min(end, start + MAX_DIGITS + 1)
    while position < most and _ZERO <= data[position] <= _NINE:
        position += 1
    if position > start + 1 and data[start] == _ZERO:
        raise ProtocolError("the length of a netstring begins with 0; write it without leading zeros")
    if position > start + MAX_DIGITS:
        raise LimitExceeded(f"the length of a netstring has more than {MAX_DIGITS} digits")
    if position == end:
        return None
    if data[position] != _COLON or position == start:
        given = bytes_text(bytes(data[start : position + 1]))
        raise ProtocolError(f"no netstring: {given}; it begins with its length in decimal and a colon")
    return position


def _refuse(length: int, limit: int) -> None:
    if not length:
        raise ProtocolError("an empty frame; a message has at least one byte")
    raise LimitExceeded(f"the frame has {length} bytes; at most {limit} are allowed")


class FrameReader(ReceiveBuffer):
    """Takes the payloads of frames from a stream of bytes; line ends between netstrings are ignored.

    Args:
        framing: The framing.
        data: Bytes that were already received.
        limit: The maximum payload in bytes.
        borrowed: See :class:`~gymtwist.protocol.receive_buffer.ReceiveBuffer`.
        size: Likewise.

    Attributes:
        least: The minimum payload in bytes.
        limit: The maximum payload in bytes.
    """

    def __init__(
        self,
        framing: Framing,
        data: bytes = b"",
        limit: int = MAX_FRAME,
        borrowed: memoryview | None = None,
        size: int = BUFFER_SIZE,
    ) -> None:
        super().__init__(data, limit + MAX_OVERHEAD, borrowed, size)
        self._framing = framing
        self._int32 = framing is Framing.INT32
        self.limit = limit
        self.least = 1

    def next_frame(self) -> memoryview | None:
        """Take the payload of the next frame.

        Returns:
            The payload, valid until :meth:`space` is called; None while the frame is incomplete.

        Raises:
            ProtocolError: The bytes are not a frame, so the following bytes cannot be decoded either.
            LimitExceeded: The frame is over the limit.
        """
        start, end = self.start, self.end
        if not self._int32:
            # People who type a session by hand press Enter.
            while start < end and self._buffer[start] in _LINE_ENDS:
                start += 1
            self.start = start
        if start == end:
            self.start = self.end = 0
            return None
        if self._int32 and end - start >= 4:
            # Like locate(), without the call.
            (length,) = _UINT32.unpack_from(self._buffer, start)
            stop = start + 4 + length
            if stop <= end and 0 < length <= self.limit:
                self.start = stop
                return self._view[start + 4 : stop]
        found = locate(self._framing, self._buffer, start, end, self.limit, self.least)
        if found is None:
            return None
        begin, stop, self.start = found
        return self._view[begin:stop]

    def has_frame(self) -> bool:
        """Return whether the next frame is complete, without taking it; empty frames before it are taken.

        Raises:
            ProtocolError: As for :meth:`next_frame`.
        """
        while True:
            before = self.start
            frame = self.next_frame()
            if frame is None:
                return False
            if len(frame):
                self.start = before
                return True


def header(framing: Framing, length: int) -> bytes:
    """Encode the header of a frame; for WebSocket, it is empty, because the transport adds it.

    Raises:
        LimitExceeded: The payload is too long for the framing.
    """
    if framing is Framing.NETSTRING:
        if length > _LONGEST_NETSTRING:
            _refuse(length, _LONGEST_NETSTRING)
        return b"%d:" % length
    if framing is Framing.INT32:
        if length > _LONGEST_INT32:
            _refuse(length, _LONGEST_INT32)
        return _UINT32.pack(length)
    return b""


def frame(framing: Framing, payload: bytes | memoryview) -> Parts:
    """Frame a payload without copying it.

    Args:
        framing: The framing.
        payload: The payload; a view must be contiguous, with bytes as its items.

    Returns:
        The buffers of the frame, in order.

    Raises:
        LimitExceeded: The payload is too long for the framing.
    """
    before = header(framing, len(payload))
    if framing.is_websocket:
        return [payload]
    return [before, payload] if framing is Framing.INT32 else [before, payload, b","]
