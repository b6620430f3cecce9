"""The channel by which the server hands a session another connection when the last one was lost.

A session has one only if its client asked for it. While a worker serves, anything that comes over its own AMP socket
kills it (see :mod:`~gymtwist.worker.parent_death`); hence another socket.
"""

from __future__ import annotations

import select
import socket
from typing import Any

import msgspec

from gymtwist.protocol.make_messages import Resumable
from gymtwist.worker.amp_commands import Disconnected, Link, Reconnect
from gymtwist.worker.blocking_amp import AMPConnection


class Reconnection(msgspec.Struct, frozen=True):
    """Another connection of the client.

    Attributes:
        connection: The client's socket, in blocking mode.
        received: How many replies the client has received; None if it does not know.
        trailing_data: The bytes received after the handshake.
    """

    connection: socket.socket
    received: int | None
    trailing_data: bytes


class _ChannelProtocol(Link):
    """The worker's end of AMP over the channel.

    Attributes:
        found: A connection that has come, until somebody takes it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Reconnection | None = None
        self._received: list[int] = []
        # AMP numbers descriptors from the beginning of the link, of which a copy of this process has missed a part.
        self._getDescriptor = lambda number: self._received.pop(0)  # type: ignore[assignment] # that of a dictionary

    def fileDescriptorReceived(self, descriptor: int) -> None:  # Twisted's name
        """Keep a descriptor, which the next command is about."""
        self._received.append(descriptor)

    @Reconnect.responder
    def reconnect(self, trailing_data: bytes, socket: int, received: int | None = None) -> dict[str, Any]:
        """Keep a connection."""
        self.found = Reconnection(_adopted(socket), received, trailing_data)
        return {}


def _adopted(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(True)
    return connection


class SessionChannel:
    """A worker's end of the channel.

    Args:
        connection: The socket of the channel, in blocking mode.
        granted: What the client needs to come back.

    Attributes:
        granted: The same.
    """

    def __init__(self, connection: socket.socket, granted: Resumable) -> None:
        self.granted = granted
        self._socket = connection
        self._protocol = _ChannelProtocol()
        self._amp = AMPConnection(self._protocol, connection)

    @property
    def has_ended(self) -> bool:
        """Whether the server wants the session to end with its connection."""
        poll = select.poll()
        poll.register(self._socket, 0)
        return bool(poll.poll(0))

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def next(self) -> Reconnection | None:
        """Tell the server that the connection has ended, and wait for another; None if the session is to end."""
        protocol = self._protocol
        try:
            protocol.callRemote(Disconnected)
            while protocol.found is None:
                if not self._amp.receive():
                    return None
        except OSError:  # the server has closed the channel, or the environment has
            return None
        found, protocol.found = protocol.found, None
        return found

    def close(self) -> None:
        """Close the channel."""
        self._socket.close()
