"""Real clients of a server in one process."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import FakeProcess, Harness, soon

CARTPOLE = handshake("CartPole-v1")

Make = Callable[..., Harness]


@contextlib.contextmanager
def harnesses() -> Iterator[Make]:
    """Make harnesses, and ends them."""
    made: list[Harness] = []

    def run(*options: str, pool: bool = True) -> Harness:
        made.append(Harness(*options, pool=pool))
        return made[-1]

    yield run
    for harness in made:
        harness.close()
        assert not harness.log.having("Traceback")
        assert not harness.log.having("error in gymtwist itself")


def connect(harness: Harness, data: bytes = b"") -> socket.socket:
    """Connect, and send something."""
    client = harness.connect()
    client.sendall(data)
    harness.turn()
    return client


def serving(harness: Harness, client_data: bytes = CARTPOLE) -> tuple[socket.socket, FakeProcess]:
    """Connect a client that a worker serves; the handshake is not answered yet."""
    client = connect(harness, client_data)
    return client, harness.starter.serving[-1]


def read(client: socket.socket, harness: Harness) -> bytes:
    """Read to the end of the stream."""
    client.setblocking(False)
    received = bytearray()

    def at_end() -> bool:
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return False
        received.extend(data)
        return not data

    soon(at_end, harness.turn)
    return bytes(received)


def error_of(reply: bytes) -> str:
    """Take the text out of an error string, which is all there is."""
    (length,) = struct.unpack_from("<I", reply)
    assert length == len(reply) - 4
    return reply[4:].decode()
