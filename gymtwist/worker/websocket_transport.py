"""A client's socket that carries WebSocket messages."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic  # by name: an environment may patch the module

from gymtwist.protocol.framing import Parts
from gymtwist.protocol.websocket import CloseCode, Opcode, WebSocketReader, close_frame, frame_header, pong
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.session_status import BUSY_SINCE, REQUEST_SINCE, SessionStatus
from gymtwist.worker.transports import SocketTransport

#: Seconds after which a request counts as long, so that a thread answers pings. Clients wait for 20 s or more.
LONG_REQUEST = 2.0
#: Milliseconds to wait for bytes from the client before checking whether the request has ended.
_GLANCE = 20
_STACK = 256 * 1024


class WebSocketTransport(SocketTransport):
    """A client's socket that carries WebSocket messages, with a recovery state that another process can resume from.

    Args:
        connection: The socket, in blocking mode.
        opcode: The kind of the messages.
        received: The bytes received after the handshake.
        recovery: The session's recovery state.
        receive_into: Receives into a buffer; see :func:`~gymtwist.worker.socket_waiting.receiver`.
        status: The session's status.
        long_request: Seconds of a request after which a thread answers pings.
    """

    _take: Callable[[], memoryview | None]

    def __init__(
        self,
        connection: socket.socket,
        opcode: Opcode,
        received: bytes,
        recovery: RecoveryState,
        receive_into: Callable[[memoryview], int],
        status: SessionStatus,
        long_request: float = LONG_REQUEST,
    ) -> None:
        self._reader = WebSocketReader(self._control, received, borrowed=recovery.buffer, opcode=opcode)
        super().__init__(connection, self._reader, self._reader.next_frame, receive_into)
        self._keep_pending = recovery.keep_pending
        self._opcode = int(opcode)  # an int makes arithmetic faster
        self._closed = False
        self.send = self._send_whole
        self._words = status.words
        self._long_request = long_request
        self.begin()

    def limit_requests(self, most: int) -> None:
        """Refuse requests of more than this many bytes."""
        self._reader.limit = most

    def receive(self) -> memoryview | None:
        """Wait for the next request; see :meth:`SocketTransport.receive`."""
        reader = self._reader
        while True:
            if reader.start < reader.end and (payload := self._take()) is not None:
                self._keep_pending(reader)
                return payload
            if reader.closed is not None:
                self.close(reader.closed[0])
                return None
            if not reader.fill(self._receive_into):
                # The client has left without a close frame, or the server ends the session.
                self.close(CloseCode.GOING_AWAY, "the server ends the session")
                return None

    def _send_whole(self, data: bytes | bytearray) -> None:
        self.send_parts((data,))

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send a reply that is the concatenation of the parts; see :meth:`SocketTransport.send_parts`."""
        frame: Parts = [frame_header(self._opcode, sum(map(len, parts)))]
        frame += parts  # type: ignore[arg-type] # codecs make no bytearrays
        super().send_parts(frame)

    def _control(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            self._connection.sendall(pong(payload))

    def close(self, code: CloseCode | int, reason: str = "") -> None:
        """Close the WebSocket, and let the client see the end of the connection at once; later calls do nothing."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):  # the client has left
            self._connection.sendall(close_frame(code, reason))
            self._connection.shutdown(socket.SHUT_WR)

    def begin(self) -> None:
        """Start the thread that answers pings during long requests."""
        #: The thread holds it while it reads, when nobody else may use the connection.
        self._lock = threading.Lock()
        self._wanted = False
        self._ended = threading.Event()
        _start(self._watch)

    @property
    def was_closed_for_good(self) -> bool:
        """Whether the client has closed the WebSocket because it is done, rather than going away."""
        return self._reader.closed is not None and self._reader.closed[0] == CloseCode.NORMAL

    def end(self) -> None:
        """End the thread."""
        self._ended.set()

    # The thread that answers pings during long requests

    def _watch(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the connection or the status is closed: the session has ended
            while not self._ended.wait(self._long_request):
                since = self._busy_since()
                if since and monotonic() - since >= self._long_request:
                    with self._lock, self._exclusive():
                        self._answer_pings(since)

    def _busy_since(self) -> float:
        return self._words[REQUEST_SINCE] or self._words[BUSY_SINCE]

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Make the session wait for the thread before it uses the connection.

        The instance shadows the methods that the session would call, so a session without long requests pays nothing.
        The session looks them up after it has recorded that it is no longer busy.
        """
        self._wanted = False
        vars(self).update(receive=self._receive_after, send_parts=self._send_parts_after)
        try:
            yield
        finally:
            del self.receive, self.send_parts  # the shadowing attributes

    def _answer_pings(self, since: float) -> None:
        """Read what the client sends and answer its pings, while the session does not use the connection."""
        reader, poll = self._reader, select.poll()
        poll.register(self._connection, select.POLLIN)
        answered = False
        while self._busy_since() == since and not self._wanted and not self._ended.is_set():
            if not answered:  # pings that came together with the request
                reader.answer_pings(self._connection.sendall)
                answered = True
            if not poll.poll(_GLANCE):
                continue
            room = reader.room()
            if not len(room):
                return
            count = self._connection.recv_into(room, 0, socket.MSG_DONTWAIT)
            if not count:
                return
            reader.received(count)
            self._keep_pending(reader)  # first: a client that has the pong may rely on what it sent before the ping
            reader.answer_pings(self._connection.sendall)

    def _receive_after(self) -> memoryview | None:
        self._wanted = True
        with self._lock:
            pass
        return self.receive()

    def _send_parts_after(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        self._wanted = True
        with self._lock:
            pass
        self.send_parts(parts)


def _start(function: Callable[[], None]) -> None:
    """Start a thread that ends with the process; do without it if no thread can be started."""
    size = threading.stack_size(_STACK)
    try:
        threading.Thread(target=function, name="pings", daemon=True).start()
    except RuntimeError:  # --process-limit
        pass
    finally:
        threading.stack_size(size)
