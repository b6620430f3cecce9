"""The relay between a client and its worker on a node: each read is written to the other socket at once.

Twisted's transports would buffer each chunk and write it in the reactor's next iteration. While one side is slow to
receive, the other is not read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: The size of a read, in bytes. All relays share this buffer, since nothing stays in it.
_BUFFER = memoryview(bytearray(256 * 1024))


@implementer(IReadWriteDescriptor)
class RelayEnd:
    """One of the two sockets of a relay.

    Args:
        reactor: The reactor, or a :class:`~.relay_loop.RelayLoop`.
        end: A non-blocking socket; it is closed here.
        seen: Called with the data received from it, which is valid only during the call.
        ended: Called when it has reached end-of-file.

    Attributes:
        peer: Where to write the data received from this end; None to drop it.
        seen: Called with the data received from it.
        has_ended: Whether it has reached end-of-file.
    """

    def __init__(
        self, reactor: Any, end: socket.socket, seen: Callable[[memoryview], None], ended: Callable[[], None]
    ) -> None:
        self.peer: RelayEnd | None = None
        self.has_ended = False
        self._reactor = reactor
        self._socket = end
        self.seen = seen
        self._ended = ended
        self._backlog = bytearray()
        #: Called when everything is written; None while nobody waits for that.
        self._flushed: Callable[[], None] | None = None
        self._receive, self._send = end.recv_into, end.send

    def logPrefix(self) -> str:
        """Return the name for the reactor's log."""
        return "relay"

    def fileno(self) -> int:
        """Return the descriptor; called by the reactor."""
        return self._socket.fileno()

    def start(self) -> None:
        """Read from now on; called by the peer as well."""
        if not self.has_ended:
            self._reactor.addReader(self)

    def pause(self) -> None:
        """Stop reading until :meth:`start` is called."""
        self._reactor.removeReader(self)

    # Reading

    def doRead(self) -> None:
        """Pass on received data; called by the reactor."""
        try:
            count = self._receive(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if not count:
            self._end()
            return
        data = _BUFFER[:count]
        if self.peer is not None:
            self.peer.write(data)
        self.seen(data)

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._reactor.removeReader(self)
            self._ended()

    def connectionLost(self, reason: Failure) -> None:
        """Handle the loss of the connection; called by the reactor."""
        self._reactor.removeWriter(self)
        self._backlog.clear()
        self._end()

    # Writing

    def write(self, data: bytes | memoryview) -> None:
        """Write what the socket takes now; the peer is not read until the rest is written."""
        sent = 0
        if not self._backlog:
            try:
                sent = self._send(data)
            except BlockingIOError:
                pass
            except OSError:
                return  # the connection has ended, which reading will show
            if sent == len(data):
                return
        self._backlog += data[sent:]
        self._reactor.addWriter(self)
        if self.peer is not None:
            self._reactor.removeReader(self.peer)

    def doWrite(self) -> None:
        """Write more of the backlog; called by the reactor."""
        try:
            del self._backlog[: self._send(self._backlog)]
        except BlockingIOError:
            return
        except OSError:
            self._backlog.clear()
        if self._backlog:
            return
        self._reactor.removeWriter(self)
        if self._flushed is not None:
            flushed, self._flushed = self._flushed, None
            flushed()
        elif self.peer is not None:
            self.peer.start()

    def when_flushed(self, flushed: Callable[[], None]) -> None:
        """Call a function when everything is written."""
        if self._backlog:
            self._flushed = flushed
        else:
            flushed()

    def end_writing(self) -> None:
        """Let the other side read end-of-file after the data already on its way."""

        def shut_down() -> None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

        self.when_flushed(shut_down)

    def close(self) -> None:
        """Close the socket, and drop unwritten data."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
        self.has_ended = True
        self.peer = None
        self._backlog.clear()
        self._flushed = None
        # The two ends refer to each other: free them without waiting for the garbage collector.
        self.seen = self._ended = _ignore


def _ignore(*_: object) -> None:
    """Do nothing."""


@implementer(IReadWriteDescriptor)
class Connecting:
    """A connection that is being established to a node.

    Args:
        reactor: The reactor.
        host: The IP address of the node.
        port: The port of the node.
        connected: Called with the socket and an empty string, or with None and the reason if the attempt fails.

    Raises:
        OSError: There are no descriptors left, or the address is invalid.
    """

    def __init__(
        self, reactor: Any, host: str, port: int, connected: Callable[[socket.socket | None, str], None]
    ) -> None:
        self._reactor = reactor
        self._connected = connected
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket: socket.socket | None = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            problem = self._socket.connect_ex((host, port))
            if problem not in (0, errno.EINPROGRESS):
                raise OSError(problem, os.strerror(problem))
        except OSError:
            self._socket.close()
            raise
        reactor.addWriter(self)

    def logPrefix(self) -> str:
        """Return the name for the reactor's log."""
        return "relay"

    def fileno(self) -> int:
        """Return the descriptor; called by the reactor."""
        return -1 if self._socket is None else self._socket.fileno()

    def doRead(self) -> None:
        """Do nothing: it is not read yet."""

    def doWrite(self) -> None:
        """Note that the attempt to connect has finished; called by the reactor."""
        if self._socket is None:
            return
        problem = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._reactor.removeWriter(self)
        connected, self._socket = self._socket, None
        if problem:
            connected.close()
            self._connected(None, os.strerror(problem))
        else:
            self._connected(connected, "")

    def connectionLost(self, reason: Failure) -> None:
        """Note that the attempt has failed; called by the reactor."""
        self.doWrite()

    def cancel(self) -> None:
        """Give up the attempt."""
        if self._socket is not None:
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None
