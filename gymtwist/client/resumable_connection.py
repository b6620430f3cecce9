"""A connection that outlives the one it is made of: when that is lost, another one goes on with the session.

Requests are kept until their replies have come. The server says how many of them it has; the rest is sent again, and it
sends the replies again that were lost.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import select
import time
from collections.abc import Callable
from typing import NamedTuple

from gymtwist.client import fork_safety
from gymtwist.client.address import Address, Attempts, retried
from gymtwist.client.client_errors import ConnectionLost, RemoteError, RequestRefused, of_reply
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.progress import Report
from gymtwist.client.shared_memory_connection import SharedMemoryConnection
from gymtwist.errors import GymtwistError
from gymtwist.protocol import messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.resume_messages import Resume, Resumed

_log = logging.getLogger("gymtwist.client")
#: Seconds to wait for outstanding replies before a session is closed.
_CLOSE_TIMEOUT = 1.0


class Reopening(NamedTuple):
    """How to reach the server again.

    Attributes:
        address: The server's address.
        open: Connects.
        token: The client's token.
        report: Called while the client waits.
    """

    address: Address
    open: Callable[[Attempts], FrameConnection]
    token: str | None = None
    report: Report | None = None


class ResumableConnection(FrameConnection):
    """A connection over one connection after the other.

    Args:
        connection: The first one; the reply to ``make`` was the last that it has received.
        granted: What the server has granted.
        codec: The codec of the session.
        reopening: How to reach the server again.
    """

    def __init__(
        self, connection: FrameConnection, granted: messages.Resumable, codec: MessageCodec, reopening: Reopening
    ) -> None:
        self._inner = connection
        self.name = connection.name
        self._granted, self._codec, self._reopening = granted, codec, reopening
        #: The requests whose replies have not come, and how many were sent in all.
        self._unanswered: collections.deque[bytes] = collections.deque()
        self._sent = 0
        self._largest = 0
        #: The attempts since the last reply; None if the connection was not lost since.
        self._attempts: Attempts | None = None
        self._is_final = False
        fork_safety.register(self)

    @property
    def direct(self) -> FrameConnection:
        """The connection that there is."""
        return self._inner

    # What it has in common with that

    @property
    def due(self) -> int:
        """How many replies are due."""
        return self._inner.due

    @due.setter
    def due(self, due: int) -> None:
        self._inner.due = due

    @property
    def timeout(self) -> float | None:
        """Seconds to wait for a reply; None for no limit."""
        return self._inner.timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        self._inner.timeout = timeout

    @property
    def descriptor(self) -> int:
        """The descriptor of the socket that there is."""
        return self._inner.descriptor

    @descriptor.setter
    def descriptor(self, descriptor: int) -> None:
        raise AttributeError("it is that of the connection")

    @property
    def has_received(self) -> bool:
        """True if bytes were received that nobody has taken."""
        return self._inner.has_received

    def is_ready(self) -> bool:
        """See :meth:`FrameConnection.is_ready`."""
        return self._inner.is_ready()

    def announce_wait(self, waits: bool) -> None:
        """See :meth:`FrameConnection.announce_wait`."""
        self._inner.announce_wait(waits)

    def invalidate(self) -> None:
        """See :meth:`FrameConnection.invalidate`."""
        self._inner.invalidate()

    def limit_replies(self, most: int) -> None:
        """See :meth:`FrameConnection.limit_replies`."""
        self._inner.limit_replies(most)

    def timed_out(self, problem: str = "") -> Exception:  # type: ignore[override]
        """See :meth:`FrameConnection.timed_out`."""
        return self._inner.timed_out(problem)

    def check_open(self) -> None:
        """See :meth:`FrameConnection.check_open`; a connection that was lost is open, as it can be resumed."""
        try:
            self._inner.check_open()
        except ConnectionLost:
            if self._is_final:
                raise

    # Requests and replies

    def send(self, data: bytes) -> None:
        """Send a request, and keep it until its reply has come; see :meth:`FrameConnection.send`.

        Raises:
            RequestRefused: The server could not keep as many replies as would be due.
        """
        due = self._inner.due
        if due and (due + 1) * self._largest > self._granted.kept:
            raise RequestRefused(
                f"{due} replies are due, and the server keeps those that may be lost with the connection up to "
                f"{self._granted.kept} bytes: receive some first, or connect without resume",
                code="replies-outstanding",
            )
        self._settle()
        # First: an interrupt may come at any time.
        self._unanswered.append(data)
        self._sent += 1
        try:
            self._inner.send(data)
        except ConnectionLost as error:
            self._resume(error)
        except RequestRefused:
            self._unanswered.pop()
            self._sent -= 1
            raise

    def receive(self) -> bytes | memoryview:
        """Return the next payload; see :meth:`FrameConnection.receive`."""
        while True:
            try:
                payload = self._inner.receive()
                break
            except ConnectionLost as error:
                self._resume(error)
        self._settle()
        self._attempts = None
        if len(payload) > self._largest:
            self._largest = len(payload)
        return payload

    def _settle(self) -> None:
        """Forget the requests whose replies have come."""
        unanswered, due = self._unanswered, self._inner.due
        while len(unanswered) > due:
            unanswered.popleft()

    # Another connection

    def _resume(self, lost: ConnectionLost) -> None:
        """Connect again, and go on.

        Raises:
            ConnectionLost: That is not possible.
        """
        if self._is_final:
            raise lost
        self._inner.close(lost)
        since, seconds = time.monotonic(), self._granted.seconds
        try:
            if self._attempts is None:
                where, report = self._reopening.address, self._reopening.report
                self._attempts = Attempts(where, seconds, report, is_restart=True)
                _log.warning("%s; connecting again to resume the session, for up to %g s", lost.message, seconds)
            else:
                time.sleep(self._attempts.pause_after(lost))
            attempts = self._attempts
            sent_again, replies_lost = retried(lambda: self._reconnect(attempts), attempts)
        except RemoteError as error:
            why = "" if error is lost else f"; the session cannot be resumed: {error.message}"
            final = ConnectionLost(f"{lost.message}{why}", code=lost.code if error is lost else error.code)
            self.close(final)
            raise final from error
        _log.warning(
            "%s: the session goes on after %.1f s (requests sent again: %d; received by the server before: %d)",
            self.name,
            time.monotonic() - since,
            sent_again,
            replies_lost,
        )

    def _reconnect(self, attempts: Attempts) -> tuple[int, int]:
        """Connect once; return how many requests were sent again, and how many had been received without a reply.

        Raises:
            RemoteError: The connection is lost as well, or the session cannot go on.
        """
        reopening, kept = self._reopening, list(self._unanswered)
        connection = reopening.open(attempts)
        try:
            known = self._ask(connection, self._sent - len(kept), reopening.token)
            # The server sends the replies to these without another request.
            connection.due = known
            for frame in kept[known:]:
                connection.send(frame)
        except BaseException as error:
            connection.close(error if isinstance(error, RemoteError) else None)
            raise
        if isinstance(connection, SharedMemoryConnection):
            connection.is_lost = isinstance(self._inner, SharedMemoryConnection) and self._inner.has_shared
        connection.explain_unasked = self._inner.explain_unasked
        self._inner = connection
        return len(kept) - known, known

    def _ask(self, connection: FrameConnection, received: int, token: str | None) -> int:
        """Resume the session; return how many of the requests that are kept the server has.

        Raises:
            RemoteError: That is not possible.
        """
        request = Resume(self._granted.secret, received, token)
        connection.send(b"".join(self._codec.encode_request(request)))
        try:
            reply = self._codec.decode_reply(connection.receive())
        except GymtwistError as error:
            if isinstance(error, RemoteError):
                raise
            raise ConnectionLost(f"the reply to resume is malformed: {error}", code=error.code) from error
        if isinstance(reply, messages.Error):
            raise of_reply(reply)
        known = reply.received - received if isinstance(reply, Resumed) else -1
        if not 0 <= known <= len(self._unanswered):
            raise RequestRefused("the server has lost requests, or counts others", code="malformed-message")
        return known

    # The end

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection for good, and with it the session; see :meth:`FrameConnection.close`."""
        if not self._is_final:
            self._is_final = True
            if reason is None:
                with contextlib.suppress(RemoteError, OSError):
                    self._end_session()
            self._inner.close(reason)

    def _end_session(self) -> None:
        """Tell the server that this is the end, and not the loss of a connection."""
        inner = self._inner
        inner.send(b"".join(self._codec.encode_request(messages.Close())))
        # What the system has received and nobody reads makes it reset the connection, and the message may be lost.
        deadline, events = time.monotonic() + _CLOSE_TIMEOUT, select.poll()
        events.register(inner.descriptor, select.POLLIN)
        while inner.due > 1 and (left := deadline - time.monotonic()) > 0:
            if inner.is_ready():
                inner.receive()
            else:
                events.poll(1e3 * left)

    def before_fork(self) -> None:
        """See :class:`~gymtwist.client.fork_safety.Inherited`; the connection that there is does it itself."""

    def __del__(self) -> None:
        """End the session of a client that has forgotten to close it."""
        if not self.__dict__.get("_is_final", True):
            self.close()
