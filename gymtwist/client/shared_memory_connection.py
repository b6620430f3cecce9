"""A connection that exchanges requests and replies with a server on this host through shared memory.

Both sides still wait on the socket. A doorbell, which is an empty frame, wakes up the other side.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from mmap import mmap

from gymtwist.client.client_errors import RemoteError
from gymtwist.client.connection import Connection
from gymtwist.client.frame_connection import MAX_REPLY
from gymtwist.client.reply_slots import LARGE, ReplySlots, max_slots
from gymtwist.errors import ProtocolError, SharingRefused
from gymtwist.protocol import messages, shared_memory
from gymtwist.protocol.adaptive_waiting import WaitPolicy
from gymtwist.protocol.framing import INT32_HEADER, Framing, locate
from gymtwist.protocol.shared_memory import (
    CLIENT_WAITS,
    NUMBERS,
    REPLY,
    REPLY_LENGTH,
    REQUEST,
    REQUEST_LENGTH,
    REQUESTS,
    SERVER_POLLS,
    SERVER_WAITS,
    WAITS,
    SharedMemory,
)

#: The maximum number of empty frames in a row; a server sends at most one doorbell per request.
_MAX_DOORBELLS = 10_000


def is_local(connected: socket.socket) -> bool:
    """Return True if a connection seems to lead to this host; a tunnel may look the same."""
    if not shared_memory.IS_POSSIBLE or type(connected) is not socket.socket:
        return False
    if connected.family == socket.AF_UNIX:
        return True
    try:
        return bool(connected.getpeername()[0] == connected.getsockname()[0])
    except OSError:  # the connection has ended
        return False


def create_for(offer: messages.Shared, request_room: int, reply_room: int) -> SharedMemory:
    """Create shared memory and send its descriptor to a server.

    Args:
        offer: The address and the token that the server expects.
        request_room: The capacity for a request in bytes, including its frame.
        reply_room: The capacity for replies in bytes, likewise.

    Raises:
        SharingRefused: The descriptor cannot be sent, for example because the server is on another host.
    """
    address, token = offer.address or "", offer.token or ""
    if not address.startswith(shared_memory.NAMES):
        raise SharingRefused(
            f"the server takes memory at {address!r:.80}: expected a name with {shared_memory.NAMES!r}"
        )
    try:
        descriptor = shared_memory.create(request_room, reply_room)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
                messenger.setblocking(False)  # another process may have filled the queue
                messenger.connect(f"\0{address}")
                socket.send_fds(messenger, [bytes.fromhex(token)], [descriptor])
            return SharedMemory(descriptor, request_room, reply_room)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise SharingRefused(f"no memory can be handed over: {error}") from error


class SharedMemoryConnection(Connection):
    """A connection to a server on this host that may share memory with it.

    The memory holds one request and its reply. A request that is sent while a reply is due therefore goes through the
    socket, as does its reply.

    Args:
        connected: A connected socket.
        name: The server's name, for messages.
        framing: How frames are delimited.
        timeout: Seconds to wait for a reply; None for no limit.
        policy: Decides between polling and blocking.
        poll_word: Polls a word of shared memory; see :func:`~gymtwist.protocol.shared_memory.poll_word`.

    Attributes:
        is_lost: True if memory was shared with a process of the server that has died, or may have.
    """

    def __init__(
        self,
        connected: socket.socket,
        name: str,
        framing: Framing,
        timeout: float | None,
        policy: WaitPolicy,
        *,
        poll_word: Callable[[memoryview, int, int, float], bool] = shared_memory.poll_word,
    ) -> None:
        super().__init__(connected, name, framing, timeout, policy)
        self._shared: SharedMemory | None = None
        self._framing = framing
        self._doorbell = shared_memory.doorbell(framing)
        self._write_fence, self._read_fence = shared_memory.fence()
        self._poll_word = poll_word
        self._is_large = False
        self._slots: ReplySlots | None = None
        #: The number of the last request in the memory.
        self._number = 0
        #: True if the next reply answers a request in the memory.
        self._is_in_memory = False
        self.is_lost = False

    def max_slots(self, usual: int, reply_room: int) -> int:
        """Return how many replies the memory should have capacity for.

        Args:
            usual: The usual size of a reply in bytes.
            reply_room: The capacity for one reply in bytes.
        """
        # A netstring needs no slot, because decoding JSON copies the observation anyway.
        return max_slots(reply_room) if usual >= LARGE and self._framing is Framing.INT32 else 1

    def share(self, shared: SharedMemory, usual: int, slots: int = 1) -> None:
        """Use shared memory from now on.

        Args:
            shared: The memory.
            usual: The usual size of a reply in bytes.
            slots: How many replies the memory has capacity for.
        """
        self._shared, self._is_large, self._number, self.is_lost = shared, usual >= LARGE, 0, False
        self._slots = ReplySlots(shared, slots, usual) if slots > 1 else None
        self._reader.least = 0
        self._announce_polling()

    def invalidate(self) -> None:
        """Discard the shared memory: the environment has failed, and the process that shared it may have died."""
        if self._shared is not None:
            self._discard()

    def _discard(self) -> None:
        self._shared, self._slots, self.is_lost = None, None, True

    @property
    def has_shared(self) -> bool:
        """True if memory is shared, or was shared."""
        return self._shared is not None or self.is_lost

    @property
    def needs_memory(self) -> bool:
        """True if memory should be shared again."""
        return self.is_lost or (self._slots is not None and self._slots.are_lost)

    def close(self, reason: RemoteError | None = None) -> None:
        """See :meth:`Connection.close`; this also releases the memory."""
        super().close(reason)
        self.is_lost = self.has_shared
        self._shared = self._slots = None

    def before_fork(self) -> None:
        """See :meth:`Connection.before_fork`."""
        if self._slots is not None:
            self._slots.before_fork()

    def _announce_polling(self) -> None:
        """Tell the server whether to poll for requests."""
        if self._shared is not None:
            # After a large reply the next request follows soon, so the server need not sleep.
            self._shared.words[SERVER_POLLS] = self._policy.poll_seconds > 0 or self._is_large

    def _adapt(self) -> None:
        super()._adapt()
        self._announce_polling()

    # Sending

    def _put(self, data: bytes) -> None:
        shared, length = self._shared, len(data)
        pays = self._policy.poll_seconds or self._is_large
        # If another reply is due, the memory holds that reply, or an earlier one that comes first.
        if shared is None or not pays or self.due > 1 or length > shared.request_room:
            Connection._put(self, data)
            return
        words, number = shared.words, self._number + 1 & NUMBERS
        if self._slots is not None:
            self._slots.choose()
        shared.memory[REQUESTS : REQUESTS + length] = data
        words[REQUEST_LENGTH] = length
        self._number, self._is_in_memory = number, True
        words[REQUEST] = number
        self._write_fence(), self._read_fence()
        if words[SERVER_WAITS]:
            super()._put(self._doorbell)

    # Receiving

    def _take(self) -> bytes | memoryview:
        shared, policy, number = self._shared, self._policy, self._number
        if not self._is_in_memory or shared is None:
            return self._take_from_socket()
        words, seconds = shared.words, policy.poll_seconds
        self._is_interruptible = True  # nothing is taken until the reply is read
        frame: bytes | memoryview | None = None
        if words[REPLY] != number and not (seconds and self._poll_word(words, REPLY, number, seconds)):
            if seconds:
                policy.miss()
                # The policy may have stopped polling, but the server may poll on while the learner computes.
                self._announce_polling()
            frame = self._block_for_reply(shared)
        self._is_interruptible = False
        if frame is None:
            frame = self._read(shared)
        self._is_in_memory = False
        policy.waits_left -= 1
        if policy.waits_left <= 0:
            self._adapt()
        return frame

    def is_ready(self) -> bool:
        """See :meth:`Connection.is_ready`."""
        shared = self._shared
        has_reply = self._is_in_memory and shared is not None and shared.words[REPLY] == self._number
        return has_reply or super().is_ready()

    def announce_wait(self, waits: bool) -> None:
        """See :meth:`Connection.announce_wait`."""
        if self._shared is not None:
            self._shared.words[CLIENT_WAITS] = WAITS if waits else 0
            self._write_fence(), self._read_fence()

    def _take_from_socket(self) -> bytes | memoryview:
        """Take the next payload from the socket, ignoring doorbells of replies that were already found."""
        for _ in range(_MAX_DOORBELLS):
            frame = Connection._take(self)
            if len(frame):
                return frame
        raise ProtocolError("empty frames without end")

    def _block_for_reply(self, shared: SharedMemory) -> memoryview | None:
        """Block until the reply is in the memory and return None, or return a reply that came through the socket."""
        words, number, deadline = shared.words, self._number, None
        try:
            # Whoever announces a wait must look for the reply once more.
            words[CLIENT_WAITS] = WAITS
            self._write_fence(), self._read_fence()
            # The server wrote the reply to the memory before anything that follows it in the socket.
            while words[REPLY] != number:
                frame = self._next_frame()
                if frame is None:
                    self._receive_some(deadline)
                    deadline = deadline or self._deadline()
                elif len(frame):
                    # The process that shared the memory has died, and another one replies instead.
                    self._discard()
                    return frame
        except ConnectionError:
            # The final reply may be in the memory.
            if words[REPLY] != number:
                raise
        finally:
            words[CLIENT_WAITS] = 0
        return None

    def _read(self, shared: SharedMemory) -> bytes | memoryview:
        """Read the reply in the memory."""
        length, start = shared.words[REPLY_LENGTH], shared.replies
        if not length:  # it did not fit, and comes through the socket
            return self._take_from_socket()
        if self._slots is not None:
            return self._slots.reply(length)[INT32_HEADER:]
        if length > shared.reply_room:
            raise ProtocolError(f"a reply in shared memory has {length} bytes: expected {shared.reply_room} at most")
        source: mmap | memoryview = shared.memory if length < LARGE else shared.view
        if self._framing is Framing.INT32:
            return source[start + INT32_HEADER : start + length]
        whole = shared.memory[start : start + length]
        found = locate(self._framing, whole, 0, length, MAX_REPLY)
        if found is None:
            raise ProtocolError("the message in shared memory is not a complete frame")
        return whole[found[0] : found[1]]
