"""Connections that reconnect: when the underlying connection is lost, a new one continues the session.

Requests are kept until their replies have come. The server says how many of them it has received; the client sends the
rest again, and the server sends the lost replies again.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gymtwist.client import fork_safety
from gymtwist.client.address import Address, Attempts, is_not_up, retried
from gymtwist.client.client_errors import Closed, ConnectionLost, RemoteError, RequestRefused, of_reply
from gymtwist.client.connection import wait_for_reply
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.progress import Report
from gymtwist.client.shared_memory_connection import SharedMemoryConnection
from gymtwist.errors import GymtwistError
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.resume_messages import Resume, Resumed

_log = logging.getLogger("gymtwist.client")
#: The maximum seconds that closing takes: until the server has confirmed the session's end, over any connection.
CLOSE_TIMEOUT = 5.0
#: Seconds between attempts to have a session ended.
CLOSE_PAUSE = 0.05
#: The minimum seconds to wait for something.
MIN_TIMEOUT = 1e-3


class Reopening(NamedTuple):
    """How to reach the server again.

    Attributes:
        address: The server's address.
        open: Connects within a number of seconds, None for the client's own limit; in an event loop, it returns a
            coroutine.
        token: The client's token.
        report: Called while the client waits.
    """

    address: Address
    open: Callable[[Attempts, float | None], Any]
    token: str | None = None
    report: Report | None = None


class OutlivingConnection(FrameConnection):
    """A connection over one connection after another: what the blocking and the asyncio kind share.

    Args:
        connection: The first connection, which has received all replies.
        granted: What the server has granted.
        codec: The codec of the session.
        taken_over: What the server has received since ``make``, all of which is answered.
        reopening: How to reach the server again.
    """

    def __init__(
        self,
        connection: FrameConnection,
        granted: make_messages.Resumable,
        codec: MessageCodec,
        taken_over: Resumed,
        reopening: Reopening,
    ) -> None:
        self._inner = connection
        self.name = connection.name
        self._granted, self._codec, self._reopening = granted, codec, reopening
        #: The requests whose replies have not come, and the number of all requests sent.
        self._unanswered: collections.deque[bytes] = collections.deque()
        self._sent, self._takeovers = taken_over.received, taken_over.takeovers
        self._largest = 0
        #: The attempts since the last reply; None if the connection has not been lost since then.
        self._attempts: Attempts | None = None
        self._is_final = False
        fork_safety.register(self)

    @property
    def direct(self) -> FrameConnection:
        """The current connection."""
        return self._inner

    # Attributes and methods of the current connection

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
        """The descriptor of the current connection's socket."""
        return self._inner.descriptor

    @descriptor.setter
    def descriptor(self, descriptor: int) -> None:
        raise AttributeError("it is that of the connection")

    @property
    def has_received(self) -> bool:
        """True if there are received bytes that have not been taken."""
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
        """See :meth:`FrameConnection.check_open`; a lost connection counts as open, because it can be resumed."""
        try:
            self._inner.check_open()
        except ConnectionLost:
            if self._is_final:
                raise

    # Requests and replies

    def _keep(self, data: bytes) -> None:
        """Keep a request until its reply has come.

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
        self._unanswered.append(data)
        self._sent += 1

    def _forget_last(self) -> None:
        """Forget the last request, which was not sent."""
        self._unanswered.pop()
        self._sent -= 1

    def _received(self, payload: bytes | memoryview) -> bytes | memoryview:
        """Record that a reply has come; return it."""
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

    def _begin_attempts(self, lost: ConnectionLost) -> Attempts:
        """Return new attempts to resume, the first since the last reply."""
        reopening, seconds = self._reopening, self._granted.seconds
        _log.warning("%s; connecting again to resume the session, for up to %g s", lost.message, seconds)
        self._attempts = Attempts(reopening.address, seconds, reopening.report, is_restart=True)
        return self._attempts

    def _given_up(self, lost: ConnectionLost, error: RemoteError) -> ConnectionLost:
        """Close the connection for good; return the error for later uses."""
        why = "" if error is lost else f"; the session cannot be resumed: {error.message}"
        final = ConnectionLost(f"{lost.message}{why}", code=lost.code if error is lost else error.code)
        self.close(final)
        return final

    def _tell_success(self, since: float, sent_again: int, replies_lost: int) -> None:
        _log.warning(
            "%s: the session goes on after %.1f s (requests sent again: %d; received by the server before: %d)",
            self.name,
            time.monotonic() - since,
            sent_again,
            replies_lost,
        )

    def _resume_request(self) -> bytes:
        """Encode the first request of a new connection."""
        request = Resume(self._granted.secret, self._sent - len(self._unanswered), self._reopening.token)
        return b"".join(self._codec.encode_request(request))

    def _use(self, connection: FrameConnection, payload: bytes | memoryview) -> tuple[int, int]:
        """Use a new connection from now on.

        Args:
            connection: The connection.
            payload: The reply to its resume request.

        Returns:
            How many requests were sent again, and how many the server had received without its replies arriving.

        Raises:
            RemoteError: The session cannot continue.
        """
        kept = list(self._unanswered)
        known = self._known(payload)
        # The server sends the replies to these without being asked again.
        connection.due = known
        for frame in kept[known:]:
            connection.send(frame)
        connection.explain_unasked = self._inner.explain_unasked
        self._inner = connection
        return len(kept) - known, known

    def _known(self, payload: bytes | memoryview) -> int:
        """Return how many of the kept requests the server has, according to its reply."""
        try:
            reply = self._codec.decode_reply(payload)
        except GymtwistError as error:
            raise ConnectionLost(f"the reply to resume is malformed: {error}", code=error.code) from error
        if isinstance(reply, messages.Error):
            raise of_reply(reply)
        known = -1
        if isinstance(reply, Resumed):
            if reply.takeovers != self._takeovers:
                raise RequestRefused("another client has gone on with this session", code="unknown-session")
            known = reply.received - (self._sent - len(self._unanswered))
        if not 0 <= known <= len(self._unanswered):
            raise RequestRefused("the server has lost requests, or counts others", code="malformed-message")
        return known

    # The end

    def _close_request(self) -> bytes:
        """Encode and keep the request that ends the session, so that the server does not wait for a reconnection."""
        frame = b"".join(self._codec.encode_request(messages.Close()))
        self._settle()
        self._unanswered.append(frame)
        self._sent += 1
        return frame

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection for good; see :meth:`FrameConnection.close`."""
        self._is_final = True
        self._inner.close(reason)

    def before_fork(self) -> None:
        """See :class:`~gymtwist.client.fork_safety.Inherited`; the current connection is registered itself."""


class ResumableConnection(OutlivingConnection):
    """A connection over one connection after another, whose methods block."""

    _inner: FrameConnection

    def send(self, data: bytes) -> None:
        """Send a request, and keep it until its reply has come; see :meth:`FrameConnection.send`.

        Raises:
            RequestRefused: The server could not keep as many replies as would be due.
        """
        self._keep(data)  # first: an interrupt may come at any time
        try:
            self._inner.send(data)
        except ConnectionLost as error:
            self._resume(error)
        except RequestRefused:
            self._forget_last()
            raise

    def receive(self) -> bytes | memoryview:
        """Return the next payload; see :meth:`FrameConnection.receive`."""
        while True:
            try:
                return self._received(self._inner.receive())
            except ConnectionLost as error:
                self._resume(error)

    def _resume(self, lost: ConnectionLost) -> None:
        """Reconnect and continue the session.

        Raises:
            ConnectionLost: That failed.
        """
        if self._is_final:
            raise lost
        self._inner.close(lost)
        since, attempts = time.monotonic(), self._attempts
        try:
            if attempts is None:
                attempts = self._begin_attempts(lost)
            else:
                time.sleep(attempts.pause_after(lost))
            found = retried(lambda: self._go_on(self._reopening.open(attempts, None)), attempts)
        except RemoteError as error:
            raise self._given_up(lost, error) from error
        self._tell_success(since, *found)

    def _go_on(self, connection: FrameConnection, deadline: float | None = None) -> tuple[int, int]:
        """Continue over a new connection.

        Args:
            connection: The connection.
            deadline: The time by which the server must have replied; None for the timeout of the connection.

        Returns:
            See :meth:`_use`.

        Raises:
            RemoteError: The new connection is lost, too, or the session cannot continue.
        """
        before = self._inner
        try:
            connection.send(self._resume_request())
            _wait(connection, deadline)
            found = self._use(connection, connection.receive())
        except BaseException as error:
            connection.close(error if isinstance(error, RemoteError) else None)
            raise
        if isinstance(connection, SharedMemoryConnection):
            connection.is_lost = isinstance(before, SharedMemoryConnection) and before.has_shared
        return found

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection and its session for good; see :meth:`FrameConnection.close`.

        The server has a few seconds to confirm that the session has ended.
        """
        if not self._is_final:
            self._is_final = True
            try:
                if reason is None:
                    with contextlib.suppress(RemoteError, OSError):
                        self._end_session()
            finally:
                self._inner.close(reason)

    def _end_session(self) -> None:
        """Have the server end the session, over a new connection if this one is lost.

        Raises:
            RemoteError: The session has ended, or the server does not confirm it in time.
        """
        deadline = time.monotonic() + CLOSE_TIMEOUT
        frame = self._close_request()
        with contextlib.suppress(RemoteError):
            self._inner.send(frame)
        while True:
            try:
                while self._inner.due:
                    _wait(self._inner, deadline)
                    self._inner.receive()
                return
            except RemoteError as error:
                self._inner.close(error)
            left = deadline - time.monotonic()
            try:
                self._go_on(
                    self._reopening.open(Attempts(self._reopening.address, 0.0), max(left, MIN_TIMEOUT)), deadline
                )
            except ConnectionLost as error:
                if left <= 0 or is_not_up(error.__cause__):  # a server that is not up has no session
                    raise
                time.sleep(CLOSE_PAUSE)

    def __del__(self) -> None:
        """End the session of a client that forgot to close it, or leave it to the holder of its resume token."""
        if not self.__dict__.get("_is_final", True):
            if self.leaves_session:
                leave(self)
            else:
                self.close()


def leave(connection: FrameConnection) -> None:
    """Close a connection, and leave its session waiting for another."""
    # Without a reason, the session would be ended.
    connection.close(Closed("the environment was detached, to be resumed"))


def _wait(connection: FrameConnection, deadline: float | None) -> None:
    """Wait for a reply until a deadline, at which the connection is closed."""
    if deadline is not None:
        connection.timeout = max(deadline - time.monotonic(), MIN_TIMEOUT)
        wait_for_reply([connection])
