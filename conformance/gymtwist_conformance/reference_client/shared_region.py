"""Memory shared with a session of the framed protocol, and a client that uses it."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from gymtwist_conformance.reference_client.byte_stream import PATIENCE, Violation, require
from gymtwist_conformance.reference_client.framed_client import FramedClient, check_reply
from gymtwist_conformance.reference_client.frames import INT32, decode, find_payload, message

#: Whether memory can be shared on this system.
IS_POSSIBLE = sys.platform == "linux" and os.uname().machine == "x86_64" and hasattr(os, "memfd_create")

#: The offsets of the words, in bytes.
REQUEST, REQUEST_LENGTH, REPLY_AT, REPLY_MOST = 0, 4, 8, 12
REPLY, REPLY_LENGTH = 64, 68
CLIENT_WAITS, SERVER_WAITS, SERVER_POLLS = 128, 192, 256
#: Where requests begin; replies begin where the room for requests ends.
REQUESTS = 4096
#: The smallest room for a request or a reply, and the default room, in bytes.
MIN_ROOM, ROOM = 4096, 1 << 16
#: The prefix of the addresses at which a server accepts memory, and the size of a token in bytes.
ADDRESS_PREFIX, TOKEN_SIZE = "gymtwist-", 16
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_UINT32 = struct.Struct("=I")


def create_memory(size: int, seals: int = _SEALS) -> int:
    """Create anonymous memory; return its descriptor."""
    descriptor = os.memfd_create("gymtwist-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size)
    if seals:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def send_descriptors(address: str, data: bytes, *descriptors: int, timeout: float | None = PATIENCE) -> None:
    """Send a datagram with descriptors to a name in Linux's abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
        messenger.settimeout(timeout)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        messenger.sendmsg([data], rights, 0, f"\0{address}")


class SharedRegion:
    """Shared memory, and the requests and replies of one session that pass through it.

    Args:
        client: The client whose session shares the memory.
        request_room: Room for a framed request, in bytes.
        reply_room: Room for a framed reply, in bytes.

    Attributes:
        client: As given.
        descriptor: The memory's descriptor; -1 once it is closed.
        map: The mapped memory.
        number: The number of the last request.
        is_due: Whether a request is there whose reply a :class:`SharingClient` has not read yet.
    """

    def __init__(self, client: FramedClient, request_room: int = ROOM, reply_room: int = ROOM) -> None:
        self.client = client
        self.request_room, self.reply_room = request_room, reply_room
        size = REQUESTS + request_room + reply_room
        self.descriptor = create_memory(size)
        self.map = mmap.mmap(self.descriptor, size)
        self.number = 0
        self.is_due = False
        self._fence = Lock()

    @property
    def replies(self) -> int:
        """The offset of the room for replies, in bytes."""
        return REQUESTS + self.request_room

    @property
    def doorbell(self) -> bytes:
        """The empty frame that wakes up a side waiting at its socket."""
        return bytes(4) if self.client.encoding == INT32 else b"0:,"

    # The handover

    def share(self) -> SharedRegion:
        """Share the memory with the session, following the protocol; return the region itself."""
        self.hand_over(self.client.ask("share"))
        self.accept()
        return self

    def accept(self) -> None:
        """Have the session accept the memory that it was sent; from then on, doorbells are skipped."""
        taken = self.take_over()
        require(not taken, f"the reply to share with rooms has the fields {taken}; expected none")
        self.client.accepts_doorbells = True

    def hand_over(self, offer: dict[str, Any]) -> None:
        """Send the memory to the address of an offer, without waiting for room there."""
        send_descriptors(*address_of(offer), self.descriptor, timeout=0.0)

    def take_over(self) -> dict[str, Any]:
        """Ask the session to accept the memory that it was sent; return the fields of the reply."""
        return self.client.ask("share", request_room=self.request_room, reply_room=self.reply_room)

    def close(self) -> None:
        """Release the memory; later calls have no effect."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self.map.close()

    # Words

    def word(self, offset: int) -> int:
        """Read a word."""
        return int(_UINT32.unpack_from(self.map, offset)[0])

    def set(self, offset: int, value: int) -> None:
        """Write a word."""
        _UINT32.pack_into(self.map, offset, value)

    def fence(self) -> None:
        """Make what was written visible before anything is read."""
        with self._fence:
            pass

    # Requests and replies

    def put(self, frame: bytes, length: int | None = None) -> None:
        """Put a request in the memory, and send a doorbell if the server waits.

        Args:
            frame: The request.
            length: The length to announce, if not its own.
        """
        self.put_silently(frame, length)
        if self.word(SERVER_WAITS):
            self.ring()

    def put_silently(self, frame: bytes, length: int | None = None) -> None:
        """Put a request in the memory without a doorbell."""
        self.map[REQUESTS : REQUESTS + len(frame)] = frame
        self.set(REQUEST_LENGTH, len(frame) if length is None else length)
        self.number = (self.number + 1) & 0xFFFF_FFFF
        self.set(REQUEST, self.number)
        self.is_due = True
        self.fence()

    def place(self, at: int, most: int) -> None:
        """Choose the place of later replies.

        Args:
            at: Where it begins in their room.
            most: The size of that place in bytes; 0 for the whole room.
        """
        self.set(REPLY_AT, at)
        self.set(REPLY_MOST, most)

    def ring(self) -> None:
        """Send a doorbell through the socket."""
        self.client.send(self.doorbell)

    def has_reply(self) -> bool:
        """Return whether the reply to the last request has been announced."""
        return self.word(REPLY) == self.number

    def wait(self) -> None:
        """Wait at the socket until the reply to the last request is in the memory."""
        self.set(CLIENT_WAITS, 1)
        self.fence()
        while not self.has_reply():
            # Nothing else can come before it.
            data = self.client.read(len(self.doorbell))
            if data != self.doorbell:
                raise Violation(f"{data!r} came where a reply in the memory was due")
        self.set(CLIENT_WAITS, 0)

    def poll(self, patience: float = PATIENCE) -> None:
        """Poll until the reply to the last request is in the memory."""
        self.poll_for(self.has_reply, patience)

    def poll_for(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Poll until a condition holds.

        Raises:
            TimeoutError: It did not hold in time.
        """
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server did nothing in the memory for {patience:g} s")
            os.sched_yield()

    def frame(self) -> bytes:
        """Return the frame of the reply in the memory; empty if it comes through the socket."""
        at, most, length = self.word(REPLY_AT), self.word(REPLY_MOST), self.word(REPLY_LENGTH)
        start, room = self.replies, self.reply_room
        if most and at + most <= room:
            start, room = start + at, most
        if length > room:
            raise Violation(f"a reply in the memory has {length} bytes; expected {room} at most")
        return self.map[start : start + length]

    def told(self) -> dict[str, Any]:
        """Return the reply in the memory."""
        frame = self.frame()
        found = find_payload(self.client.encoding, frame)
        if found is None or found[2] != len(frame):
            raise Violation(f"the {len(frame)} bytes in the memory are not one whole frame")
        return check_reply(decode(self.client.encoding, frame[found[0] : found[1]]))

    def say(self, op: str, **fields: Any) -> None:
        """Send a request through the memory."""
        self.put(message(self.client.encoding, op, **fields))

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request through the memory, and return the reply there."""
        self.say(op, **fields)
        self.poll()
        return self.told()


def address_of(offer: dict[str, Any]) -> tuple[str, bytes]:
    """Return the address and the token of an offer.

    Raises:
        Violation: They do not follow the protocol.
    """
    address, token = offer.get("address") or "", offer.get("token") or ""
    if not address.startswith(ADDRESS_PREFIX):
        raise Violation(f"`address` is {address!r}; expected the prefix {ADDRESS_PREFIX!r}")
    try:
        data = bytes.fromhex(token)
    except ValueError:
        data = b""
    if len(data) != TOKEN_SIZE:
        raise Violation(f"`token` is {token!r}; expected {TOKEN_SIZE} bytes in hexadecimal")
    return address, data


class SharingClient(FramedClient):
    """A client that puts its requests in shared memory once it has shared some; see :class:`FramedClient`.

    Attributes:
        region: The shared memory; None before.
        uses_memory: Whether requests are put in the memory, once there is some.
        came_in_memory: Whether the last reply was in the memory.
    """

    region: SharedRegion | None = None
    uses_memory = True
    came_in_memory = False

    def share(self, request_room: int = ROOM, reply_room: int = ROOM) -> SharedRegion:
        """Share memory; return it."""
        region = SharedRegion(self, request_room, reply_room)
        try:
            region.hand_over(self.ask("share"))
            self.use(region)
        except BaseException:
            region.close()
            raise
        return region

    def use(self, region: SharedRegion) -> None:
        """Have the session accept memory that it was sent, and use it. Memory shared before is released."""
        region.accept()
        self.forget()
        self.region = region

    def forget(self) -> None:
        """Stop using the memory."""
        if self.region is not None:
            self.region.close()
        self.region = None

    def close(self) -> None:
        """Close the connection, and release the memory."""
        super().close()
        self.forget()

    def say(self, op: str, **fields: Any) -> None:
        """Put a request in the memory, or send it through the socket; see :attr:`uses_memory`."""
        if self.region is None or not self.uses_memory:
            super().say(op, **fields)
        else:
            self.region.say(op, **fields)

    def hear(self) -> dict[str, Any]:
        """Read the next message, from the memory or the socket."""
        region, self.came_in_memory = self.region, False
        if region is None or not region.is_due:
            return super().hear()
        region.is_due = False
        region.set(CLIENT_WAITS, 1)
        region.fence()
        try:
            while not region.has_reply():
                told = self.next_reply()
                if told is not None:  # the process that used the memory has died
                    return told
                if not self.receive() and not region.has_reply():
                    raise EOFError("the connection was closed where a reply was due")
        finally:
            region.set(CLIENT_WAITS, 0)
        if not region.word(REPLY_LENGTH):
            return super().hear()
        self.came_in_memory = True
        return region.told()
