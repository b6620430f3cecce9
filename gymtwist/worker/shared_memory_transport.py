"""A transport that exchanges requests and replies with a client on this host through shared memory."""

from __future__ import annotations

import array
import os
import secrets
import socket
from collections.abc import Sequence
from functools import partial
from time import monotonic  # by name: an environment may patch the module

import msgspec

from gymtwist.errors import LimitExceeded, ProtocolError, SharingRefused
from gymtwist.protocol import messages, shared_memory
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import INT32_HEADER, Framing, locate
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
    SERVER_POLLS,
    SERVER_WAITS,
    SharedMemory,
)
from gymtwist.worker.transports import FrameTransport

#: Datagrams to check at most; the kernel queues no more for one socket.
_MOST_DATAGRAMS = 64
#: Requests to take from the memory between two checks of the socket.
_LOOK_EVERY = 1024


class Offer:
    """A socket that receives the descriptor of shared memory from a client that knows the token.

    Raises:
        SharingRefused: This host does not support it.
    """

    def __init__(self) -> None:
        if not shared_memory.IS_POSSIBLE:
            raise SharingRefused("memory can be shared on Linux on x86-64 only; go on without")
        self._address = shared_memory.NAMES + secrets.token_hex(8)
        self._token = secrets.token_bytes(shared_memory.TOKEN_SIZE)
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.bind(f"\0{self._address}")
        except OSError as error:
            raise SharingRefused(f"no memory can be handed over here: {error}; go on without") from error

    def reply(self) -> messages.Shared:
        """Return the reply that names the socket and the token."""
        return messages.Shared(self._address, self._token.hex())

    def accept(self, request_room: int, reply_room: int) -> tuple[SharedMemory, int]:
        """Map the memory whose descriptor the client has sent, and close the socket.

        Returns:
            The memory and its descriptor.

        Raises:
            SharingRefused: The client has sent no descriptor, or one of unsuitable memory.
        """
        descriptor = -1
        try:
            descriptor = self._receive_descriptor()
            return SharedMemory(descriptor, request_room, reply_room), descriptor
        except SharingRefused:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        finally:
            self.close()

    def _receive_descriptor(self) -> int:
        for _ in range(_MOST_DATAGRAMS):
            try:
                # Any process on this host can send to this socket, so no descriptor is accepted without the token.
                token = self._socket.recv(shared_memory.TOKEN_SIZE + 1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
                if secrets.compare_digest(token, self._token):
                    return self._take_descriptor()
                self._socket.recv(1, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                raise SharingRefused(f"no memory can be taken: {error}; go on without") from error
        raise SharingRefused("no memory was received; send the token and the descriptor to the address first")

    def _take_descriptor(self) -> int:
        """Receive the datagram with the token, and return its descriptor."""
        descriptors = array.array("i")
        space = socket.CMSG_SPACE(descriptors.itemsize)
        _, ancillary, _, _ = self._socket.recvmsg(
            shared_memory.TOKEN_SIZE, space, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        )
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if len(descriptors) != 1:
            for descriptor in descriptors:
                os.close(descriptor)
            raise SharingRefused(f"{len(descriptors)} descriptors came with the token: send only that of the memory")
        return descriptors[0]

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SharedMemoryTransport(FrameTransport):
    """A client's socket, and memory shared with the client.

    A request is answered the way it came. Both sides wait at the socket; an empty frame wakes up a side for which there
    is a message in the memory.

    Args:
        transport: The transport of the client's socket.
        memory: The shared memory.
        framing: How frames are delimited.
        poll: Seconds to poll the memory at most before blocking, if the client wishes it.
        descriptor: The memory's descriptor, for other processes; -1 if there will be none.
    """

    def __init__(
        self, transport: FrameTransport, memory: SharedMemory, framing: Framing, poll: float, descriptor: int = -1
    ) -> None:
        super().__init__(transport._connection, transport._reader, transport._recovery, transport._receive_into)
        self.skips_doorbells()
        self.send = self._send
        self._shared, self._memory, self._words = memory, memory.memory, memory.words
        self._descriptor, self._framing = descriptor, framing
        self._longest = INT32_HEADER + self._reader.limit
        self._begin = REQUESTS + (INT32_HEADER if framing is Framing.INT32 else 0)
        self._doorbell = shared_memory.doorbell(framing)
        self._receive_at_once = partial(transport._connection.recv_into, nbytes=0, flags=socket.MSG_DONTWAIT)
        self._write_fence, self._read_fence = shared_memory.fence()
        self._next_number = 1
        #: The number of the request to answer; None if it came through the socket.
        self._number: int | None = None
        #: The place of its reply in the memory, its capacity, and whether the client chose it.
        self._start, self._room, self._has_slot = memory.replies, memory.reply_room, False
        #: Whether the last request came through the memory; only then is the memory polled for the next one.
        self._is_in_memory = False
        #: Whether the memory tells the client that this process waits.
        self._has_announced_wait = False
        self._policy = WaitPolicy(poll)
        #: When the last reply was written; only known during a trial of the policy.
        self._replied_at = 0.0

    def hand_over(self) -> tuple[bytes, list[int]]:
        """Return what another process needs to use the memory in place of this one, and its descriptor."""
        shared = self._shared
        rooms = (shared.request_room, shared.reply_room)
        slot = (self._start, self._room, self._has_slot)
        state = (*rooms, self._next_number, self._number, *slot, self._is_in_memory)
        return msgspec.msgpack.encode(state), [self._descriptor]

    def release(self) -> None:
        """Close the descriptor and the memory: another transport is used."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._shared.close()

    @classmethod
    def taken_over(
        cls, transport: FrameTransport, handover: bytes, descriptor: int, framing: Framing, poll: float
    ) -> SharedMemoryTransport:
        """Make the transport of a process that uses the memory in place of another.

        Args:
            transport: The transport of the client's socket.
            handover: What :meth:`hand_over` returned there.
            descriptor: The memory's descriptor.
            framing: How frames are delimited.
            poll: As the constructor takes it.
        """
        request_room, reply_room, *state = msgspec.msgpack.decode(handover)
        made = cls(transport, SharedMemory(descriptor, request_room, reply_room), framing, poll, descriptor)
        made._next_number, made._number, made._start, made._room, made._has_slot, made._is_in_memory = state
        return made

    def receive(self) -> bytes | memoryview | None:
        """Wait for the next request; see :meth:`~gymtwist.worker.transports.SocketTransport.receive`."""
        words, number = self._words, self._next_number
        if words[REQUEST] == number or (self._is_in_memory and words[SERVER_POLLS] and self._poll(number)):
            if number % _LOOK_EVERY or self._is_connected():
                return self._take_request(number)
            return None
        return self._wait(number)

    def _is_connected(self) -> bool:
        """Check the socket, which is not read while requests come through memory; False if the client has left."""
        try:
            count = self._reader.fill(self._receive_at_once)
        except BlockingIOError:
            return True
        self._keep_pending(self._reader)
        return count > 0

    def _poll(self, number: int) -> bool:
        """Poll for a request in the memory, if that pays."""
        policy = self._policy
        if not policy.poll_seconds:
            return False
        if shared_memory.poll_word(self._words, REQUEST, number, policy.poll_seconds):
            policy.waits_left -= 1
            if policy.waits_left <= 0:
                policy.adapt(monotonic() - self._replied_at)
            return True
        policy.miss()
        return False

    def _wait(self, number: int) -> bytes | memoryview | None:
        """Wait for a request from the memory or the socket."""
        words = self._words
        counts = self._is_in_memory and words[SERVER_POLLS]
        # A doorbell is not polled for: the memory was, if that pays.
        receive_into = self._connection.recv_into if counts else self._receive_into
        self._number, self._is_in_memory = None, False
        while True:
            frame = self._take()
            if frame is None:
                # The announcement stays while requests from the socket are answered, because that costs nothing.
                if not self._has_announced_wait:
                    words[SERVER_WAITS] = self._has_announced_wait = True
                    self._write_fence(), self._read_fence()
                if words[REQUEST] != number and not self._reader.fill(receive_into):
                    return None
                # It was sent before the bytes just received from the socket.
                if words[REQUEST] == number:
                    if counts:
                        self._policy.waits_left -= 1
                        if self._policy.waits_left <= 0:
                            self._policy.adapt(monotonic() - self._replied_at)
                    self._keep_pending(self._reader)
                    return self._take_request(number)
            elif len(frame):
                self._keep_pending(self._reader)
                return frame

    def _take_request(self, number: int) -> bytes | memoryview:
        """Copy the request out of the memory, because the client could still write to it.

        Raises:
            ProtocolError: The request is empty or too large, or its reply slot is outside the memory.
        """
        self._number, self._next_number, self._is_in_memory = number, number + 1 & NUMBERS, True
        if self._has_announced_wait:
            self._words[SERVER_WAITS] = self._has_announced_wait = False
        if self._words[REPLY_MOST] or self._has_slot:
            self._choose_slot()
        length = self._words[REQUEST_LENGTH]
        if not 0 < length <= self._shared.request_room:
            raise ProtocolError(
                f"a request in shared memory has {length} bytes: expected 1 to {self._shared.request_room}, its room"
            )
        if self._framing is Framing.INT32:
            if length > self._longest:
                most = self._longest - INT32_HEADER
                raise LimitExceeded(f"the frame has {length - INT32_HEADER} bytes; at most {most} are allowed")
            return self._memory[self._begin : REQUESTS + length]
        frame = self._memory[REQUESTS : REQUESTS + length]
        found = locate(self._framing, frame, 0, length, self._reader.limit)
        if found is None:
            raise ProtocolError("the message in shared memory is not a complete frame")
        return frame[found[0] : found[1]]

    def _choose_slot(self) -> None:
        """Use the reply slot that the client has chosen."""
        at, most, shared = self._words[REPLY_AT], self._words[REPLY_MOST], self._shared
        self._start, self._room, self._has_slot = shared.replies, shared.reply_room, most > 0
        if not most:
            return
        if at + most > self._room:
            raise ProtocolError(
                f"a reply at byte {at} of its room with at most {most} bytes: expected a place within "
                f"the {self._room} bytes of the room"
            )
        self._start, self._room = shared.replies + at, most

    def _send(self, frame: bytes | bytearray) -> None:
        """Send a frame the way its request came."""
        number, length, start = self._number, len(frame), self._start
        if number is None:
            self._connection.sendall(frame)
        elif length > self._room:
            self.send_parts([frame])
        else:
            self._memory[start : start + length] = frame
            self._publish(number, length)

    def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Send the parts of a reply the way its request came, or through the socket if the memory is too small."""
        number, start = self._number, self._start
        if number is None:
            super().send_parts(parts)
            return
        length = sum(map(len, parts))
        if length > self._room:
            self._publish(number, 0)
            super().send_parts(parts)
            return
        for part in parts:
            end = start + len(part)
            self._memory[start:end] = part
            start = end
        self._publish(number, length)

    def _publish(self, number: int, length: int) -> None:
        """Announce the reply; a length of 0 means that it comes through the socket."""
        words = self._words
        words[REPLY_LENGTH] = length
        words[REPLY] = number
        self._number = None
        if self._policy.is_trial:
            self._replied_at = monotonic()
        self._write_fence(), self._read_fence()
        if words[CLIENT_WAITS]:
            self._connection.sendall(self._doorbell)
