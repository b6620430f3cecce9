"""Doorbells, as a client hears them: each may ring for something, or for nothing."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import time
from collections.abc import Callable

import pytest

from gymtwist.client.shared_memory_connection import SharedMemoryConnection
from gymtwist.protocol import shared_memory
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import Framing
from gymtwist.protocol.shared_memory import (
    CLIENT_WAITS,
    REPLY,
    REPLY_AT,
    REPLY_LENGTH,
    REQUEST,
    WAITS,
    SharedMemory,
)
from gymtwist_conformance.reference_client import INT32, frame
from tests.support.patience import PATIENCE

ROOMS = (4096, 65536)
BELL = bytes(4)
REPLY_FRAME = frame(INT32, bytes(range(256)) * 200)


class Server:
    """What a server does, in a process of its own."""

    def __init__(self, memory: SharedMemory, connected: socket.socket) -> None:
        self.memory, self.words, self.connected = memory, memory.words, connected

    def see(self, word: int, value: int) -> None:
        """Wait for a word, but not forever: the client may have failed."""
        self.wait(lambda: self.words[word] == value)

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait for something."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > deadline:
                os._exit(1)
            os.sched_yield()

    def ring(self) -> None:
        """Rings."""
        self.connected.sendall(BELL)

    def is_heard(self) -> bool:
        """Tell whether the client has read all that was sent: what it has not takes memory, see unix(7), SIOCOUTQ."""
        (unread,) = struct.unpack("i", fcntl.ioctl(self.connected, termios.TIOCOUTQ, bytes(4)))
        return not unread

    def publish(self, number: int) -> None:
        """Write a reply, and its number; it does not ring."""
        start = self.memory.replies + self.words[REPLY_AT]
        self.memory.memory[start : start + len(REPLY_FRAME)] = REPLY_FRAME
        self.words[REPLY_LENGTH] = len(REPLY_FRAME)
        self.words[REPLY] = number


def wished(server: Server, number: int) -> None:
    """Write the reply, and ring if the client waits."""
    words, (before, after) = server.words, shared_memory.fence()
    server.publish(number)
    before(), after()
    if words[CLIENT_WAITS]:
        server.ring()


def in_vain(server: Server, number: int) -> None:
    """Ring twice before there is a reply: the client must wait on."""
    for _ in range(2):
        server.see(CLIENT_WAITS, WAITS)
        server.ring()
        server.wait(server.is_heard)
    server.publish(number)
    server.ring()


def stale(server: Server, number: int) -> None:
    """Rings three times for nothing before the client waits."""
    for _ in range(3):
        server.ring()
    server.publish(number)
    server.ring()


@pytest.mark.parametrize("way", [wished, in_vain, stale])
def test_the_reply_is_found_however_it_rings(way: Callable[[Server, int], None]) -> None:
    """And the client says in the end that it does not wait."""
    descriptor = shared_memory.create(*ROOMS)
    ours, theirs = socket.socketpair()
    worker = os.fork()
    if not worker:
        ours.close()
        server = Server(SharedMemory(descriptor, *ROOMS), theirs)
        for number in range(1, 51):
            server.see(REQUEST, number)
            way(server, number)
        os._exit(0)
    theirs.close()
    memory = SharedMemory(descriptor, *ROOMS)
    os.close(descriptor)
    connection = SharedMemoryConnection(ours, "the server", Framing.INT32, 60.0, WaitPolicy(0.0))
    connection.share(memory, len(REPLY_FRAME))
    for _ in range(50):
        connection.send(frame(INT32, b"a request"))
        assert bytes(connection.receive()) == REPLY_FRAME[4:]
        assert memory.words[CLIENT_WAITS] == 0
    connection.close()
    assert os.waitpid(worker, 0)[1] == 0
