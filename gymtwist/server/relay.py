"""The relay: for connections that cannot be handed over, such as those with TLS.

The child gets one end of a socket pair, and never knows the difference; the server pumps bytes between the other end
and the client. Each side is paused while the other's buffer is full.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IPushProducer)
class _Flow:
    """The flow from the client, without its end.

    A transport that is lost stops its producer, which would hang up on the client before its last words.

    Args:
        client: The transport of the client's connection.
    """

    def __init__(self, client: Any) -> None:
        self.pauseProducing = client.pauseProducing
        self.resumeProducing = client.resumeProducing

    def stopProducing(self) -> None:
        """Do nothing: the client's protocol learns of the relay's end, and closes."""


class Relay(Protocol):
    """The server's end of the socket pair.

    Args:
        client: The transport of the client's connection.
        ended: Called when the child, and whoever else held it, has closed its end.
    """

    transport: Any

    def __init__(self, client: Any, ended: Callable[[], None]) -> None:
        self._client = client
        self._ended = ended
        self.closed = False

    def connectionMade(self) -> None:
        """Couple the flow of both sides."""
        self._client.registerProducer(self.transport, True)
        self.transport.registerProducer(_Flow(self._client), True)

    def dataReceived(self, data: bytes) -> None:
        """Pass on to the client what the child sends."""
        self._client.write(data)

    def write(self, data: bytes) -> None:
        """Pass on to the child what the client sends."""
        if not self.closed and self.transport is not None:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Uncouple both sides."""
        self.closed = True
        self._client.unregisterProducer()
        self._ended()

    def abort(self) -> None:
        """Let the child read the end of the stream at once, and fail to write."""
        if not self.closed and self.transport is not None:
            self.transport.abortConnection()


def start(reactor: Any, client: Any, ended: Callable[[], None]) -> tuple[Relay, socket.socket]:
    """Start to relay.

    Args:
        reactor: The reactor of the server.
        client: The transport of the client's connection.
        ended: Called when the child's end is closed.

    Returns:
        The relay, and the child's end of it.
    """
    ours, its = socket.socketpair()
    relay = Relay(client, ended)
    ours.setblocking(False)
    reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: relay))
    ours.close()
    return relay, its
