"""How requests come to a session and replies leave it: through its socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from gymtwist.protocol.framing import FrameReader
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.reply_writer import send_parts


class SocketTransport:
    """A client's socket.

    Args:
        connection: The socket, in blocking mode.
        reader: What was received and not taken yet.
        remains: What to leave behind for another process.
        receive: Receives into a buffer, from the socket; see :func:`~gymtwist.worker.socket_waiting.receiver`.
    """

    def __init__(
        self,
        connection: socket.socket,
        reader: FrameReader,
        recovery: RecoveryState,
        receive: Callable[[memoryview], int],
    ) -> None:
        self.connection = connection
        self.reader = reader
        self.recovery = recovery
        self.receive_into = receive
        self._next_frame, self._received = reader.next_frame, reader.received
        self._space, self._keep_pending = reader.space, recovery.keep_pending

    def receive(self) -> bytes | memoryview | None:
        """Wait for the payload of the next request, valid until the next call; None if the client has left.

        Raises:
            ProtocolError: What comes is no frame.
            OSError: The connection has broken.
        """
        while True:
            frame = self._next_frame()
            if frame is not None:
                if len(frame) or self.reader.least:
                    self._keep_pending(self.reader)
                    return frame
                continue
            count = self.receive_into(self._space())
            if not count:
                return None
            self._received(count)

    def sender(self) -> Callable[[bytes | bytearray], None]:
        """Return what sends the frame of a reply."""
        return self.connection.sendall

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send the parts of a reply."""
        send_parts(self.connection, parts)
