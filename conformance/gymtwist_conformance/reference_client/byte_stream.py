"""A blocking byte stream over a connected socket: the part that all reference clients share."""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn, TypeVar

#: Seconds to wait for expected bytes. A wait ends when they arrive; the limit only turns a hang into a failure.
PATIENCE = 120.0
_CHUNK = 1 << 18

_Stream = TypeVar("_Stream", bound="ByteStream")


class Violation(AssertionError):
    """The other side sent bytes, a message or a value that the protocol does not allow."""


def require(condition: object, text: str | Callable[[], str]) -> None:
    """Raise a :class:`Violation` unless a condition holds.

    Args:
        condition: What must hold.
        text: The error message, or a function that returns it: formatting a large value takes longer than the check.
    """
    __tracebackhide__ = True
    if not condition:
        raise Violation(text if isinstance(text, str) else text())


class ByteStream:
    """A connected socket with a receive buffer. Leaving its context closes the connection.

    Args:
        connection: A connected stream socket (TCP, UNIX or TLS), which the stream owns from now on.
        patience: Seconds to wait for expected bytes.
    """

    def __init__(self, connection: socket.socket, patience: float = PATIENCE) -> None:
        self.socket, self.patience = connection, patience
        self.socket.settimeout(patience)
        self._received = bytearray()
        self._chunk = memoryview(bytearray(_CHUNK))

    @classmethod
    def connect(cls: type[_Stream], port: int, host: str = "127.0.0.1", **options: Any) -> _Stream:
        """Connect over TCP without sending anything.

        Args:
            port: The server's port.
            host: The server's host.
            **options: Further arguments of the constructor.
        """
        connection = socket.create_connection((host, port), timeout=options.get("patience", PATIENCE))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connection, **options)

    def __enter__(self: _Stream) -> _Stream:
        """Return the stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    @property
    def port(self) -> int:
        """The local port of the connection, by which a server's log names the client."""
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Close the connection, with a FIN unless something is left unread."""
        self.socket.close()

    def abort(self) -> None:
        """Close the connection with a RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_each(self, pieces: Iterable[bytes], pause: float = 0.0) -> None:
        """Send each piece in a segment of its own.

        Args:
            pieces: What to send.
            pause: Seconds between two pieces, so that the kernel does not join them.
        """
        for piece in pieces:
            self.send(piece)
            if pause:
                time.sleep(pause)

    def drip(self, data: bytes, pause: float = 0.0) -> None:
        """Send bytes one by one, each in a segment of its own."""
        self.send_each((data[index : index + 1] for index in range(len(data))), pause)

    def receive(self) -> bool:
        """Wait for more bytes; return False at the end of the stream.

        Raises:
            TimeoutError: Nothing came in time.
        """
        try:
            count = self.socket.recv_into(self._chunk)
        except TimeoutError:
            raise TimeoutError(f"nothing was received for {self.socket.gettimeout():g} s") from None
        self._received += self._chunk[:count]
        return count > 0

    def peek(self, count: int | None = None) -> bytes:
        """Return the front of the receive buffer without removing it."""
        return bytes(self._received[:count])

    def take(self, count: int) -> bytes:
        """Remove bytes from the front of the receive buffer."""
        data = bytes(memoryview(self._received)[:count])
        del self._received[:count]
        return data

    def read(self, count: int) -> bytes:
        """Read exactly that many bytes.

        Raises:
            EOFError: The stream ended before.
        """
        while len(self._received) < count:
            if not self.receive():
                raise EOFError(f"the connection was closed after {len(self._received)} of {count} bytes")
        return self.take(count)

    def read_to_end(self) -> bytes:
        """Read until the FIN of the other side; a RST raises ConnectionResetError."""
        while self.receive():
            pass
        return self.take(len(self._received))

    def wait_closed(self) -> None:
        """Discard everything received until the connection ends, by a FIN or a RST."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            self._received.clear()


def strict_json(text: str | bytes) -> Any:
    """Decode JSON as RFC 8259 defines it: without NaN and Infinity, and without numbers that overflow a float64.

    Raises:
        Violation: The text is something else.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise Violation(f"malformed JSON: {error}: {text[:200]!r}") from None


def _refuse_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not a JSON value")


def _finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError(f"{token} overflows a float64")
    return number
