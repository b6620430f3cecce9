"""A connection to a server as a stream of frames: its state, its end and its errors, whatever moves the bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from gymtwist.client import fork_safety
from gymtwist.client.client_errors import Closed, ConnectionLost, ProtocolBroken, RemoteError, TimedOut
from gymtwist.errors import ProtocolError
from gymtwist.protocol.framing import INT32_HEADER, FrameReader, Framing

#: The maximum bytes of a payload, and of all that a client buffers: more than any server sends.
MAX_REPLY = 1 << 30
#: What a TLS server sends to a client that does not start TLS: an alert record, of any version of TLS 1.
_TLS_ALERT = b"\x15\x03"


class Link(Protocol):
    """What moves the bytes of a connection, such as a socket."""

    def close(self) -> None:
        """Close the link without waiting for anything."""


class FrameConnection:
    """A connection to a server, from when it is established until it is closed.

    Args:
        link: What moves the bytes.
        descriptor: The socket's descriptor.
        name: The server's name, for messages.
        framing: How frames are delimited.
        timeout: Seconds to wait for a reply; None for no limit.
        is_plain: False with TLS.

    Attributes:
        name: The server's name, for messages.
        timeout: Seconds to wait for a reply; None for no limit.
        descriptor: The socket's descriptor.
        due: How many replies are due, including those to interrupted requests, which come first.
        explain_unasked: Returns the error for an unrequested frame; called with None if the frame is incomplete.
        leaves_session: Whether the session is left waiting if the connection is never closed; otherwise it is ended.
    """

    leaves_session = False

    def __init__(
        self, link: Link, descriptor: int, name: str, framing: Framing, timeout: float | None, *, is_plain: bool
    ) -> None:
        self._link: Link | None = link
        self.descriptor = descriptor
        self.name = name
        self.timeout = timeout
        self.due = 0
        self._reader = self._new_reader(framing)
        self._is_plain = is_plain
        self._reason: RemoteError | None = None
        self.explain_unasked: Callable[[memoryview | None], RemoteError] = unasked_reply
        fork_safety.register(self)

    def _new_reader(self, framing: Framing) -> FrameReader:
        """Return the reader that takes frames from the received bytes."""
        return FrameReader(framing, limit=MAX_REPLY)

    def send(self, data: bytes) -> None:
        """Send a request.

        On a broken connection, the error is raised when the reply is received, because the server may have sent the
        reason.

        Raises:
            RemoteError: The connection is closed.
        """
        raise NotImplementedError

    def receive(self) -> bytes | memoryview:
        """Return the next payload, valid until the next call and until the next request is sent.

        Raises:
            ConnectionLost: The connection has ended.
            TimedOut: The payload did not come in time, and the connection is closed.
            ProtocolBroken: The bytes are not a frame, and the connection is closed.
        """
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Return whether :meth:`receive` would not wait: a complete reply has come, or the reason why none will."""
        raise NotImplementedError

    def announce_wait(self, waits: bool) -> None:
        """Tell the server whether a reply must wake up this process, which waits for several connections."""

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the connection for good; closing it again does nothing.

        Args:
            reason: The error that later uses raise; None if the user closes the connection.
        """
        if self._link is not None:
            self._reason = reason
            link, self._link = self._link, None
            with contextlib.suppress(OSError):
                link.close()

    def check_open(self) -> None:
        """Check that the connection is open.

        Raises:
            RemoteError: The user has closed it, or it was lost.
        """
        if self._link is not None:
            return
        if self._reason is None:
            raise Closed("the environment is closed; connect again to go on")
        raise type(self._reason)(f"{self._reason.message}; connect again to go on", code=self._reason.code)

    def limit_replies(self, most: int) -> None:
        """Limit the bytes of each reply from now on; the default is :data:`MAX_REPLY`."""
        self._reader.limit = most

    def invalidate(self) -> None:
        """Discard what depends on the server's process, because the environment has failed or may have failed."""

    def before_fork(self) -> None:
        """See :class:`~gymtwist.client.fork_safety.Inherited`."""

    @property
    def direct(self) -> FrameConnection:
        """The connection itself; for a connection that reconnects, the current one."""
        return self

    @property
    def has_received(self) -> bool:
        """True if there are received bytes that have not been taken."""
        start, end = self._reader.pending
        return end > start

    def _check_unasked(self) -> None:
        """Check that the connection is open and that no unrequested frame came, which would pass for the next reply.

        Raises:
            RemoteError: The connection was closed, or has been closed now.
        """
        self.check_open()
        reader = self._reader
        frame = reader.next_frame()
        # Doorbells are empty frames.
        while frame is not None and not len(frame):
            frame = reader.next_frame()
        if frame is None:
            start, end = reader.pending
            # Only line ends, or a part of a doorbell.
            if start == end or (not reader.least and end - start < INT32_HEADER):
                return
        error = self.explain_unasked(frame)
        self.close(error)
        raise error

    def _check_pending(self) -> None:
        """Check that the server does not send without limit while a request waits to be sent.

        Raises:
            ProtocolBroken: It has sent too much; the connection is closed.
        """
        start, end = self._reader.pending
        if end - start > MAX_REPLY:
            error = ProtocolBroken(
                f"{self.name} has sent more than {MAX_REPLY} bytes that nobody has taken; the connection is closed"
            )
            self.close(error)
            raise error

    # Errors, all of which close the connection

    def _broken(self, error: ProtocolError) -> ProtocolBroken:
        """Return the error for bytes that are not a frame."""
        broken = ProtocolBroken(
            f"{self.name} does not speak the protocol: {self._tls_hint() or error}", code=error.code
        )
        self.close(broken)
        return broken

    def _lost(self, error: OSError) -> ConnectionLost:
        """Return the error for a connection that has ended."""
        lost = ConnectionLost(f"the connection to {self.name} has ended: {self._tls_hint() or error}")
        self.close(lost)
        return lost

    def _tls_hint(self) -> str:
        """Return the remedy if the server has sent a TLS alert; otherwise an empty string."""
        if not self._is_plain or not self._reader.begins_with(_TLS_ALERT):
            return ""
        return "it expects TLS; connect with tls=True, or with the path of its certificate"

    def timed_out(self, problem: str = "") -> TimedOut:
        """Return the error for a server that has not replied in time.

        Args:
            problem: Why a reply could not be read in time; empty if no reply has come.
        """
        error = TimedOut(
            f"an answer from {self.name} cannot be read within {self.timeout:g} s: {problem}"
            if problem
            else f"no answer from {self.name} within {self.timeout:g} s; the connection is closed, as the answer might "
            "still come"
        )
        self.close(error)
        return error


def unasked_reply(frame: memoryview | None) -> ProtocolBroken:
    """Return the error for an unrequested frame."""
    return ProtocolBroken(
        "the server violates the protocol: it has sent a reply without a request", code="protocol-error"
    )
