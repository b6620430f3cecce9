"""Memory that is shared with a server on the same host, so that requests and replies need not pass a socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from mmap import mmap

from gymtwist.client.client_errors import RemoteError
from gymtwist.client.connection import MAX_REPLY, Connection
from gymtwist.client.reply_slots import LARGE, ReplySlots, max_slots
from gymtwist.errors import ProtocolError, SharingRefused
from gymtwist.protocol import messages, shared_memory
from gymtwist.protocol.adaptive_waiting import (
    EARLY_DOORBELL_BUDGET,
    LARGE_REPLY_BUDGET,
    LARGE_REPLY_WORTH,
    Backoff,
    ReplyTimer,
    WaitPolicy,
)
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
    WAITS_TO_POLL,
    SharedMemory,
)

#: Bells that ring for what had been found before: there is one to a request at most.
_MOST_BELLS = 10_000


def is_local(connected: socket.socket) -> bool:
    """Tell whether a connection seems to lead to this host; a tunnel may seem so, too."""
    if not shared_memory.IS_POSSIBLE or type(connected) is not socket.socket:
        return False
    if connected.family == socket.AF_UNIX:
        return True
    try:
        return bool(connected.getpeername()[0] == connected.getsockname()[0])
    except OSError:  # it has ended
        return False


def hand_over(offer: messages.Shared, request_room: int, reply_room: int) -> SharedMemory:
    """Make memory, and hand it over to a server.

    Args:
        offer: Where the server takes it.
        request_room: Bytes that a request may have, with its frame.
        reply_room: Bytes that a reply may have, likewise.

    Raises:
        SharingRefused: It cannot be handed over: the server is on another host, for instance.
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
                messenger.setblocking(False)  # others may have filled the queue
                messenger.connect(f"\0{address}")
                socket.send_fds(messenger, [bytes.fromhex(token)], [descriptor])
            return SharedMemory(descriptor, request_room, reply_room)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise SharingRefused(f"no memory can be handed over: {error}") from error


class SharingConnection(Connection):
    """A connection to a server on this host, which may get memory to share with it.

    Only what is sent while no reply is due passes the memory, and its reply does: it holds one of each.

    Args:
        connected: A connected socket.
        name: Of the server, for messages.
        framing: How frames are told apart.
        timeout: Seconds to wait for a reply; None for any time.
        policy: Decides between polling and blocking.
        poll_word: Polls a word of shared memory; see :func:`~gymtwist.protocol.shared_memory.poll_word`.
        timer: Estimates when large replies are due.

    Attributes:
        is_lost: Whether there was memory, and the process that shared it has died, or may have.
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
        timer: ReplyTimer | None = None,
    ) -> None:
        super().__init__(connected, name, framing, timeout, policy)
        self._shared: SharedMemory | None = None
        self._framing = framing
        self._doorbell = shared_memory.doorbell(framing)
        self._write_fence, self._read_fence = shared_memory.fence()
        #: How to wait for replies that have no places, and for those that have.
        self._policies = (
            policy,
            WaitPolicy(LARGE_REPLY_BUDGET if policy.poll_seconds else 0.0, LARGE_REPLY_WORTH),
        )
        self._is_large = False
        self._places: ReplySlots | None = None
        self._poll_word = poll_word
        self._timer = timer or ReplyTimer()
        self._early_doorbells = Backoff.for_early_doorbells()
        self._number = 0
        #: Whether the next reply that is due is one to a request in the memory.
        self._is_in_memory = False
        self.is_lost = False

    def places(self, usual: int, reply_room: int) -> int:
        """Tell for how many replies there is to be room in memory.

        Args:
            usual: How many bytes most of them have.
            reply_room: The room for one.
        """
        # What is in a netstring is decoded anyway, and with it copied.
        return max_slots(reply_room) if usual >= LARGE and self._framing is Framing.INT32 else 1

    def share(self, shared: SharedMemory, usual: int, places: int = 1) -> None:
        """Use memory from now on.

        Args:
            shared: What the server has, too.
            usual: How many bytes most replies have.
            places: For how many replies it has room.
        """
        self._shared, self._is_large, self._number, self.is_lost = shared, usual >= LARGE, 0, False
        self._places = ReplySlots(shared, places, usual) if places > 1 else None
        self._policy = self._policies[self._places is not None]
        self._reader.least = 0
        self._say_how_to_wait()

    def invalidate(self) -> None:
        """Take the memory for lost: the environment has failed, and perhaps the process that shared it is no more."""
        if self._shared is not None:
            self._lose()

    def _lose(self) -> None:
        self._shared, self._places, self.is_lost = None, None, True
        self._policy = self._policies[0]

    @property
    def needs_memory(self) -> bool:
        """Whether memory is to be shared anew."""
        return self.is_lost or (self._places is not None and self._places.are_gone)

    def close(self, reason: RemoteError | None = None) -> None:
        """As :meth:`Connection.close`; the memory goes with it."""
        super().close(reason)
        self._shared = self._places = None

    def before_fork(self) -> None:
        """As :meth:`Connection.before_fork`; the other process uses what lies in the memory as well."""
        if self._places is not None:
            self._places.before_fork()

    def _say_how_to_wait(self) -> None:
        if self._shared is not None:
            # A frame takes long to come, but the next request comes soon after it, and the server need not sleep.
            self._shared.words[SERVER_POLLS] = self._policy.poll_seconds > 0 or self._is_large

    def _adapt(self) -> None:
        super()._adapt()
        self._say_how_to_wait()

    def _put(self, data: bytes) -> None:
        shared, length = self._shared, len(data)
        pays = self._policy.poll_seconds or self._is_large
        # Another reply that is due lies in the memory, or comes behind one that does.
        if shared is None or not pays or self.due > 1 or length > shared.request_room:
            Connection._put(self, data)
            return
        words, number = shared.words, self._number + 1 & NUMBERS
        if self._places is not None:
            self._places.choose()
            self._timer.begin()
        shared.memory[REQUESTS : REQUESTS + length] = data
        words[REQUEST_LENGTH] = length
        self._number, self._is_in_memory = number, True
        words[REQUEST] = number
        self._write_fence(), self._read_fence()
        if words[SERVER_WAITS]:
            super()._put(self._doorbell)

    def _take(self) -> bytes | memoryview:
        shared, policy, number = self._shared, self._policy, self._number
        if not self._is_in_memory or shared is None:
            return self._take_from_socket()
        words, seconds = shared.words, policy.poll_seconds
        self._waits = True
        frame: bytes | memoryview | None = None
        if words[REPLY] != number:
            if seconds and self._is_soon(words, number) and self._poll_word(words, REPLY, number, seconds):
                policy.hit()
            else:
                if seconds:
                    # The server may poll nevertheless: it waits for the learner, and the learner for the environment.
                    policy.miss()
                    self._say_how_to_wait()
                frame = self._woken(shared)
            if self._places is not None:
                self._timer.end()
        self._waits = False
        if frame is None:
            frame = self._read(shared)
        self._is_in_memory = False
        policy.waits_left -= 1
        if policy.is_trial or policy.waits_left <= 0:
            self._adapt()
        return frame

    def _is_soon(self, words: memoryview, number: int) -> bool:
        """Sleep until a large reply is due; and tell whether to poll for it."""
        if self._places is None:
            return True
        is_soon = self._timer.sleep_until_due()
        if words[REPLY] == number:
            self._timer.woke_late()
        return is_soon

    def _take_from_socket(self) -> bytes | memoryview:
        frame: bytes | memoryview = Connection._take(self)
        if len(frame):
            return frame
        for _ in range(_MOST_BELLS):
            frame = Connection._take(self)
            if len(frame):
                return frame
        raise ProtocolError("there are empty frames without end")

    def _woken(self, shared: SharedMemory) -> memoryview | None:
        """Wait for a reply at the socket: None if it is in the memory, and otherwise the reply."""
        words, number, deadline = shared.words, self._number, None
        wishes, is_rung = self._is_large and not self._early_doorbells.paused, False
        if self._early_doorbells.paused:
            self._early_doorbells.paused -= 1
        try:
            words[CLIENT_WAITS] = WAITS_TO_POLL if wishes else WAITS
            self._write_fence(), self._read_fence()
            # What is in the memory was sent before anything that is behind it in the socket.
            while words[REPLY] != number:
                frame = self._next_frame()
                if frame is None:
                    self._receive_some(deadline)
                    deadline = deadline or self._deadline()
                    is_rung = True
                elif len(frame):
                    # The process that shared the memory has died, and another answers in its place.
                    self._lose()
                    return frame
                elif wishes and is_rung:
                    wishes = False
                    if self._comes(words, number):
                        break
        except ConnectionError:
            # The last words may be in the memory.
            if words[REPLY] != number:
                raise
        finally:
            words[CLIENT_WAITS] = 0
        return None

    def _comes(self, words: memoryview, number: int) -> bool:
        """Poll for a large reply: the server has rung early, and goes on writing it while this process was woken up."""
        words[CLIENT_WAITS] = 0
        self._waits = True
        has_come = self._poll_word(words, REPLY, number, EARLY_DOORBELL_BUDGET)
        self._waits = False
        if has_come:
            self._early_doorbells.succeeded()
            return True
        # Perhaps this process was woken up on the server's core, and holds it up.
        self._early_doorbells.failed()
        words[CLIENT_WAITS] = WAITS
        self._write_fence(), self._read_fence()
        return False

    def _read(self, shared: SharedMemory) -> bytes | memoryview:
        """Read the reply that is in the memory."""
        length, start = shared.words[REPLY_LENGTH], shared.replies
        if not length:  # it has no room there
            return self._take_from_socket()
        if self._places is not None:
            return self._places.reply(length)[INT32_HEADER:]
        if length > shared.reply_room:
            raise ProtocolError(f"a reply in shared memory has {length} bytes: expected {shared.reply_room} at most")
        source: mmap | memoryview = shared.memory if length < LARGE else shared.view
        if self._framing is Framing.INT32:
            return source[start + INT32_HEADER : start + length]
        whole = shared.memory[start : start + length]
        found = locate(self._framing, whole, 0, length, MAX_REPLY)
        if found is None:
            raise ProtocolError("what is in shared memory is no whole frame")
        return whole[found[0] : found[1]]
