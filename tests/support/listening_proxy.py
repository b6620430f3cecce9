"""A proxy that listens at a port of this machine; what becomes of a connection is up to its kind."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import TypeVar

_Proxy = TypeVar("_Proxy", bound="ListeningProxy")


class ListeningProxy:
    """Listens until its context is left.

    Attributes:
        port: The port that it listens at.
    """

    def __init__(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self: _Proxy) -> _Proxy:
        """Return the proxy itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening, and end the connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connected(client)

    def _connected(self, client: socket.socket) -> None:
        """Begin to pass on what a client sends, without waiting for it."""
        raise NotImplementedError

    def _end(self) -> None:
        """End the connections."""
        raise NotImplementedError
