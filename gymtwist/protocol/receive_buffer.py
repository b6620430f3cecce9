"""The receive buffer, which holds bytes from a socket until a message is complete."""

from __future__ import annotations

import sys

#: The initial size of a receive buffer in bytes: that of one read from the socket, or of many pipelined steps.
BUFFER_SIZE = 64 * 1024


class ReceiveBuffer:
    """One buffer for all bytes of a connection; subclasses take messages from it.

    Receive into :meth:`space`, report the number of bytes with :meth:`received`, and take messages until there is none.
    The pending bytes, which are received and not taken, are ``_buffer[_start:_end]``.

    Args:
        data: Bytes that were received before.
        most: The bytes of the longest message, with its framing; the buffer does not grow beyond that.
        borrowed: Memory to use while the pending bytes fit into it, so that another process can read them.

    Attributes:
        is_borrowed: True while the pending bytes are in the borrowed memory.
    """

    def __init__(self, data: bytes = b"", most: int = sys.maxsize, borrowed: memoryview | None = None) -> None:
        self._buffer: bytearray | memoryview
        # The used part of the buffer. Borrowed memory may be larger, but costs nothing until it is written to.
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

        The buffer grows only when it is full, so an announced length alone costs no memory.
        """
        if self._end == self._size:
            self._grow_or_compact()
        return self._view[self._end : self._size]

    def _grow_or_compact(self) -> None:
        """Move the pending bytes to the start, of a larger buffer if they fill more than half of this one."""
        pending = self._view[self._start : self._end]
        count = len(pending)
        if count > self._size // 2:
            # The bytes after a message that was refused have no limit.
            size = min(2 * self._size, self._most) if count < self._most else count + BUFFER_SIZE
            self._size = max(size, self._size)
            if self._size > len(self._buffer):
                self._buffer = bytearray(self._size)
                self._view = memoryview(self._buffer)
                self.is_borrowed = False
        self._view[:count] = pending
        self._start, self._end = 0, count

    def received(self, count: int) -> None:
        """Add the bytes that were received into :meth:`space` to the pending ones."""
        self._end += count
