"""What a client and its worker have said to each other, as far as another worker must know it to go on."""

from __future__ import annotations

import collections

from gymtwist.errors import GymtwistError
from gymtwist.placement.frame_counter import NoFrame, counter_for
from gymtwist.protocol import websocket
from gymtwist.protocol.framing import Framing, ProtocolName, locate
from gymtwist.protocol.handshake import MAX_MAKE

#: Bytes of unanswered requests that are kept; a session that has more of them ends with its node.
MOST_KEPT = 1024 * 1024
#: How the reply to a make request begins, in JSON and in MessagePack; its ``op`` comes first.
_MADE = (b'"op":"make', b"\xa2op\xa4make", b"\xa2op\xabmake")
#: Bytes of a reply in which that is.
_HEAD = 40


class Conversation:
    """Follows the requests and replies of one session.

    A usual request costs it little: it is whole, and nothing else is on its way. It is not kept then, as the reply to
    it would be an error. Other requests are kept until they are answered, since another worker must read them.

    Args:
        protocol: The client's protocol.
        handshake: The handshake, which is the first request.

    Attributes:
        make: The payload of the make message that was answered; empty before.
        can_go_on: Whether another worker can go on, as far as is known.
        has_spoken: Whether the client has got anything.
        has_lost_requests: Whether the client has sent what is not kept, and no worker could read again.
    """

    def __init__(self, protocol: ProtocolName, handshake: bytes) -> None:
        self.make = b""
        self.has_spoken = self.has_lost_requests = False
        self._protocol = protocol
        self._handshake = handshake
        self._requests, self._replies = counter_for(protocol), counter_for(protocol)
        self.can_go_on = self._requests is not None
        #: The requests that are not answered; None for one that no worker needs to read again.
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
        """Look for the reply to a make request at the beginning of a reply."""
        if self.make or len(self._head) >= _HEAD:
            return
        self._head += data[: _HEAD - len(self._head)]
        if self._unanswered and any(each in self._head for each in _MADE):
            self.make = self._payload(self._unanswered[0] or b"")

    def _payload(self, request: bytes) -> bytes:
        """Return the payload of a whole request; empty if it cannot be known."""
        if self._protocol in websocket.OPCODES:
            # The handshake comes without its frame; later requests are masked.
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
        """Follow a conversation from here on: another connection had it, from the reply to the handshake.

        A request is unanswered that is not kept.
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
        """Whether the client has got a part of a reply, and not the rest."""
        return self._replies is None or self._replies.is_partial

    def unread(self) -> bytes:
        """Return what another worker must read, if the first unanswered request is answered already."""
        later = list(self._unanswered)[1:]
        return b"".join(each or b"" for each in later) + bytes(self._partial)

    def resume(self) -> None:
        """Note that the client is about to get the reply that it waits for."""
        # The reply itself is counted when it comes.
        self._replies = counter_for(self._protocol)
