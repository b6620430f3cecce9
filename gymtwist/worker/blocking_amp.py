"""AMP over a blocking socket: a transport and the loop that feeds it, in place of a reactor.

A worker does one thing at a time, so it needs no reactor. That saves memory and startup time in every worker, and lets
environments run a reactor of their own.
"""

from __future__ import annotations

import array
import socket

from twisted.internet.interfaces import ITransport, IUNIXTransport
from twisted.internet.main import CONNECTION_DONE
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

#: The maximum bytes and descriptors to read in one call; an AMP box has a few hundred bytes.
_READ_SIZE = 64 * 1024
_MAX_DESCRIPTORS = 64
# Descriptors must not leak into programs that an environment starts; not every platform has this flag.
_RECEIVE_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@implementer(ITransport, IUNIXTransport)
class BlockingTransport:
    """A transport for AMP that writes to a UNIX socket immediately.

    Args:
        connection: A UNIX stream socket in blocking mode.
    """

    disconnecting = False

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._descriptors: list[int] = []

    def sendFileDescriptor(self, descriptor: int) -> None:  # noqa: D102 - see IUNIXTransport
        self._descriptors.append(descriptor)

    def write(self, data: bytes) -> None:  # noqa: D102 - see ITransport
        if self._descriptors:
            sent = socket.send_fds(self._socket, [data], self._descriptors)
            self._descriptors.clear()
            data = data[sent:]
        self._socket.sendall(data)

    def writeSequence(self, data: list[bytes]) -> None:  # noqa: D102 - see ITransport
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: D102 - see ITransport
        self.disconnecting = True

    def getPeer(self) -> str:  # noqa: D102 - see ITransport
        return "server"

    def getHost(self) -> str:  # noqa: D102 - see ITransport
        return "worker"


class AMPConnection:
    """An AMP protocol on a blocking socket.

    Args:
        protocol: The protocol; the constructor connects it.
        connection: A UNIX stream socket in blocking mode.
    """

    def __init__(self, protocol: amp.AMP, connection: socket.socket) -> None:
        self._protocol = protocol
        self._socket = connection
        self._transport = BlockingTransport(connection)
        protocol.makeConnection(self._transport)

    def receive(self) -> bool:
        """Wait for the next bytes and pass them to the protocol.

        Returns:
            False if the connection has ended; the protocol has been notified then.
        """
        try:
            data, descriptors = self._read()
        except ConnectionError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            self._protocol.fileDescriptorReceived(descriptor)
        if data:
            self._protocol.dataReceived(data)
        if data and not self._transport.disconnecting:
            return True
        self._protocol.connectionLost(Failure(CONNECTION_DONE))
        return False

    def _read(self) -> tuple[bytes, list[int]]:
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
        data, ancillary, _, _ = self._socket.recvmsg(_READ_SIZE, space, _RECEIVE_FLAGS)
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        return data, descriptors.tolist()
