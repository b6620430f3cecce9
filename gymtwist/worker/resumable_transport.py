"""The transport of a session that outlives its connection: it counts requests, and keeps the last replies.

It is around the transport of the connection that there is. When that ends, the session waits here for another one, and
neither the session loop nor a handler notices.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Sequence
from typing import Protocol

from gymtwist.errors import RepliesLost
from gymtwist.protocol.resume_messages import KEPT_BYTES
from gymtwist.worker.session_channel import Reconnection, SessionChannel
from gymtwist.worker.session_status import OUTLIVES, REQUESTS, SessionStatus
from gymtwist.worker.transports import Transport


class KeptReplies:
    """The last replies of a session, which its client may not have received.

    Args:
        sent: How many replies were sent before.
    """

    def __init__(self, sent: int = 0) -> None:
        self.sent = sent
        self._frames: collections.deque[bytes] = collections.deque()
        self._size = 0

    def add(self, frame: bytes) -> None:
        """Keep a reply, and forget the oldest that are too many."""
        self.sent += 1
        self._frames.append(frame)
        self._size += len(frame)
        while self._size > KEPT_BYTES and len(self._frames) > 1:
            self._size -= len(self._frames.popleft())

    def after(self, received: int) -> list[bytes]:
        """Return the replies behind those that the client has received.

        Raises:
            RepliesLost: They are not kept any more, or the client has received more than were sent.
        """
        missing = self.sent - received
        if not 0 <= missing <= len(self._frames):
            raise RepliesLost(
                f"of {self.sent} replies that were sent, the last {len(self._frames)} are kept, and you have received "
                f"{received}: this session cannot go on; make another one"
            )
        return list(self._frames)[len(self._frames) - missing :]


class Connector(Protocol):
    """What makes transports of connections."""

    @property
    def was_closed_for_good(self) -> bool:
        """Whether the client has closed its connection in a way that says that it will not come back."""

    def use_connection(self, found: Reconnection) -> Transport:
        """Return the transport of another connection."""

    def drop_connection(self) -> None:
        """Close the connection, which has ended."""

    def answer_resume(self, transport: Transport, answer: int | RepliesLost) -> None:
        """Tell a client how many requests were received, or that it cannot go on."""


class ResumableTransport:
    """A transport over one connection after the other.

    Args:
        inner: The transport of the connection that there is.
        channel: Hands over another connection.
        status: The session's status.
        connector: Makes a transport of it.
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
        """Wait for the next request, over whatever connection; None if the session is to end."""
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
        """Wait for another connection, and give the client the replies that it has not received."""
        self._connector.drop_connection()
        while (found := self._channel.next()) is not None:
            if self._begin(found):
                return True
            self._connector.drop_connection()
        return False

    def _begin(self, found: Reconnection) -> bool:
        """Begin with another connection; return whether the client can go on."""
        inner = self.inner = self._connector.use_connection(found)
        try:
            missing = self._replies.after(found.received)
            self._connector.answer_resume(inner, self._requests)
            for frame in missing:
                inner.send(frame)
        except OSError:  # it has ended as well, which the wait for the next request finds out
            return True
        except RepliesLost as error:
            with contextlib.suppress(OSError):
                self._connector.answer_resume(inner, error)
            return False
        return True

    def send(self, frame: bytes | bytearray) -> None:
        """Keep a reply, and send it unless the connection has ended."""
        kept = bytes(frame)
        self._replies.add(kept)
        with contextlib.suppress(OSError):  # the next request is waited for, which finds out
            self.inner.send(kept)

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Keep and send a reply that is the concatenation of some parts."""
        self.send(b"".join(parts))
