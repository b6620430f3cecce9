"""Two processes that pass numbers to and fro.

Usage: ``python -m tests.support.shared_memory_race numbers|frames COUNT WAY WAY``.

``numbers`` keeps the rules of shared memory by the parts of the wire alone; ``frames`` has a client's connection and
a session's channel, and some of the frames go through the socket. Each side either waits at once ("wait") or polls for
a moment that is often just too short ("poll"). Who is forgotten waits forever; the program then never ends. It writes
how many numbers came back.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
from collections.abc import Callable

from gymtwist.client.shared_memory_connection import SharedMemoryConnection
from gymtwist.protocol import shared_memory
from gymtwist.protocol.framing import FrameReader, Framing
from gymtwist.protocol.shared_memory import CLIENT_WAITS, REPLY, REQUEST, SERVER_WAITS, SharedMemory
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.session_status import create as create_vitals
from gymtwist.worker.shared_memory_transport import SharedMemoryTransport
from gymtwist.worker.transports import FrameTransport
from gymtwist_conformance.reference_client import INT32, frame
from tests.support.shared_memory_env import Steady

_ROOMS = (4096, 4096)
#: Seconds of polling, of which about half are in vain.
_MOMENT = 10e-6
#: The number of the first frame: after some of them numbers begin at 0 again.
_FIRST = 2**32 - 1000


class Side:
    """One of two that pass numbers."""

    def __init__(self, shared: SharedMemory, connected: socket.socket, polls: bool, *words: int) -> None:
        """Take the words: that it writes to, that it reads, and those that say who waits."""
        self.words, self.connected, self.polls = shared.words, connected, polls
        self.written, self.read, self.waits, self.other_waits = words
        self.drawn = random.Random(1)
        self.before, self.after = shared_memory.fence()

    def put(self, number: int) -> None:
        """Write a number, and wakes up whoever waits for it."""
        self.words[self.written] = number
        self.before(), self.after()
        if self.words[self.other_waits]:
            self.connected.sendall(bytes(4))

    def take(self, number: int) -> None:
        """Wait for a number."""
        if self.polls and shared_memory.poll_word(self.words, self.read, number, self.drawn.uniform(0, 2 * _MOMENT)):
            return
        self.words[self.waits] = 1
        self.before(), self.after()
        while self.words[self.read] != number:
            assert self.connected.recv(4096), "the other side has ended"
        self.words[self.waits] = 0


def numbers(count: int, shared: SharedMemory, ours: socket.socket, theirs: socket.socket, polls: list[bool]) -> int:
    """Pass numbers."""
    if not os.fork():
        ours.close()
        other = Side(shared, theirs, polls[1], REPLY, REQUEST, SERVER_WAITS, CLIENT_WAITS)
        for number in range(1, count + 1):
            other.take(number)
            other.put(number)
        os._exit(0)
    theirs.close()
    side = Side(shared, ours, polls[0], REQUEST, REPLY, CLIENT_WAITS, SERVER_WAITS)
    for number in range(1, count + 1):
        side.put(number)
        side.take(number)
    return count


def frames(count: int, shared: SharedMemory, ours: socket.socket, theirs: socket.socket, polls: list[bool]) -> int:
    """Pass frames, some of them pipelined behind another, and so through the socket."""
    if not os.fork():
        ours.close()
        reader = FrameReader(Framing.INT32)
        recovery = RecoveryState(SessionStatus(create_vitals(), with_recovery=True))
        channel = FrameTransport(theirs, reader, recovery, theirs.recv_into)
        sharing_channel = SharedMemoryTransport(channel, shared, Framing.INT32, _MOMENT if polls[1] else 0.0)
        sharing_channel._next_number = _FIRST
        drawn = random.Random(3)
        # A client that leaves while a doorbell is on its way resets the connection; to a session that is an end, too.
        with contextlib.suppress(ConnectionResetError):
            while (payload := sharing_channel.receive()) is not None:
                # As if the reply were large, or the doorbell were for another.
                for _ in range(drawn.choice((0, 0, 1, 2)) if shared.words[CLIENT_WAITS] else 0):
                    theirs.sendall(bytes(4))
                sharing_channel.send(frame(INT32, bytes(payload)))
        os._exit(0)
    theirs.close()
    policy = Steady(_MOMENT if polls[0] else 0.0)
    connection = SharedMemoryConnection(ours, "the other", Framing.INT32, None, policy)
    connection.share(shared, 1 << 20)  # large, and so through the memory in any case
    connection._number = _FIRST - 1
    drawn, came = random.Random(2), 0
    while came < count:
        ahead = drawn.choice((1, 1, 1, 1, 2, 5))
        for index in range(ahead):
            connection.send(frame(INT32, (came + index).to_bytes(8, "big")))
        for _ in range(ahead):
            assert int.from_bytes(connection.receive(), "big") == came
            came += 1
    connection.close()
    return came


_KINDS: dict[str, Callable[..., int]] = {"numbers": numbers, "frames": frames}


def main() -> None:
    """Is the program."""
    kind, count, *ways = sys.argv[1:]
    descriptor = shared_memory.create(*_ROOMS)
    shared = SharedMemory(descriptor, *_ROOMS)
    ours, theirs = socket.socketpair()
    came = _KINDS[kind](int(count), shared, ours, theirs, [way == "poll" for way in ways])
    assert os.wait()[1] == 0
    print(came)


if __name__ == "__main__":
    main()
