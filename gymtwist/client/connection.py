"""One connection to a server: frames out, frames in, in time or not at all."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from time import monotonic, perf_counter

from gymtwist.client.client_errors import Closed, ConnectionLost, ProtocolBroken, RemoteError, TimedOut
from gymtwist.client.fork_safety import close_in_children
from gymtwist.errors import ProtocolError
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import FrameReader, Framing

#: The longest payload that is accepted, and the most that is kept of what nobody has taken yet: more than any server
#: sends.
MAX_REPLY = 1 << 30


class Connection:
    """A connection, from when it is there until it is closed.

    Args:
        connected: A connected socket.
        name: Of the server, for messages.
        framing: How frames are told apart.
        timeout: Seconds to wait for a reply; None for any time.
        policy: Decides between polling and blocking.

    Attributes:
        name: Of the server, for messages.
        timeout: Seconds to wait for a reply; None for any time.
        due: How many replies are due: those to what was interrupted while it waited, too, which come first.
    """

    def __init__(
        self, connected: socket.socket, name: str, framing: Framing, timeout: float | None, policy: WaitPolicy
    ) -> None:
        self._socket: socket.socket | None = connected
        self.name = name
        self.timeout = timeout
        self._policy = policy
        self._reader = FrameReader(framing, limit=MAX_REPLY)
        self._next_frame = self._reader.next_frame
        self._send, self._receive = connected.send, connected.recv_into
        self._poll = select.poll()
        self._descriptor = connected.fileno()
        self._plain = type(connected) is socket.socket
        self._now: int = socket.MSG_DONTWAIT
        self._not_yet: tuple[type[OSError], ...] = (BlockingIOError,)
        if self._plain:
            _block(connected, timeout)
        else:
            connected.setblocking(False)
            self._now, self._not_yet = 0, _would_block_errors()
        self.due = 0
        # How many bytes one call has received: the call itself adds it, so that no interrupt (which Python raises
        # between calls) can come before that.
        self._counts: list[int] = []
        #: Whether to be interrupted does no harm: all that was received is either noted or among the counts.
        self._waits = False
        #: Why nothing more can be sent, if so; there may be something left to read, which says more.
        self._broken: OSError | None = None
        self._end: RemoteError | None = None
        close_in_children(self)

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection; once, and for good.

        Args:
            reason: What whoever goes on using it is told.
        """
        if self._socket is not None:
            self._end = reason
            connected, self._socket = self._socket, None
            with contextlib.suppress(OSError):
                connected.close()

    def check_open(self) -> None:
        """Check that the connection is open.

        Raises:
            RemoteError: It is not: closed by the user, or lost before.
        """
        if self._socket is not None:
            return
        if self._end is None:
            raise Closed("the environment is closed; connect again to go on")
        raise type(self._end)(f"{self._end.message}; connect again to go on", code=self._end.code)

    def invalidate(self) -> None:
        """Note that the environment has failed, or may have: perhaps its process is another one now."""

    def before_fork(self) -> None:
        """Prepare for another process that has what this one has, but for the connection."""

    def send(self, data: bytes) -> None:
        """Send a request; what goes wrong is told when the reply is waited for, as the server may have said why.

        Raises:
            RemoteError: The connection is closed.
            TimedOut: The server does not read.
        """
        if self._socket is None:
            self.check_open()
        self.due += 1
        try:
            if self._policy.is_trial:
                self._policy.begin()
            self._put(data)
        except RemoteError:
            raise
        except OSError as error:
            self._broken = error
        except BaseException:
            # An interrupt (Ctrl-C): how much is sent is not known, and half a frame spoils all that would follow.
            self._cut()
            raise

    def _put(self, data: bytes) -> None:
        """Put a request where the server finds it."""
        try:
            sent = self._send(data, self._now)
        except self._not_yet:
            sent = 0
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, rest: memoryview) -> None:
        deadline = self._deadline()
        try:
            while rest:
                # A server that waits until its replies are read would not read meanwhile.
                self._wait(select.POLLIN | select.POLLOUT, deadline)
                with contextlib.suppress(*self._not_yet):
                    self._read_some()
                with contextlib.suppress(*self._not_yet):
                    rest = rest[self._send(rest, self._now) :]
                # A server that sends without end is never waited for.
                if deadline is not None and monotonic() > deadline:
                    raise self._late()
        except OSError as error:
            if isinstance(error, RemoteError):
                raise
            self._broken = error

    def _read_some(self) -> None:
        start, end = self._reader.pending
        if end - start > MAX_REPLY:
            told = ProtocolBroken(
                f"{self.name} has sent more than {MAX_REPLY} bytes that nobody has taken; the connection is closed"
            )
            self.close(told)
            raise told
        count = self._receive(self._reader.space(), 0, self._now)
        if not count:
            raise ConnectionResetError("the server closed the connection")
        self._reader.received(count)

    def receive(self) -> bytes | memoryview:
        """Return the next payload, valid until the next call and until the next request is sent.

        Raises:
            ConnectionLost: The connection has ended.
            TimedOut: The payload did not come in time, and the connection is closed.
            ProtocolBroken: What came is no frame, and the connection is closed.
        """
        if self._socket is None:
            self.check_open()
        self._waits = False
        try:
            frame = self._take()
            self.due -= 1
            return frame
        except ProtocolError as error:
            told = ProtocolBroken(f"{self.name} does not speak the protocol: {error}", code=error.code)
            self.close(told)
            raise told from error
        except OSError as error:
            if isinstance(error, RemoteError):
                raise
            raise self._lost(error) from error
        except BaseException:
            if not self._waits:
                self._cut()
            elif self._counts:
                self._note()
            raise

    def _take(self) -> bytes | memoryview:
        """Take the next payload, or wait for it."""
        frame = self._next_frame()
        if frame is None:
            policy = self._policy
            if seconds := policy.poll_seconds:
                frame = self._polled(seconds)
                if frame is not None:
                    policy.hit()
                else:
                    policy.miss()
            if frame is None:
                frame = self._awaited()
            policy.waits_left -= 1
            if policy.is_trial or policy.waits_left <= 0:
                self._adapt()
        return frame

    def _adapt(self) -> None:
        """Let the policy decide anew."""
        self._policy.next()

    def _cut(self) -> None:
        """Close the connection as an interrupt came where it is not known how much was sent or received."""
        self.close(ConnectionLost("a message was interrupted on its way, and so the connection is closed"))

    def _polled(self, seconds: float) -> memoryview | None:
        """Poll for a frame for a moment."""
        receive, not_yet, reader, counts = self._receive, self._not_yet, self._reader, self._counts
        space, size, now = (reader.space(),), (0,), (self._now,)
        until = perf_counter() + seconds
        self._waits = self._plain
        while True:
            try:
                counts.extend(map(receive, space, size, now))
            except not_yet:
                if perf_counter() > until:
                    return None
                continue
            self._note()
            frame = reader.next_frame()
            if frame is not None:
                return frame
            space = (reader.space(),)
            self._waits = self._plain

    def _note(self) -> None:
        """Note what was received.

        Raises:
            ConnectionResetError: The end.
        """
        self._waits = False
        count = self._counts.pop()
        if not count:
            raise ConnectionResetError("the server closed the connection")
        self._reader.received(count)

    def _awaited(self) -> memoryview:
        """Wait for a frame."""
        deadline = None
        while True:
            self._receive_some(deadline)
            frame = self._next_frame()
            if frame is not None:
                return frame
            # It comes in pieces: all of it must be there in time.
            deadline = deadline or self._deadline()

    def _receive_some(self, deadline: float | None) -> None:
        """Wait until there is something to receive.

        Args:
            deadline: When it is too late; None for as long after now as a reply may take.

        Raises:
            TimedOut: It is too late.
            ConnectionResetError: The end.
        """
        if deadline is not None and monotonic() > deadline:
            raise self._late()
        while True:
            space = (self._reader.space(),)
            self._waits = self._plain
            try:
                self._counts.extend(map(self._receive, space))
            except self._not_yet:
                if self._plain:
                    raise self._late() from None
                deadline = deadline or self._deadline()
                self._wait(select.POLLIN, deadline)
            else:
                self._note()
                return

    def _deadline(self) -> float | None:
        return None if self.timeout is None else monotonic() + self.timeout

    def _wait(self, events: int, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - monotonic())
        self._poll.register(self._descriptor, events)
        self._waits = events == select.POLLIN
        if not self._poll.poll(None if left is None else 1e3 * left) and left is not None:
            raise self._late()

    def _late(self) -> TimedOut:
        told = TimedOut(
            f"no answer from {self.name} within {self.timeout:g} s; the connection is closed, as the answer might "
            "still come"
        )
        self.close(told)
        return told

    def _lost(self, error: OSError) -> ConnectionLost:
        why = str(self._broken or error)
        told = ConnectionLost(f"the connection to {self.name} has ended: {why}")
        self.close(told)
        return told


def _block(connected: socket.socket, timeout: float | None) -> None:
    """Let a socket wait in the kernel alone, which takes one system call; Python's own timeouts take two.

    Args:
        connected: A socket without TLS.
        timeout: Seconds to wait for bytes until :class:`BlockingIOError` is raised; None for no limit.
    """
    connected.settimeout(None)
    if timeout is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(timeout))


def _timeval(seconds: float) -> bytes:
    """Encode seconds as a ``struct timeval``; never as zero, which the kernel takes for no limit."""
    whole, part = divmod(max(seconds, 1e-3), 1.0)
    return struct.pack("@ll", int(whole), int(part * 1e6))


def _would_block_errors() -> tuple[type[OSError], ...]:
    """Return the errors of a non-blocking socket that cannot read or write at once."""
    try:
        from ssl import SSLWantReadError, SSLWantWriteError
    except ImportError:
        return (BlockingIOError,)
    return (BlockingIOError, SSLWantReadError, SSLWantWriteError)
