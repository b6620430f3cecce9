"""A connection that shares memory with the server that is judged, and the ways to hand it over."""

from __future__ import annotations

import os
import socket

from gymtwist.conformance.report import Violation, expect, skip
from gymtwist.conformance.server.connection import Connection
from gymtwist.errors import GymtwistError
from gymtwist.protocol import shared_memory
from gymtwist.protocol.framing import FrameReader
from gymtwist.protocol.messages import MIN_ROOM, Reply, Shared
from gymtwist.protocol.names import ProtocolName
from gymtwist.protocol.shared_memory import (
    CLIENT_WAITS,
    NUMBERS,
    REPLY,
    REPLY_AT,
    REPLY_LENGTH,
    REPLY_MOST,
    REQUEST,
    REQUEST_LENGTH,
    REQUESTS,
    SERVER_WAITS,
    SharedMemory,
)

#: Bytes for a request, and for a reply, where a check does not need more or less.
ROOM = 1 << 16


def create(size: int) -> int:
    """Make memory that is not sealed; returns its descriptor."""
    descriptor = os.memfd_create("gymtwist-conformance", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    return descriptor


def send_memory(address: str, token: bytes, descriptor: int) -> None:
    """Send memory to where a server takes it; skips the check where that is not within reach."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
        messenger.setblocking(False)
        try:
            messenger.connect(f"\0{address}")
            socket.send_fds(messenger, [token], [descriptor])
        except ConnectionRefusedError:
            skip("the server takes memory where it cannot be reached: on another host, or in another network namespace")
        except BlockingIOError:
            skip("others have filled the server's socket for memory")


class SharingConnection(Connection):
    """A connection over which memory may be shared.

    Args:
        address: Host and port.
        protocol: What is spoken.
        patience: Seconds after which what did not come is taken not to come.

    Attributes:
        memory: What is shared; None as long as nothing is.
        in_memory: Whether requests are put in the memory, once there is some.
        came_in_memory: Whether the last reply lay in the memory.
    """

    def __init__(self, address: tuple[str, int], protocol: ProtocolName, patience: float) -> None:
        super().__init__(address, protocol, patience)
        self.memory: SharedMemory | None = None
        self.in_memory = True
        self.came_in_memory = False
        self._bell = shared_memory.doorbell(self._codec.framing)
        self._write_fence, self._read_fence = shared_memory.fence()
        self._number = 0
        self._is_due = False

    # The handover

    def offered(self) -> tuple[str, bytes]:
        """Ask where memory can be handed over; returns the address and the token."""
        self.say("share")
        offer = self.expect(Shared, "share")
        address = offer.address or ""
        expect(
            address.startswith(shared_memory.NAMES),
            f"`address` is {offer.address!r}; expected a name with {shared_memory.NAMES} in front",
        )
        try:
            token = bytes.fromhex(offer.token or "")
        except ValueError:
            token = b""
        expect(len(token) == shared_memory.TOKEN_SIZE, f"`token` is {offer.token!r}; expected 16 bytes in hexadecimal")
        return address, token

    def ask_for(self, request_room: int, reply_room: int) -> None:
        """Say that the memory was handed over; the reply is still to come."""
        self.say("share", request_room=request_room, reply_room=reply_room)

    def share(self, request_room: int = ROOM, reply_room: int = ROOM, decoy: bytes = b"") -> SharedMemory:
        """Share memory, as a client should.

        Args:
            request_room: Bytes for a request.
            reply_room: Bytes for a reply.
            decoy: A token with which other memory is sent before.
        """
        address, token = self.offered()
        descriptor = shared_memory.create(request_room, reply_room)
        try:
            if decoy:
                other = shared_memory.create(MIN_ROOM, MIN_ROOM)
                try:
                    send_memory(address, decoy, other)
                finally:
                    os.close(other)
            send_memory(address, token, descriptor)
            memory = SharedMemory(descriptor, request_room, reply_room)
        finally:
            os.close(descriptor)
        self.ask_for(request_room, reply_room)
        shared = self.expect(Shared, "share with rooms")
        expect(shared.address is None and shared.token is None, "the reply to share with rooms offers memory anew")
        self._reader.least = 0
        self.memory, self._number = memory, 0
        return memory

    # Requests and replies

    def send(self, data: bytes) -> None:
        """Put a request in the memory, or send bytes as they are; see :attr:`in_memory`."""
        if self.memory is None or not self.in_memory:
            super().send(data)
            return
        self.put(data)
        if self.memory.words[SERVER_WAITS]:
            self.ring()

    def put(self, data: bytes, length: int | None = None) -> None:
        """Put a request in the memory, and do not ring.

        Args:
            data: Its frame.
            length: What is said of its length, if that is not so.
        """
        assert self.memory is not None
        words = self.memory.words
        self.memory.memory[REQUESTS : REQUESTS + len(data)] = data
        words[REQUEST_LENGTH] = len(data) if length is None else length
        self._number, self._is_due = self._number + 1 & NUMBERS, True
        words[REQUEST] = self._number
        self._write_fence(), self._read_fence()

    def place(self, at: int, most: int) -> None:
        """Say where replies are to lie from now on.

        Args:
            at: Where in their room.
            most: How many bytes each may have there; 0 for anywhere.
        """
        assert self.memory is not None
        self.memory.words[REPLY_AT], self.memory.words[REPLY_MOST] = at, most

    def ring(self) -> None:
        """Send a bell."""
        super().send(self._bell)

    def hear(self) -> Reply:
        """Read the next reply, from wherever it is due."""
        self.came_in_memory = False
        if self.memory is None or not self._is_due:
            return super().hear()
        words, number = self.memory.words, self._number
        self._is_due = False
        words[CLIENT_WAITS] = 1
        self._write_fence(), self._read_fence()
        reply = self._hear_unless(lambda: words[REPLY] == number)
        words[CLIENT_WAITS] = 0
        if reply is not None:
            return reply
        length = words[REPLY_LENGTH]
        if not length:
            return super().hear()
        self.came_in_memory = True
        return self._read(self.memory, length)

    def _read(self, memory: SharedMemory, length: int) -> Reply:
        at, most = memory.words[REPLY_AT], memory.words[REPLY_MOST]
        start, room = memory.replies, memory.reply_room
        if most and at + most <= room:
            start, room = start + at, most
        expect(length <= room, f"a reply in the memory has {length} bytes; expected {room} at most")
        reader = FrameReader(self._codec.framing, memory.memory[start : start + length], limit=room)
        try:
            payload = reader.next_frame()
            start, end = reader.pending
            if payload is None or start != end:
                raise Violation(f"what lies in the memory is not one whole frame of {length} bytes")
            return self._codec.decode_reply(bytes(payload))
        except GymtwistError as error:
            raise Violation(f"what lies in the memory is no reply: {error}") from error

    def wait_until_it_waits(self) -> None:
        """Wait until the server says that it waits at its socket; skips the check if it never does."""
        assert self.memory is not None
        if not shared_memory.appears(self.memory.words, SERVER_WAITS, 1, self._patience):
            skip("the server does not say that it waits at its socket")
