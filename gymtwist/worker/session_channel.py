"""The channel through which the server hands a session a new connection when the last one was lost.

A session has one only if its client asked for it. It is a socket of its own, because anything that arrives on a serving
worker's AMP socket kills the worker (see :mod:`~gymtwist.worker.parent_death`).
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
    """A new connection of the client.

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
        found: A connection that has arrived, until it is taken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Reconnection | None = None
        self._received: list[int] = []
        # AMP numbers descriptors from the beginning of the link, part of which a copy of this process has missed.
        self._getDescriptor = lambda number: self._received.pop(0)  # type: ignore[assignment] # a dictionary's method

    def fileDescriptorReceived(self, descriptor: int) -> None:  # Twisted's name
        """Keep a descriptor for the next command."""
        self._received.append(descriptor)

    @Reconnect.responder
    def reconnect(self, trailing_data: bytes, socket: int, received: int | None = None) -> dict[str, Any]:
        """Keep a connection until it is taken."""
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
        granted: What the client needs to resume the session.

    Attributes:
        granted: What the client needs to resume the session.
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
        """Tell the server that the connection has ended, and wait for a new one; None if the session must end."""
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
