"""Memory shared with a session, by a client that has nothing of gymtwist's own and can do what no client should."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from tests.support.framed_client import INT32, FramedClient, message
from tests.support.patience import PATIENCE

#: Where the words lie, in bytes.
REQUEST, REQUEST_LENGTH, REPLY_AT, REPLY_MOST, REPLY, REPLY_LENGTH, CLIENT_WAITS, SERVER_WAITS, SERVER_POLLS = (
    4 * word for word in (0, 1, 2, 3, 16, 17, 32, 48, 64)
)
REQUESTS = 4096
ROOM = 1 << 16
_UINT32 = struct.Struct("=I")


def memory(size: int, seals: int = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL) -> int:
    """Returns a descriptor of memory."""
    descriptor = os.memfd_create("gymtwist-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def datagram(address: str, data: bytes, *descriptors: int) -> None:
    """Sends a datagram to a name in Linux's abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
        messenger.settimeout(PATIENCE)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        messenger.sendmsg([data], rights, 0, f"\0{address}")


class Memory:
    """Memory, and what of a session passes through it."""

    def __init__(self, client: FramedClient, request_room: int = ROOM, reply_room: int = ROOM) -> None:
        """Makes it; nobody else has it yet."""
        self.client = client
        self.rooms = request_room, reply_room
        size = REQUESTS + request_room + reply_room
        self.descriptor = memory(size)
        self.map = mmap.mmap(self.descriptor, size)
        self.number = 0
        self._fence = Lock()

    def share(self) -> Memory:
        """Shares it with the session, as the protocol says; returns the memory itself."""
        offer = self.client.ask("share")
        self.hand_over(offer)
        assert self.resume() == {}
        return self

    def hand_over(self, offer: dict[str, Any]) -> None:
        """Sends it to the address of an offer."""
        datagram(offer["address"], bytes.fromhex(offer["token"]), self.descriptor)

    def resume(self) -> dict[str, Any]:
        """Asks the session to take it; returns the reply."""
        return self.client.ask("share", request_room=self.rooms[0], reply_room=self.rooms[1])

    def close(self) -> None:
        """Lets go of it; to do so again does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self.map.close()

    # Words

    def word(self, place: int) -> int:
        """Returns a word."""
        return int(_UINT32.unpack_from(self.map, place)[0])

    def set(self, place: int, value: int) -> None:
        """Writes a word."""
        _UINT32.pack_into(self.map, place, value)

    def fence(self) -> None:
        """Lets what was written be seen before anything is read."""
        with self._fence:
            pass

    # Requests and replies

    def put(self, frame: bytes, length: int | None = None) -> None:
        """Puts a request there; its length may be another than it has."""
        self.map[REQUESTS : REQUESTS + len(frame)] = frame
        self.set(REQUEST_LENGTH, len(frame) if length is None else length)
        self.number += 1
        self.set(REQUEST, self.number)
        self.fence()
        if self.word(SERVER_WAITS):
            self.client.send(self.doorbell)

    @property
    def doorbell(self) -> bytes:
        """What wakes up a side that waits."""
        return bytes(4) if self.client.encoding == INT32 else b"0:,"

    def wait(self) -> None:
        """Waits until the reply to the last request is in the memory."""
        self.set(CLIENT_WAITS, 1)
        self.fence()
        while self.word(REPLY) != self.number:
            # Nothing else can come before it.
            assert self.client.read(len(self.doorbell)) == self.doorbell
        self.set(CLIENT_WAITS, 0)

    def poll(self) -> None:
        """Polls until the reply to the last request is in the memory."""
        deadline = time.monotonic() + PATIENCE
        while self.word(REPLY) != self.number:
            assert time.monotonic() < deadline, "no reply has come"
            os.sched_yield()

    def frame(self) -> bytes:
        """Returns the frame of the reply that is in the memory; none if it comes through the socket."""
        start = REQUESTS + self.rooms[0]
        return self.map[start : start + self.word(REPLY_LENGTH)]

    def told(self) -> dict[str, Any]:
        """Returns the reply that is in the memory."""
        ours, theirs = socket.socketpair()
        with FramedClient(ours, self.client.encoding) as reader, theirs:
            theirs.sendall(self.frame())
            theirs.shutdown(socket.SHUT_WR)
            told = reader.hear()
            assert reader.read_to_end() == b""
            return told

    def say(self, op: str, **fields: Any) -> None:
        """Sends a request through the memory."""
        self.put(message(self.client.encoding, op, **fields))

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Sends a request through the memory, and returns the reply, which comes there, too."""
        self.say(op, **fields)
        self.poll()
        return self.told()


Of = Callable[..., Memory]


def answer(client: FramedClient, op: str, **fields: Any) -> dict[str, Any]:
    """Sends a request through the socket; returns the message that comes, whatever it is."""
    client.say(op, **fields)
    return client.hear()
