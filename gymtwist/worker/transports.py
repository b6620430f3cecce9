"""Transports: how requests arrive at a session and replies leave it. The basic one is the client's socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from gymtwist.protocol.framing import FrameReader
from gymtwist.protocol.receive_buffer import ReceiveBuffer
from gymtwist.worker.recovery_state import RecoveryState


class Transport(Protocol):
    """A transport of requests and replies; a new one is a class with these methods.

    A framed request is received without its frame, and a framed reply is sent with it.
    """

    @property
    def send(self) -> Callable[[bytes | bytearray], None]:
        """Sends the frame of a reply; the caller may overwrite the frame afterwards."""

    def receive(self) -> Any:
        """Wait for the next request, which is valid until the next call; None if the client has left.

        If the process crashes, another one resumes a framed session on the socket, from the bytes given to
        :meth:`~gymtwist.worker.recovery_state.RecoveryState.keep_pending` before each request. If the client of a
        transport cannot return to the socket, the transport calls
        :meth:`~gymtwist.worker.recovery_state.RecoveryState.end` before its first request, and the session ends with
        its process.
        """

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send a reply that is the concatenation of the parts."""


class SocketTransport:
    """A client's socket.

    Args:
        connection: The socket, in blocking mode.
        buffer: The receive buffer.
        take: Takes the next request from the buffer; returns None if it is incomplete.
        receive_into: Receives into a buffer; see :func:`~gymtwist.worker.socket_waiting.receiver`.

    Attributes:
        buffer: The receive buffer.
    """

    send: Callable[[bytes | bytearray], None]

    def __init__(
        self,
        connection: socket.socket,
        buffer: ReceiveBuffer,
        take: Callable[[], Any],
        receive_into: Callable[[memoryview], int],
    ) -> None:
        self._connection = connection
        self.buffer = buffer
        self._take = take
        self._receive_into = receive_into
        self.send = connection.sendall

    def receive(self) -> Any:
        """Wait for the next request, which is valid until the next call; None if the client has left.

        Raises:
            ProtocolError: The received bytes are not a request.
            OSError: The connection has broken.
        """
        buffer = self.buffer
        while True:
            if buffer.start < buffer.end and (request := self._take()) is not None:
                return request
            if not buffer.fill(self._receive_into):
                return None

    def begin(self) -> None:
        """Begin background work; a plain socket has none."""

    def end(self) -> None:
        """End the background work."""

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send parts with one system call, without joining them; a signal or a slow peer may cause more calls.

        Args:
            parts: Bytes; the items of a view must be bytes, too.
        """
        sent = self._connection.sendmsg(parts)
        if sent < sum(map(len, parts)):
            for part in parts:
                if sent < len(part):
                    self._connection.sendall(memoryview(part)[sent:])
                sent = max(sent - len(part), 0)


class FrameTransport(SocketTransport):
    """A client's socket that carries frames, with a recovery state that another process can resume from.

    Args:
        connection: The socket, in blocking mode.
        reader: The receive buffer.
        recovery: The session's recovery state.
        receive_into: Receives into a buffer; see :func:`~gymtwist.worker.socket_waiting.receiver`.
    """

    _take: Callable[[], memoryview | None]

    def __init__(
        self,
        connection: socket.socket,
        reader: FrameReader,
        recovery: RecoveryState,
        receive_into: Callable[[memoryview], int],
    ) -> None:
        super().__init__(connection, reader, reader.next_frame, receive_into)
        self._reader = reader
        self._recovery = recovery
        self._keep_pending = recovery.keep_pending

    def limit_requests(self, most: int) -> None:
        """Refuse requests of more than this many bytes."""
        self._reader.limit = most

    def skips_doorbells(self) -> None:
        """Skip empty frames, the doorbells of shared memory, from now on."""
        self._reader.least = 0

    def receive(self) -> bytes | memoryview | None:
        """Wait for the payload of the next request; see :meth:`SocketTransport.receive`."""
        reader = self._reader
        while True:
            if reader.start < reader.end and (payload := self._take()) is not None:
                if len(payload) or reader.least:
                    self._keep_pending(reader)
                    return payload
            elif not reader.fill(self._receive_into):
                return None
