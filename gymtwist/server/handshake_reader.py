"""The openings of one connection: mostly one, but in the framed protocol a client may try again after a refusal."""

from __future__ import annotations

import contextlib

import msgspec

from gymtwist.errors import GymtwistError, HandshakeError, RequestError
from gymtwist.protocol.handshake import (
    MAX_HANDSHAKE,
    Handshake,
    ProtocolName,
    after_refusal,
    error_reply,
    read_handshake,
    recognise,
)
from gymtwist.worker.access_policy import AllowList

#: Openings of one connection that are refused without closing it: no client needs as many.
MOST_REFUSALS = 16


class Refusal(msgspec.Struct, frozen=True):
    """An opening that is not what it must be, or asks for what is not allowed.

    Attributes:
        error: Why.
        reply: The error in the client's own protocol.
        is_final: Whether the connection is to be closed: the client cannot try again.
    """

    error: GymtwistError
    reply: bytes
    is_final: bool


class HandshakeReader:
    """Reads a connection's opening.

    Args:
        allowed: Which environments may be had.

    Attributes:
        received: What was received and not taken yet; what comes behind the opening stays.
    """

    def __init__(self, allowed: AllowList) -> None:
        self.received = bytearray()
        self._allowed = allowed
        self._refusals = 0
        self._protocol: ProtocolName | None = None

    def next(self) -> Handshake | Refusal | None:
        """Take the opening, or one that is refused; None until more has been received."""
        if self._protocol is ProtocolName.NETSTRING:  # a second opening, after the end of a line perhaps
            del self.received[: len(self.received) - len(self.received.lstrip(b"\r\n"))]
        try:
            handshake = read_handshake(self.received, self._protocol)
            if handshake is None:
                if len(self.received) > MAX_HANDSHAKE:
                    raise HandshakeError(f"the opening has more than {MAX_HANDSHAKE} bytes")
                return None
            self._allowed.check(handshake.environment)
        except GymtwistError as error:
            return self._refuse(error)
        del self.received[: len(handshake.message)]
        return handshake

    def _refuse(self, error: GymtwistError) -> Refusal:
        protocol = self.protocol()
        self._refusals += 1
        # After an error of the request the stream is in step; the classic protocol has no place for a second opening.
        in_step = isinstance(error, RequestError) and protocol not in (None, ProtocolName.CLASSIC)
        is_final = not in_step or self._refusals > MOST_REFUSALS
        if not is_final:
            del self.received[: after_refusal(self.received)]
        return Refusal(error, error_reply(protocol, error), is_final)

    def protocol(self) -> ProtocolName | None:
        """Tell what the client speaks, even if its opening is not complete; None if it cannot be told."""
        if self._protocol is None:  # it does not change
            with contextlib.suppress(HandshakeError):
                self._protocol = recognise(self.received)
        return self._protocol
