"""The receive buffer, which holds bytes from a socket until a message is complete."""

from __future__ import annotations

import sys
from collections.abc import Callable

#: The initial size of a receive buffer in bytes: enough for one read from the socket, or for many pipelined steps.
BUFFER_SIZE = 64 * 1024


class ReceiveBuffer:
    """One buffer for all bytes of a connection; subclasses take messages from it.

    Receive with :meth:`fill`; or receive into :meth:`space`, and report the number of bytes with :meth:`received`. Then
    take messages until there are none. The pending bytes, which were received but not taken, are
    ``_buffer[start:end]``.

    Args:
        data: Bytes that were already received.
        most: The maximum bytes of a message with its framing; the buffer does not grow beyond that.
        size: The initial size in bytes, if no memory is borrowed.
        borrowed: Memory to use as long as the pending bytes fit into it, so that another process can read them.

    Attributes:
        is_borrowed: True while the pending bytes are in the borrowed memory.
        start: The start of the pending bytes.
        end: The end of the pending bytes.
    """

    def __init__(
        self,
        data: bytes = b"",
        most: int = sys.maxsize,
        borrowed: memoryview | None = None,
        size: int = BUFFER_SIZE,
    ) -> None:
        self._buffer: bytearray | memoryview
        # The used part of the buffer. Borrowed memory may be larger, but takes no memory until written to.
        self._size = max(size, len(data))
        self.is_borrowed = borrowed is not None and self._size <= len(borrowed)
        self._buffer = borrowed if borrowed is not None and self.is_borrowed else bytearray(self._size)
        self._buffer[: len(data)] = data
        self._view = memoryview(self._buffer)
        self.start = 0
        self.end = len(data)
        self._most = most

    @property
    def pending(self) -> tuple[int, int]:
        """Start and end of the pending bytes; offsets into the borrowed memory if :attr:`is_borrowed`."""
        return self.start, self.end

    def begins_with(self, data: bytes) -> bool:
        """Return whether the pending bytes begin with these bytes."""
        return self._view[self.start : min(self.end, self.start + len(data))] == data

    def space(self) -> memoryview:
        """Return the free part of the buffer, never empty.

        The buffer grows only when it is full, so an announced length alone costs no memory.
        """
        if self.end == self._size:
            self._grow_or_compact()
        return self._view[self.end : self._size]

    def _grow_or_compact(self) -> None:
        """Move the pending bytes to the start, and to a larger buffer if they fill more than half of this one."""
        pending = self._view[self.start : self.end]
        count = len(pending)
        if count > self._size // 2:
            # The bytes after a refused message are not limited.
            size = min(2 * self._size, self._most) if count < self._most else count + BUFFER_SIZE
            self._size = max(size, self._size)
            if self._size > len(self._buffer):
                self._buffer = bytearray(self._size)
                self._view = memoryview(self._buffer)
                self.is_borrowed = False
        self._view[:count] = pending
        self.start, self.end = 0, count

    def fill(self, receive_into: Callable[[memoryview], int]) -> int:
        """Receive into the free part of the buffer.

        Args:
            receive_into: Receives bytes into a view and returns their number.

        Returns:
            The number of bytes; 0 at the end of the connection.
        """
        if self.start == self.end:
            self.start = self.end = 0
        elif self.end == self._size:
            self._grow_or_compact()
        count = receive_into(self._view[self.end : self._size])
        self.end += count
        return count

    def add(self, data: bytes | bytearray) -> None:
        """Add bytes that were received elsewhere."""
        rest = memoryview(data)
        while rest:
            space = self.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            self.received(count)
            rest = rest[count:]

    def rest(self) -> bytes:
        """Return the pending bytes."""
        return bytes(self._view[self.start : self.end])

    def received(self, count: int) -> None:
        """Add the bytes that were received into :meth:`space` to the pending bytes."""
        self.end += count
