"""A proxy that cuts connections at random bytes, in both directions: what a bad network does to a client."""

from __future__ import annotations

import contextlib
import enum
import random
import select
import socket
import struct
import threading
from types import TracebackType

#: What closes a connection with a reset.
_RESET = struct.pack("ii", 1, 0)
#: Seconds to wait for a connection whose client has closed it.
_JOIN_TIMEOUT = 5.0
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


class CuttingProxy:
    """A proxy in front of a server; each connection passes on a random number of bytes of one direction, and is cut.

    Args:
        upstream: The server.
        seed: The seed of the cuts.
        mean: How many bytes pass on average before a cut.
        spared: How many bytes of that direction pass at first without a cut, of the first connections.
        first: How many these are.
        of_server: Whether only what the server sends is cut.

    Attributes:
        port: The port that it listens at.
        cuts: How many there were.
    """

    def __init__(
        self, upstream: Address, seed: int, mean: int, spared: int = 0, first: int = 1, *, of_server: bool = False
    ) -> None:
        self._upstream, self._random, self._mean = upstream, random.Random(seed), mean
        self._spared, self._first, self._of_server = spared, first, of_server
        self._is_sparing = False
        self.cuts = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> CuttingProxy:
        """Return the proxy itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, pass on what is on its way, and close every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def spare(self) -> None:
        """Cut no connection any more."""
        self._is_sparing = True

    def _accept(self) -> None:
        accepted = 0
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            upstream = connected(self._upstream)
            for each in (client, upstream):
                if each.family == socket.AF_INET:
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted += 1
            spared = self._spared if accepted <= self._first else 0
            left = spared + int(self._random.expovariate(1 / self._mean))
            counted = self._random.choice([client, upstream])
            plan = upstream if self._of_server else counted, left, self._random.choice(list(Cut))
            self._threads.append(threading.Thread(target=self._serve, args=(client, upstream, *plan), daemon=True))
            self._threads[-1].start()

    def _serve(
        self, client: socket.socket, upstream: socket.socket, counted: socket.socket, left: int, cut: Cut
    ) -> None:
        self._open |= {client, upstream}
        others = {client: upstream, upstream: client}
        with contextlib.suppress(OSError):
            while True:
                for source in select.select([client, upstream], [], [])[0]:
                    data = source.recv(1 << 16)
                    if not data:
                        raise OSError("one side has left")
                    if source is counted:
                        if len(data) >= left and not self._is_sparing:
                            self.cuts += 1
                            others[source].sendall(data[:left])
                            self._cut(client, upstream, cut)
                            return
                        left = max(0, left - len(data))
                    others[source].sendall(data)
        self._close(client, upstream)

    def _cut(self, client: socket.socket, upstream: socket.socket, cut: Cut) -> None:
        if cut is Cut.RESET:
            for each in (client, upstream):
                if each.family == socket.AF_INET:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if cut is not Cut.HALF_OPEN:
            self._close(client, upstream)
            return
        self._close(client)
        with contextlib.suppress(OSError):
            while upstream.recv(1 << 16):
                pass
        self._close(upstream)

    def _close(self, *connections: socket.socket) -> None:
        self._open -= set(connections)
        for each in connections:
            each.close()
