"""Counts the messages that pass through a relay, without keeping them."""

from __future__ import annotations

import struct

from gymtwist.protocol.framing import INT32_HEADER, MAX_DIGITS, ProtocolName

_UINT32 = struct.Struct(">I")
_LINE_ENDS = b"\r\n"
_FIN, _CONTROL, _MASKED = 0x80, 0x08, 0x80


class NoFrame(ValueError):
    """The bytes do not begin a frame."""


class FrameCounter:
    """Finds the ends of messages in a stream of bytes."""

    def __init__(self) -> None:
        self._left = 0
        self._header = bytearray()
        self._counts = True

    @property
    def is_partial(self) -> bool:
        """Whether the last message is incomplete."""
        return bool(self._left or self._header)

    def is_one(self, data: memoryview) -> bool:
        """Return whether these bytes, after complete messages, are exactly one message; False also if unknown."""
        return False

    def ends(self, data: memoryview) -> list[int]:
        """Return the offsets at which messages end within the next bytes.

        Raises:
            NoFrame: The bytes do not begin a frame.
        """
        found, at, size = [], 0, len(data)
        while at < size:
            if not self._left:
                at = self._read_header(data, at)
                if not self._left:
                    if not self._header and self._is_empty():
                        found.append(at)
                    continue
            step = min(self._left, size - at)
            self._left -= step
            at += step
            if not self._left and self._counts:
                found.append(at)
        return found

    def _is_empty(self) -> bool:
        """Return whether the header that was just read is that of an empty message."""
        return False

    def _read_header(self, data: memoryview, at: int) -> int:
        """Read bytes of a header; return the offset after them.

        If the header is complete, set ``_left`` to the number of bytes that follow it; otherwise leave it 0.
        """
        raise NotImplementedError


class Int32Counter(FrameCounter):
    """Counts frames with a 32-bit length prefix."""

    def is_one(self, data: memoryview) -> bool:
        """See :meth:`FrameCounter.is_one`."""
        size = len(data)
        return size > INT32_HEADER and _UINT32.unpack_from(data)[0] == size - INT32_HEADER

    def _read_header(self, data: memoryview, at: int) -> int:
        taken = min(INT32_HEADER - len(self._header), len(data) - at)
        self._header += data[at : at + taken]
        if len(self._header) == INT32_HEADER:
            (self._left,) = _UINT32.unpack(self._header)
            self._header.clear()
            if not self._left:
                raise NoFrame("an empty frame")
        return at + taken


class NetstringCounter(FrameCounter):
    """Counts netstrings."""

    def is_one(self, data: memoryview) -> bool:
        """See :meth:`FrameCounter.is_one`."""
        head = bytes(data[: MAX_DIGITS + 1])
        digits, colon, _ = head.partition(b":")
        return bool(colon) and digits.isdigit() and len(data) == len(digits) + 2 + int(digits)

    def _read_header(self, data: memoryview, at: int) -> int:
        byte = data[at]
        if byte == ord(":") and self._header:
            self._left = int(self._header) + 1  # the comma
            self._header.clear()
        elif ord("0") <= byte <= ord("9") and len(self._header) < MAX_DIGITS:
            self._header.append(byte)
        elif byte not in _LINE_ENDS or self._header:
            raise NoFrame("no netstring")
        return at + 1


class WebSocketCounter(FrameCounter):
    """Counts WebSocket messages; control frames do not count."""

    def __init__(self) -> None:
        super().__init__()
        self._in_message = False

    @property
    def is_partial(self) -> bool:
        """Whether the last message is incomplete."""
        return bool(self._left or self._header or self._in_message)

    def _is_empty(self) -> bool:
        return self._counts

    def _read_header(self, data: memoryview, at: int) -> int:
        self._header.append(data[at])
        if len(self._header) < 2:
            return at + 1
        first, second = self._header[:2]
        length = second & 0x7F
        extended = {126: 2, 127: 8}.get(length, 0)
        if len(self._header) < 2 + extended:
            return at + 1
        if extended:
            length = int.from_bytes(self._header[2:], "big")
        self._left = length + (4 if second & _MASKED else 0)
        self._header.clear()
        is_data = not first & _CONTROL
        if is_data:
            self._in_message = not first & _FIN
        self._counts = is_data and bool(first & _FIN)
        return at + 1


_COUNTERS = {
    ProtocolName.INT32: Int32Counter,
    ProtocolName.NETSTRING: NetstringCounter,
    ProtocolName.TEXT: WebSocketCounter,
    ProtocolName.BINARY: WebSocketCounter,
}


def counter_for(protocol: ProtocolName) -> FrameCounter | None:
    """Return a counter for the messages of a protocol; None for the classic one, whose messages have no length."""
    kind = _COUNTERS.get(protocol)
    return None if kind is None else kind()
