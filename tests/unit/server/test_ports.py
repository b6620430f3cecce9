"""Ports that accept connections, from real clients, without a reactor that runs."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor

from gymtwist.server.ports import TcpPort, UnixPort


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_port_does_not_accept_more_and_more_at_once(tmp_path: Path, kind: str) -> None:
    """However long a flood has lasted: what is dropped for others is closed meanwhile, and nobody else is shut out."""
    accepted: list[Protocol] = []

    class Accepted(Protocol):
        def connectionMade(self) -> None:
            accepted.append(self)

    reactor: Any = MemoryReactor()
    factory: Any = Factory.forProtocol(Accepted)
    port: Any
    if kind == "tcp":
        port, family = TcpPort(0, factory, 1000, "127.0.0.1", reactor), socket.AF_INET
    else:
        port, family = UnixPort(os.fsencode(tmp_path / "socket"), factory, 1000, reactor=reactor), socket.AF_UNIX
    port.startListening()
    with ExitStack() as stack:
        stack.callback(port.socket.close)
        for _ in range(250):
            stack.enter_context(socket.socket(family)).connect(port.socket.getsockname())
        counts = []
        for _ in range(3):
            before = len(accepted)
            port.doRead()
            counts.append(len(accepted) - before)
        for each in accepted:
            stack.callback(each.transport.socket.close)  # type: ignore[union-attr] # of an accepted connection
    assert counts == [100, 100, 50]
