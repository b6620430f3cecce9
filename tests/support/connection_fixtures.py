"""Real clients of a server in one process."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import FakeProcess, World, soon

CARTPOLE = handshake("CartPole-v1")

Make = Callable[..., World]


@contextlib.contextmanager
def worlds() -> Iterator[Make]:
    """Makes worlds, and ends them."""
    made: list[World] = []

    def run(*options: str, pool: bool = True) -> World:
        made.append(World(*options, pool=pool))
        return made[-1]

    yield run
    for world in made:
        world.close()
        assert not world.log.having("Traceback")
        assert not world.log.having("error in gymtwist itself")


def connect(world: World, data: bytes = b"") -> socket.socket:
    """Connects, and sends something."""
    client = world.connect()
    client.sendall(data)
    world.turn()
    return client


def serving(world: World, client_data: bytes = CARTPOLE) -> tuple[socket.socket, FakeProcess]:
    """Connects a client that a child serves; the opening is not answered yet."""
    client = connect(world, client_data)
    return client, world.starter.serving[-1]


def read(client: socket.socket, world: World) -> bytes:
    """Reads to the end of the stream."""
    client.setblocking(False)
    received = bytearray()

    def at_end() -> bool:
        try:
            data = client.recv(65536)
        except BlockingIOError:
            return False
        received.extend(data)
        return not data

    soon(at_end, world.turn)
    return bytes(received)


def error_of(reply: bytes) -> str:
    """Takes the text out of an error string, which is all there is."""
    (length,) = struct.unpack_from("<I", reply)
    assert length == len(reply) - 4
    return reply[4:].decode()
