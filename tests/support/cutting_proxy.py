"""A proxy that cuts connections at random bytes or times, in both directions: what a bad network does to a client."""

from __future__ import annotations

import contextlib
import enum
import random
import select
import socket
import struct
import threading
import time

from tests.support.listening_proxy import ListeningProxy

#: What closes a connection with a reset.
_RESET = struct.pack("ii", 1, 0)
#: Seconds to wait for a connection whose client has closed it.
_JOIN_TIMEOUT = 5.0
#: Seconds after which a connection without traffic sees that it is to be cut.
_LOOK = 0.005
Address = tuple[str, int] | str


class Cut(enum.Enum):
    """How a connection is cut."""

    CLOSE = enum.auto()  # both sides read the end of the stream
    RESET = enum.auto()  # both sides get an error
    HALF_OPEN = enum.auto()  # the client reads the end, and the server notices nothing


def connected(address: Address) -> socket.socket:
    """Connect to a TCP or UNIX address."""
    if isinstance(address, tuple):
        return socket.create_connection(address)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


class CuttingProxy(ListeningProxy):
    """A proxy in front of a server; each connection passes on a random number of bytes of one direction, and is cut.

    Args:
        upstream: The server.
        seed: The seed of the cuts.
        mean: How many bytes pass on average before a cut.
        spared: How many bytes of that direction pass at first without a cut, of the first connections.
        first: How many these are.
        of_server: Whether only what the server sends is cut.
        seconds: How long a connection lasts on average, for those that hardly send a byte, such as one beside shared
            memory. Bytes do not count then, and no connection is cut before :meth:`cut_again`.

    Attributes:
        cuts: How many there were.
    """

    def __init__(
        self,
        upstream: Address,
        seed: int,
        mean: int,
        spared: int = 0,
        first: int = 1,
        *,
        of_server: bool = False,
        seconds: float | None = None,
    ) -> None:
        self._upstream, self._random, self._mean = upstream, random.Random(seed), mean
        self._spared, self._first, self._of_server = spared, first, of_server
        self._seconds = seconds
        self._is_sparing, self._cutting_since = seconds is not None, 0.0
        self.cuts = 0
        self._open: set[socket.socket] = set()
        self._half_open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepted = 0
        super().__init__()

    def _end(self) -> None:
        """Pass on what is on its way, and close every connection."""
        self._shut_down(self._half_open)
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        self._shut_down(self._open)

    def _shut_down(self, connections: set[socket.socket]) -> None:
        for each in list(connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def spare(self) -> None:
        """Cut no connection any more."""
        self._is_sparing = True

    def cut_again(self) -> None:
        """Cut connections again."""
        if self._is_sparing:
            self._is_sparing, self._cutting_since = False, time.monotonic()

    def _connected(self, client: socket.socket) -> None:
        upstream = connected(self._upstream)
        if upstream.family == socket.AF_INET:
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted += 1
        spared = self._spared if self._accepted <= self._first else 0
        left = spared + int(self._random.expovariate(1 / self._mean))
        counted = self._random.choice([client, upstream])
        lasts = None if self._seconds is None else self._random.expovariate(1 / self._seconds)
        plan = upstream if self._of_server else counted, left, lasts, self._random.choice(list(Cut))
        self._threads.append(threading.Thread(target=self._serve, args=(client, upstream, *plan), daemon=True))
        self._threads[-1].start()

    def _serve(
        self,
        client: socket.socket,
        upstream: socket.socket,
        counted: socket.socket,
        left: int,
        lasts: float | None,
        cut: Cut,
    ) -> None:
        self._open |= {client, upstream}
        others = {client: upstream, upstream: client}
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while True:
                for source in select.select([client, upstream], [], [], None if lasts is None else _LOOK)[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        raise OSError("one side has left")
                    if lasts is None and source is counted:
                        if len(data) >= left and not self._is_sparing:
                            others[source].sendall(data[:left])
                            self._cut(client, upstream, cut)
                            return
                        left = max(0, left - len(data))
                    others[source].sendall(data)
                if lasts is None or self._is_sparing:
                    continue
                if time.monotonic() >= max(began, self._cutting_since) + lasts:
                    self._cut(client, upstream, cut)
                    return
        self._close(client, upstream)

    def _cut(self, client: socket.socket, upstream: socket.socket, cut: Cut) -> None:
        self.cuts += 1
        if cut is Cut.RESET:
            for each in (client, upstream):
                if each.family == socket.AF_INET:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if cut is not Cut.HALF_OPEN:
            self._close(client, upstream)
            return
        self._close(client)
        self._half_open.add(upstream)
        with contextlib.suppress(OSError):
            while upstream.recv(1 << 16):
                pass
        self._half_open.discard(upstream)
        self._close(upstream)

    def _close(self, *connections: socket.socket) -> None:
        self._open -= set(connections)
        for each in connections:
            each.close()
