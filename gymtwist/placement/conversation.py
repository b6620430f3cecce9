"""What a client and its worker have exchanged, as far as another worker must know it to continue."""

from __future__ import annotations

import collections

from gymtwist.errors import GymtwistError
from gymtwist.placement.frame_counter import NoFrame, counter_for
from gymtwist.protocol import websocket
from gymtwist.protocol.framing import Framing, ProtocolName, locate
from gymtwist.protocol.handshake import MAX_MAKE

#: Bytes of unanswered requests to keep; a session with more than that ends with its node.
MOST_KEPT = 1024 * 1024
#: How the reply to a make request begins, in JSON and in MessagePack; ``op`` is its first field.
_MADE = (b'"op":"make', b"\xa2op\xa4make", b"\xa2op\xabmake")
#: How many bytes of a reply to search for that.
_HEAD = 40


class Conversation:
    """Follows the requests and replies of one session.

    A typical request costs little: it arrives whole, with no other request pending. It is not kept, because it would be
    answered with an error anyway. Other requests are kept until they are answered, since another worker would have to
    read them.

    Args:
        protocol: The client's protocol.
        handshake: The handshake, which is the first request.

    Attributes:
        make: The payload of the make message that was answered; empty before that.
        can_go_on: Whether another worker can continue, as far as is known.
        has_spoken: Whether the client has received anything.
        has_lost_requests: Whether the client has sent requests that were not kept, so that no other worker can read
            them.
    """

    def __init__(self, protocol: ProtocolName, handshake: bytes) -> None:
        self.make = b""
        self.has_spoken = self.has_lost_requests = False
        self._protocol = protocol
        self._handshake = handshake
        self._requests, self._replies = counter_for(protocol), counter_for(protocol)
        self.can_go_on = self._requests is not None
        #: The unanswered requests; None for a request that no other worker needs to read.
        self._unanswered: collections.deque[bytes | None] = collections.deque([handshake])
        self._partial = bytearray()
        self._kept = len(handshake)
        self._head = bytearray()

    # What crosses the relay

    def requested(self, data: memoryview) -> None:
        """Note what the client sends."""
        requests = self._requests
        if requests is None:
            self.has_lost_requests = True
            return
        if self.make and not self._unanswered and not self._partial and requests.is_one(data):
            self._unanswered.append(None)
            return
        try:
            start = 0
            for end in requests.ends(data):
                self._unanswered.append(bytes(self._partial + data[start:end]))
                self._kept += len(self._partial) + end - start
                self._partial.clear()
                start = end
            self._partial += data[start:]
        except NoFrame:
            self._give_up()
        if self._kept + len(self._partial) > MOST_KEPT:
            self._give_up()

    def _give_up(self) -> None:
        self.can_go_on, self.has_lost_requests = False, True
        self._requests = None
        self._unanswered.clear()
        self._partial.clear()

    def replied(self, data: memoryview) -> None:
        """Note what the worker sends."""
        self.has_spoken = True
        replies = self._replies
        if replies is None:
            return
        if self.make and not replies.is_partial and replies.is_one(data):
            self._answer()
            return
        try:
            start = 0
            for end in replies.ends(data):
                self._look(data[start:end])
                self._answer()
                self._head.clear()
                start = end
            self._look(data[start:])
        except NoFrame:
            self._replies = None
            self.can_go_on = False

    def _look(self, data: memoryview) -> None:
        """Look for the reply to a make request at the start of a reply."""
        if self.make or len(self._head) >= _HEAD:
            return
        self._head += data[: _HEAD - len(self._head)]
        if self._unanswered and any(each in self._head for each in _MADE):
            self.make = self._payload(self._unanswered[0] or b"")

    def _payload(self, request: bytes) -> bytes:
        """Return the payload of a whole request; empty if it is not known."""
        if self._protocol in websocket.OPCODES:
            # The handshake is stored without its frame; later requests are masked.
            payload = request if request is self._handshake else b""
        else:
            try:
                found = locate(Framing(self._protocol.value), request, 0, len(request), MAX_MAKE)
            except GymtwistError:
                found = None
            payload = b"" if found is None else request[found[0] : found[1]]
        self.can_go_on = self.can_go_on and bool(payload)
        return payload

    def _answer(self) -> None:
        if self._unanswered:
            answered = self._unanswered.popleft()
            self._kept -= 0 if answered is None else len(answered)

    def take_over(self) -> None:
        """Follow a conversation from here on: another connection had it since the reply to the handshake.

        It has one unanswered request, which was not kept.
        """
        self.make = self._payload(self._handshake)
        self.has_spoken = True
        self._unanswered.clear()
        self._unanswered.append(None)
        self._kept = 0

    # What another worker must know

    @property
    def is_owed_reply(self) -> bool:
        """Whether the client waits for a reply."""
        return bool(self._unanswered)

    @property
    def has_part_of_reply(self) -> bool:
        """Whether the client has received only part of a reply."""
        return self._replies is None or self._replies.is_partial

    def unread(self) -> bytes:
        """Return what another worker must read, assuming that the first unanswered request has been answered."""
        later = list(self._unanswered)[1:]
        return b"".join(each or b"" for each in later) + bytes(self._partial)

    def resume(self) -> None:
        """Note that the client is about to receive the reply that it waits for."""
        # The reply itself is counted when it arrives.
        self._replies = counter_for(self._protocol)
