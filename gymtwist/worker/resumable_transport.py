"""The transport of a session that outlives its connection: it counts requests, and keeps the last replies.

It wraps the transport of the current connection. When the connection ends, the session waits here for a new one,
unnoticed by the session loop and the handlers.
"""

from __future__ import annotations

import collections
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Protocol

import msgspec

from gymtwist.errors import RepliesLost
from gymtwist.protocol.resume_messages import KEPT_BYTES
from gymtwist.worker.session_channel import Reconnection, SessionChannel
from gymtwist.worker.session_status import OUTLIVES, REQUESTS, TAKEOVERS, SessionStatus
from gymtwist.worker.transports import Transport


class KeptReplies:
    """The last replies of a session, which its client may not have received.

    Args:
        sent: How many replies were sent before.
        frames: The last of these replies.

    Attributes:
        frames: The kept replies.
    """

    def __init__(self, sent: int = 0, frames: Sequence[bytes] = ()) -> None:
        self.sent = sent
        self.frames = collections.deque(frames)
        self._size = sum(map(len, frames))

    def add(self, frame: bytes) -> None:
        """Keep a reply, and drop the oldest ones beyond the size limit."""
        self.sent += 1
        self.frames.append(frame)
        self._size += len(frame)
        while self._size > KEPT_BYTES and len(self.frames) > 1:
            self._size -= len(self.frames.popleft())

    def after(self, received: int | None) -> list[bytes]:
        """Return the replies that the client has not received; only the last one if it does not know.

        Raises:
            RepliesLost: They are no longer kept, or the client has received more than were sent.
        """
        if received is None:
            return list(self.frames)[-1:]
        missing = self.sent - received
        if not 0 <= missing <= len(self.frames):
            raise RepliesLost(
                f"of {self.sent} replies that were sent, the last {len(self.frames)} are kept, and you have received "
                f"{received}: this session cannot go on; make another one"
            )
        return list(self.frames)[len(self.frames) - missing :]


class _Handover(msgspec.Struct, frozen=True, array_like=True):
    """What another process needs to continue.

    Attributes:
        requests: How many requests were received.
        sent: How many of them were answered.
        frames: The last replies.
    """

    requests: int
    sent: int
    frames: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Handover).decode


class Connector(Protocol):
    """Makes transports from connections."""

    @property
    def was_closed_for_good(self) -> bool:
        """Whether the client has closed its connection in a way that says that it will not return."""

    def use_connection(self, found: Reconnection) -> Transport:
        """Return the transport of a new connection."""

    def drop_connection(self) -> None:
        """Close the connection, which has ended."""

    def answer_resume(self, transport: Transport, answer: int | RepliesLost, *, is_new: bool = False) -> None:
        """Tell a client how many requests were received, or that the session cannot continue.

        Args:
            transport: The transport of the client's connection.
            answer: The number of requests, or the reason.
            is_new: Whether the client knows nothing of the session's earlier replies.
        """


class ResumableTransport:
    """A transport over one connection after another.

    Args:
        inner: The transport of the connection that there is.
        channel: Hands over new connections.
        status: The session's status.
        connector: Makes a transport from a connection.
        requests: How many requests were received before.
        sent: How many of them were answered.

    Attributes:
        inner: The transport of the connection that there is.
    """

    def __init__(
        self,
        inner: Transport,
        channel: SessionChannel,
        status: SessionStatus,
        connector: Connector,
        requests: int = 0,
        sent: int = 0,
    ) -> None:
        self.inner = inner
        self._channel, self._words = channel, status.words
        self._connector = connector
        self._requests = requests
        self._replies = KeptReplies(sent)
        self._words[REQUESTS], self._words[OUTLIVES] = requests, 1.0

    def receive(self) -> object:
        """Wait for the next request, over whichever connection; None if the session must end."""
        while True:
            try:
                message = self.inner.receive()
            except OSError:  # the connection has broken
                message = None
            if message is not None:
                self._requests += 1
                self._words[REQUESTS] = self._requests
                return message
            if self._connector.was_closed_for_good or not self._reconnect():
                return None

    def _reconnect(self) -> bool:
        """Wait for a new connection, and send the client the replies that it has not received."""
        self._connector.drop_connection()
        while (found := self._channel.next()) is not None:
            if self._begin(found):
                return True
            self._connector.drop_connection()
        return False

    def _begin(self, found: Reconnection) -> bool:
        """Begin to use a new connection; return whether the client can continue."""
        inner = self.inner = self._connector.use_connection(found)
        try:
            missing = self._replies.after(found.received)
            is_new = found.received is None
            self._words[TAKEOVERS] += is_new
            self._connector.answer_resume(inner, self._requests, is_new=is_new)
            for frame in missing:
                inner.send(frame)
        except OSError:  # it has ended too; the next receive will notice
            return True
        except RepliesLost as error:
            with contextlib.suppress(OSError):
                self._connector.answer_resume(inner, error)
            return False
        return True

    # Copies of this process

    def hand_over(self) -> int:
        """Return the descriptor of a file with the state for a copy that continues in place of this process.

        Raises:
            OSError: There is no room for the kept replies.
        """
        descriptor = os.memfd_create("replies", os.MFD_CLOEXEC)
        try:
            with open(descriptor, "wb", closefd=False) as file:
                file.write(_encode(_Handover(self._requests, self._replies.sent, list(self._replies.frames))))
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def take_over(self, descriptor: int) -> None:
        """Continue in place of another process.

        Args:
            descriptor: What :meth:`hand_over` returned there; it is closed.
        """
        with open(descriptor, "rb") as file:
            file.seek(0)
            handover = _decode(file.read())
        self._requests = handover.requests
        self._replies = KeptReplies(handover.sent, handover.frames)

    def go_back(self, connection: socket.socket) -> None:
        """Continue in place of a crashed process: how much of its last reply the client has received is unknown.

        Args:
            connection: The client's socket, which is shut down.
        """
        self._requests = int(self._words[REQUESTS])
        self._replies = KeptReplies(self._requests - 1)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def send(self, frame: bytes | bytearray) -> None:
        """Keep a reply, and send it unless the connection has ended."""
        kept = bytes(frame)
        self._replies.add(kept)
        with contextlib.suppress(OSError):  # the next receive will notice
            self.inner.send(kept)

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Keep and send a reply that is the concatenation of the parts."""
        self.send(b"".join(parts))
