"""The server's side of sessions that outlive their connection: the secret, and the channel to the session's worker."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import socket
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from gymtwist.protocol.make_messages import Resumable
from gymtwist.protocol.resume_messages import KEPT_BYTES
from gymtwist.server.process_link import ProcessLink
from gymtwist.worker.amp_commands import Disconnected, Reconnect


class _ChannelLink(ProcessLink):
    """The server's end of the AMP link over the channel to one worker.

    Args:
        disconnected: Called when the worker's connection has ended and it waits for a new one.
        kill: Kills the worker.
    """

    def __init__(self, disconnected: Callable[[], None], kill: Callable[[], None]) -> None:
        super().__init__()
        self._disconnected = disconnected
        self.kill_process = kill  # type: ignore[method-assign]

    @Disconnected.responder
    def disconnected(self) -> dict[str, Any]:
        """Note that the connection has ended."""
        self._disconnected()
        return {}


class _Connection(msgspec.Struct, frozen=True):
    """A connection for the worker.

    Attributes:
        descriptor: A duplicate descriptor of its socket, owned by this object's holder.
        received: How many replies the client has received; None if it does not know.
        trailing_data: The bytes that the client sent after its handshake.
    """

    descriptor: int
    received: int | None
    trailing_data: bytes


class Reconnection:
    """The secret of a session, and the channel through which its worker gets new connections.

    The worker asks for a connection when the last one has ended, and gets the newest that has arrived since.

    Args:
        number: The session's number.
        seconds: How long the session waits for its client, in seconds.
        reactor: The reactor.

    Attributes:
        seconds: How long the session waits for its client, in seconds.
        secret: What its client needs to come back; it must never be logged.
    """

    def __init__(self, number: int, seconds: float, reactor: Any) -> None:
        self.seconds = seconds
        self.secret = f"{number}.{secrets.token_urlsafe(32)}"
        self._reactor = reactor
        self._link: _ChannelLink | None = None
        self._worker_end: socket.socket | None = None
        #: The newest connection, until a worker has taken it.
        self._pending: _Connection | None = None
        self._is_asked = False
        self._lost: Callable[[], None]

    @property
    def granted(self) -> bytes:
        """What the client is told, as JSON."""
        return msgspec.json.encode(Resumable(self.secret, self.seconds, KEPT_BYTES))

    @property
    def is_pending(self) -> bool:
        """Whether there is a connection that no worker has taken."""
        return self._pending is not None

    def has(self, secret: str) -> bool:
        """Return whether a secret is the session's; takes the same time for all wrong secrets."""
        return hmac.compare_digest(secret.encode(), self.secret.encode())

    def open(self, lost: Callable[[], None], kill: Callable[[], None]) -> int:
        """Open a channel to the worker that will serve the session.

        Args:
            lost: Called when the connection has ended and there is no new one yet.
            kill: Kills the worker.

        Returns:
            The descriptor of the worker's end, which stays open until the next call.

        Raises:
            OSError: There are no descriptors left.
        """
        self.close()
        own_end, self._worker_end = socket.socketpair()
        link = self._link = _ChannelLink(self._asked, kill)
        self._lost = lost
        own_end.setblocking(False)
        self._reactor.adoptStreamConnection(own_end.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: link))
        own_end.close()
        return self._worker_end.fileno()

    def _asked(self) -> None:
        """Send the newest connection to the worker, which has lost its own."""
        self._is_asked = True
        if self._pending is None:
            self._lost()
        else:
            self._send(self._pending)

    def hand_over(self, descriptor: int, received: int | None, trailing_data: bytes) -> None:
        """Hand the worker a new connection as soon as it has lost its current one.

        Args:
            descriptor: The client's socket, or the worker's end of a relay.
            received: How many replies the client has received; None if it does not know.
            trailing_data: The bytes that the client sent after its handshake.

        Raises:
            OSError: There are no descriptors left.
        """
        connection = _Connection(os.dup(descriptor), received, trailing_data)
        self._forget_pending()
        self._pending = connection
        if self._is_asked:
            self._send(connection)

    def _send(self, connection: _Connection) -> None:
        if self._link is None:
            return
        self._is_asked = False
        # AMP sends a descriptor later; by then, the original number might refer to another file.
        sent = os.dup(connection.descriptor)
        answer = self._link.callRemote(
            Reconnect, received=connection.received, trailing_data=connection.trailing_data, socket=sent
        )
        answer.addBoth(_closed, sent)
        answer.addCallbacks(self._taken, _ignore, callbackArgs=(connection,))

    def _taken(self, answer: object, connection: _Connection) -> None:
        if self._pending is connection:
            self._forget_pending()

    def _forget_pending(self) -> None:
        if self._pending is not None:
            os.close(self._pending.descriptor)
            self._pending = None

    def close(self) -> None:
        """Close the channel: the worker then ends the session when its connection ends."""
        self._is_asked = False
        if self._link is not None:
            link, self._link = self._link, None
            if link.transport is not None:
                link.transport.abortConnection()
        if self._worker_end is not None:
            self._worker_end.close()
            self._worker_end = None

    def end(self) -> None:
        """Release everything: the session has ended."""
        self.close()
        self._forget_pending()


def _closed(result: Any, descriptor: int) -> Any:
    with contextlib.suppress(OSError):
        os.close(descriptor)
    return result


def _ignore(failure: Failure) -> None:
    """Ignore the end of a worker: whoever waits for it handles it."""
