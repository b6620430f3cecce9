"""Blocking client connection with reply timeouts.

A signal handler may raise between any two bytecodes (Ctrl-C raises KeyboardInterrupt), and the connection must survive
it where possible. So bytes are received by one call from C code, ``counts.extend(map(receive, ...))``, which also
records their number: no signal can come between the two. While ``_is_interruptible`` is true, all received bytes are
either in the reader or counted there. At any other time an interrupt closes the connection.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter

from gymtwist.client.client_errors import ConnectionLost, RemoteError
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.progress import INTERVAL
from gymtwist.errors import ProtocolError
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing

#: Seconds to connect to a session's node.
_MOVE_TIMEOUT = 5.0
#: Options of the connection to a node: it counts as lost after 10 seconds in which nothing is acknowledged. Only the
#: server, which is reached in another way, knows of a node that is cut off, so the client must ask it.
_NODE_OPTIONS = (
    ("TCP_NODELAY", 1),
    ("TCP_KEEPIDLE", 4),
    ("TCP_KEEPINTVL", 2),
    ("TCP_KEEPCNT", 3),
    ("TCP_USER_TIMEOUT", 10_000),
)


class Connection(FrameConnection):
    """A connection whose methods block.

    Args:
        connected: A connected socket.
        name: The server's name, for messages.
        framing: How frames are delimited.
        timeout: Seconds to wait for a reply; None for no limit.
        policy: Decides between polling and blocking.
    """

    def __init__(
        self, connected: socket.socket, name: str, framing: Framing, timeout: float | None, policy: WaitPolicy
    ) -> None:
        #: False with TLS, because the TLS layer buffers and waits in ways that the kernel does not see.
        is_plain = type(connected) is socket.socket
        super().__init__(connected, connected.fileno(), name, framing, timeout, is_plain=is_plain)
        self._policy = policy
        #: When the last request was sent; set only during a trial of the policy.
        self._sent_at = 0.0
        self._next_frame = self._reader.next_frame
        self._send, self._receive = connected.send, connected.recv_into
        self._events = select.poll()
        if is_plain:
            _block_in_kernel(connected, timeout)
            self._flags: int = socket.MSG_DONTWAIT
            self._would_block: tuple[type[OSError], ...] = (BlockingIOError,)
        else:
            connected.setblocking(False)
            self._flags, self._would_block = 0, _would_block_errors()
        #: How many received bytes the reader does not know of yet: at most one number.
        self._counts: list[int] = []
        #: True while a signal cannot lose data.
        self._is_interruptible = False
        #: The connection to the server, while this connection is to a node; otherwise None.
        self._front: socket.socket | None = None
        #: What to send to the server if the connection to the node is lost.
        self._back_request = b""
        #: Why nothing more can be sent. The server may have sent a better reason before, still to be read.
        self._send_error: OSError | None = None

    # Sending

    def send(self, data: bytes) -> None:
        """Send a request.

        On a broken connection, the error is raised when the reply is received, because the server may have sent the
        reason.

        Raises:
            RemoteError: The connection is closed.
            TimedOut: The server does not read the request.
        """
        if self._link is None or (not self.due and self._reader.start != self._reader.end):
            self._check_unasked()
        self.due += 1
        try:
            if self._policy.is_trial:
                self._sent_at = perf_counter()
            self._put(data)
        except RemoteError:
            raise
        except OSError as error:
            self._send_error = error
        except BaseException:
            # It is unknown how much was sent before the interrupt, and half a frame would corrupt all that follow.
            self._close_after_interrupt()
            raise

    def _put(self, data: bytes) -> None:
        """Pass a request to the server."""
        try:
            sent = self._send(data, self._flags)
        except self._would_block:
            sent = 0
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        """Send bytes that the socket's buffer had no room for, receiving in the meantime.

        A server that waits until its replies are read reads no requests.
        """
        deadline = self._deadline()
        while rest:
            self._wait_for_events(select.POLLIN | select.POLLOUT, deadline)
            with contextlib.suppress(*self._would_block):
                self._receive_while_sending()
            with contextlib.suppress(*self._would_block):
                rest = rest[self._send(rest, self._flags) :]
            # A server that never stops sending would always make progress.
            if deadline is not None and monotonic() > deadline:
                raise self.timed_out()

    def _receive_while_sending(self) -> None:
        self._check_pending()
        count = self._receive(self._reader.space(), 0, self._flags)
        if not count:
            raise ConnectionResetError("the server closed the connection")
        self._reader.received(count)

    # Receiving

    def receive(self) -> bytes | memoryview:
        """Return the next payload, valid until the next call and until the next request is sent.

        Raises:
            ConnectionLost: The connection has ended.
            TimedOut: The payload did not come in time, and the connection is closed.
            ProtocolBroken: The bytes are not a frame, and the connection is closed.
        """
        if self._link is None:
            self.check_open()
        self._is_interruptible = False
        try:
            frame = self._take()
            self.due -= 1
            return frame
        except ProtocolError as error:
            raise self._broken(error) from error
        except RemoteError:
            raise
        except OSError as error:
            if self._go_back():
                return self.receive()
            raise self._lost(self._send_error or error) from error
        except BaseException:
            self._settle_interrupt()
            raise

    # The node of a session

    def move(self, host: str, port: int, ticket: bytes, back_request: bytes) -> bool:
        """Continue at a node of the server.

        The descriptor keeps its number, so its users do not notice.

        Args:
            host: The node's address.
            port: The node's port.
            ticket: What to send to the node first.
            back_request: What to send to the server if the connection to the node is lost while a reply is due.

        Returns:
            Whether the node can be reached.
        """
        if not self._is_plain:
            return False
        try:
            with socket.create_connection((host, port), _MOVE_TIMEOUT) as node:
                node.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for name, value in _NODE_OPTIONS:
                    if hasattr(socket, name):
                        node.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
                node.sendall(ticket + b"\n")
                _block_in_kernel(node, self.timeout)
                self._front = socket.socket(fileno=os.dup(self.descriptor))
                os.dup2(node.fileno(), self.descriptor, inheritable=False)
        except OSError:
            return False
        self._back_request = back_request
        return True

    def _go_back(self) -> bool:
        """Return to the server after the connection to a node is lost; return whether to expect the server's reply."""
        if self._front is None or self.due != 1 or self._link is None:
            return False
        self.invalidate()
        with self._front as front:
            self._front = None
            os.dup2(front.fileno(), self.descriptor, inheritable=False)
        self._reader.start = self._reader.end = 0
        self._send_error = None
        try:
            Connection._put(self, self._back_request)
        except OSError:
            return False
        return True

    def close(self, reason: RemoteError | None = None) -> None:
        """See :meth:`FrameConnection.close`; this also closes the connection to the server of a node."""
        super().close(reason)
        if self._front is not None:
            self._front.close()
            self._front = None

    def _settle_interrupt(self) -> None:
        """Keep what was received before an interrupt; if that is unknown, close the connection."""
        if not self._is_interruptible:
            self._close_after_interrupt()
        elif self._counts:
            self._count_received()

    def _close_after_interrupt(self) -> None:
        self.close(ConnectionLost("a message was interrupted on its way, and so the connection is closed"))

    def _take(self) -> bytes | memoryview:
        """Take the next payload, or wait for it."""
        frame = self._next_frame()
        if frame is not None:
            return frame
        policy = self._policy
        if seconds := policy.poll_seconds:
            frame = self._poll_for_frame(seconds)
            if frame is None:
                policy.miss()
        if frame is None:
            self._receive_some(None)
            frame = self._next_frame()
            if frame is None:
                frame = self._receive_rest()
        policy.waits_left -= 1
        if policy.waits_left <= 0:
            self._adapt()
        return frame

    def _adapt(self) -> None:
        """Let the policy decide how to wait from now on."""
        self._policy.adapt(perf_counter() - self._sent_at)

    def _poll_for_frame(self, seconds: float) -> memoryview | None:
        """Poll for a frame; None if it does not come in time."""
        receive, would_block, reader, counts = self._receive, self._would_block, self._reader, self._counts
        space, size, flags = (reader.space(),), (0,), (self._flags,)
        until = perf_counter() + seconds
        self._is_interruptible = self._is_plain
        while True:
            try:
                counts.extend(map(receive, space, size, flags))
            except would_block:
                if perf_counter() > until:
                    return None
                continue
            self._count_received()
            frame = reader.next_frame()
            if frame is not None:
                return frame
            space = (reader.space(),)
            self._is_interruptible = self._is_plain

    def _receive_some(self, deadline: float | None) -> None:
        """Block until bytes arrive.

        Args:
            deadline: The time at which to give up; None to give up after the timeout.

        Raises:
            TimedOut: No bytes came in time.
            ConnectionResetError: The server has closed the connection.
        """
        if deadline is not None and monotonic() > deadline:
            raise self.timed_out()
        space = (self._reader.space(),)
        while True:
            self._is_interruptible = self._is_plain
            try:
                self._counts.extend(map(self._receive, space))
                break
            except self._would_block:
                if self._is_plain:
                    raise self.timed_out() from None
                deadline = deadline or self._deadline()
                self._wait_for_events(select.POLLIN, deadline)
        self._count_received()

    def _count_received(self) -> None:
        """Report the received bytes to the reader.

        Raises:
            ConnectionResetError: The server has closed the connection.
        """
        self._is_interruptible = False
        count = self._counts.pop()
        if not count:
            raise ConnectionResetError("the server closed the connection")
        self._reader.received(count)

    def _receive_rest(self) -> memoryview:
        """Receive the rest of a frame, which must be complete in time."""
        deadline = self._deadline()
        while True:
            self._receive_some(deadline)
            frame = self._next_frame()
            if frame is not None:
                return frame

    def is_ready(self) -> bool:
        """See :meth:`FrameConnection.is_ready`."""
        self._is_interruptible = False
        try:
            while not self._reader.has_frame():
                space = (self._reader.space(),)
                self._is_interruptible = self._is_plain
                self._counts.extend(map(self._receive, space, (0,), (self._flags,)))
                self._count_received()
            return True
        except self._would_block:
            return False
        except (ProtocolError, OSError):  # which receive() explains
            return True
        except BaseException:
            self._settle_interrupt()
            raise

    @property
    def has_received(self) -> bool:
        """True if there are received bytes that have not been taken."""
        layer = getattr(self._link, "pending", None)  # the TLS layer's
        return super().has_received or (layer is not None and layer() > 0)

    # Timeouts

    def _deadline(self) -> float | None:
        return None if self.timeout is None else monotonic() + self.timeout

    def _wait_for_events(self, events: int, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - monotonic())
        self._events.register(self.descriptor, events)
        self._is_interruptible = events == select.POLLIN
        if not self._events.poll(None if left is None else 1e3 * left) and left is not None:
            raise self.timed_out()


def wait_for_any(
    connections: Sequence[FrameConnection], tick: Callable[[], None] | None = None, interval: float = INTERVAL
) -> int:
    """Wait until something arrives on one of several connections, or one of them ends.

    Args:
        connections: The connections.
        tick: Called periodically while nothing arrives.
        interval: Seconds between these calls.

    Returns:
        The index of that connection.

    Raises:
        TimedOut: Nothing arrived within the timeout of the first connection, which is closed.
    """
    events = select.poll()
    for index, connection in enumerate(connections):
        connection.check_open()
        if connection.has_received:
            return index
        events.register(connection.descriptor, select.POLLIN)
    left = math.inf if connections[0].timeout is None else connections[0].timeout
    longest = math.inf if tick is None else interval
    while not (found := events.poll(1e3 * min(left, longest) if min(left, longest) < math.inf else None)):
        left -= longest
        if tick is None or left <= 0:
            raise connections[0].timed_out()
        tick()
    return [connection.descriptor for connection in connections].index(found[0][0])


def wait_for_reply(connections: Sequence[FrameConnection]) -> list[int]:
    """Wait until a reply has arrived on one of several connections, or one of them has ended.

    If nothing arrives within the timeout of the first connection, that connection is closed.

    Args:
        connections: The connections.

    Returns:
        The indices of all connections whose :meth:`~FrameConnection.receive` would not wait.
    """
    if found := _ready(connections):
        return found
    events = select.poll()
    for connection in connections:
        events.register(connection.descriptor, select.POLLIN)
    timeout = connections[0].timeout
    try:
        for connection in connections:
            connection.announce_wait(True)
        # Whoever announces a wait must look for replies once more.
        while not (found := _ready(connections)):
            if not events.poll(None if timeout is None else 1e3 * timeout):
                connections[0].timed_out()
    finally:
        for connection in connections:
            connection.announce_wait(False)
    return found


def _ready(connections: Sequence[FrameConnection]) -> list[int]:
    return [index for index, connection in enumerate(connections) if connection.is_ready()]


def _block_in_kernel(connected: socket.socket, timeout: float | None) -> None:
    """Have a socket wait only in the kernel, which takes one system call; Python's own timeouts take two.

    Args:
        connected: A socket without TLS.
        timeout: Seconds to wait for bytes until :class:`BlockingIOError` is raised; None for no limit.
    """
    connected.settimeout(None)
    if timeout is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout))


def _timeval(seconds: float) -> bytes:
    """Encode seconds as a ``struct timeval``, but never as zero, which to the kernel means no limit."""
    whole, part = divmod(max(seconds, 1e-3), 1.0)
    return struct.pack("@ll", int(whole), int(part * 1e6))


def _would_block_errors() -> tuple[type[OSError], ...]:
    """Return the errors of a non-blocking socket that cannot read or write at once."""
    try:
        from ssl import SSLWantReadError, SSLWantWriteError
    except ImportError:
        return (BlockingIOError,)
    return (BlockingIOError, SSLWantReadError, SSLWantWriteError)
