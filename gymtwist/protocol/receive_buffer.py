"""The receive buffer: where bytes from a socket wait until they make up a message."""

from __future__ import annotations

import sys

#: Bytes of a receive buffer to begin with: many pipelined steps, or one read of the socket.
BUFFER_SIZE = 64 * 1024


class ReceiveBuffer:
    """One buffer that is used again and again; what derives from it cuts messages out of it.

    Read from the socket into :meth:`space`, say how much it was with :meth:`received`, and take messages until there
    is none. What is received and not yet taken lies in ``_buffer`` from ``_start`` to ``_end``.

    Args:
        data: Bytes that were received before.
        most: How many bytes the longest message has on the wire: the buffer does not grow beyond that.
        borrowed: Memory to use as long as what is received fits in there: somebody else may look at it.

    Attributes:
        is_borrowed: Whether what is received lies in the memory that was lent.
    """

    def __init__(self, data: bytes = b"", most: int = sys.maxsize, borrowed: memoryview | None = None) -> None:
        self._buffer: bytearray | memoryview
        # How much of the buffer is in use: memory that was lent may have more, and costs nothing until it is written.
        self._size = max(BUFFER_SIZE, len(data))
        self.is_borrowed = borrowed is not None and self._size <= len(borrowed)
        self._buffer = borrowed if borrowed is not None and self.is_borrowed else bytearray(self._size)
        self._buffer[: len(data)] = data
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = len(data)
        self._most = most

    @property
    def pending(self) -> tuple[int, int]:
        """Start and end of the pending bytes; offsets into the borrowed memory if :attr:`is_borrowed`."""
        return self._start, self._end

    def space(self) -> memoryview:
        """Return the free part of the buffer, never empty.

        The buffer grows only when it is full, so a length that is announced but not sent costs no memory.
        """
        if self._end == self._size:
            self._make_room()
        return self._view[self._end : self._size]

    def _make_room(self) -> None:
        pending = self._end - self._start
        pending_bytes = self._view[self._start : self._end]
        # An unfinished message never outgrows its limit: what is longer has been refused when it was looked at.
        if pending > self._size // 2:
            # Behind one that is refused there may be more than that, of what came before.
            size = min(2 * self._size, self._most) if pending < self._most else pending + BUFFER_SIZE
            self._size = max(size, self._size)
            if self._size > len(self._buffer):
                self._buffer = bytearray(self._size)
                self._view = memoryview(self._buffer)
                self.is_borrowed = False
        self._view[:pending] = pending_bytes
        self._start, self._end = 0, pending

    def received(self, count: int) -> None:
        """Count the bytes that were read into :meth:`space`."""
        self._end += count
