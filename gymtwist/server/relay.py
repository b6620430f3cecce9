"""The relay: for connections that cannot be handed over to a worker, such as TLS connections.

The worker gets one end of a socket pair and does not notice the difference; the server copies bytes between the other
end and the client. Each side is paused while the other's buffer is full.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


def can_be_handed_over(transport: Any) -> bool:
    """Return whether a worker can use the socket itself, which it cannot with TLS."""
    if ISSLTransport.providedBy(transport):
        return False
    return isinstance(transport, (tcp.Server, unix.Server))


@implementer(IPushProducer)
class _Flow:
    """The client's flow control, without the end of the stream.

    A lost transport stops its producer, which would close the client's connection before its final reply.

    Args:
        client: The transport of the client's connection.
    """

    def __init__(self, client: Any) -> None:
        self.pauseProducing = client.pauseProducing
        self.resumeProducing = client.resumeProducing

    def stopProducing(self) -> None:
        """Do nothing: the client's protocol learns that the relay has ended, and closes."""


@implementer(IFileDescriptorReceiver)
class Relay(Protocol):
    """The server's end of the socket pair.

    Args:
        client: The transport of the client's connection.
        ended: Called when the worker's end is closed in every process that has it.
        worker_end: The worker's end; the server closes it when the session has ended.

    Attributes:
        worker_end: The worker's end.
        closed: Whether the worker's end is closed and everything sent through it has been passed on.
    """

    transport: Any

    def __init__(self, client: Any, ended: Callable[[], None], worker_end: socket.socket) -> None:
        self.worker_end = worker_end
        self._client = client
        self._ended = ended
        self.closed = False

    def connectionMade(self) -> None:
        """Let each side pause the other."""
        self._client.registerProducer(self.transport, True)
        self.transport.registerProducer(_Flow(self._client), True)

    def dataReceived(self, data: bytes) -> None:
        """Pass data from the worker to the client."""
        self._client.write(data)

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Close a descriptor sent by an environment; Twisted would also log a line for each."""
        os.close(descriptor)

    def write(self, data: bytes) -> None:
        """Pass data from the client to the worker."""
        if not self.closed and self.transport is not None:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop pausing the client, and report the end."""
        self.closed = True
        self._client.unregisterProducer()
        self._ended()

    def end(self) -> None:
        """Let the worker read end-of-file after the data already on its way."""
        if not self.closed and self.transport is not None:
            self.transport.loseWriteConnection()

    def abort(self) -> None:
        """Let the worker read end-of-file at once, and make its writes fail."""
        if not self.closed and self.transport is not None:
            self.transport.abortConnection()


def start(reactor: Any, client: Any, ended: Callable[[], None]) -> Relay:
    """Start a relay.

    Args:
        reactor: The reactor of the server.
        client: The transport of the client's connection.
        ended: Called when the worker's end is closed.

    Raises:
        OSError: There are no descriptors left.
    """
    server_end, worker_end = socket.socketpair()
    relay = Relay(client, ended, worker_end)
    server_end.setblocking(False)
    reactor.adoptStreamConnection(server_end.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: relay))
    server_end.close()
    return relay
