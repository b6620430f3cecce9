"""Reads the handshake of a connection; in the framed protocol a client may try again after a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

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
from gymtwist.protocol.http_head import Head, read_head

#: Handshakes of one connection that are refused without closing it; more are an attack or an endless loop.
MOST_REFUSALS = 16


class Refusal(msgspec.Struct, frozen=True):
    """An invalid handshake, or one that asks for something that is not allowed.

    Attributes:
        error: The reason.
        reply: The error in the client's protocol.
        is_final: Whether to close the connection: the client cannot try again.
    """

    error: GymtwistError
    reply: bytes
    is_final: bool


class HandshakeReader:
    """Reads a connection's handshake; it does no I/O.

    Args:
        check: Checks whether the client may have what its handshake asks for; raises a ``GymtwistError`` if not.

    Attributes:
        received: What was received and not consumed yet; trailing data behind the handshake stays.
    """

    def __init__(self, check: Callable[[Handshake], None]) -> None:
        self.received = bytearray()
        self._check = check
        self._refusals = 0
        self._told: set[str] = set()
        self._protocol: ProtocolName | None = None

    def next(self) -> Handshake | Refusal | Head | None:
        """Consume the handshake and return it or its refusal; None if it is incomplete.

        The head of an HTTP request is not consumed.
        """
        if self.protocol() is ProtocolName.HTTP:
            try:
                return read_head(self.received)
            except GymtwistError as error:
                return self._refuse(error)
        if self._protocol is ProtocolName.NETSTRING:  # a second handshake, perhaps behind a line end
            del self.received[: len(self.received) - len(self.received.lstrip(b"\r\n"))]
        try:
            handshake = read_handshake(self.received, self._protocol)
            if handshake is None:
                if len(self.received) > MAX_HANDSHAKE:
                    raise HandshakeError(f"the handshake has more than {MAX_HANDSHAKE} bytes")
                return None
            try:
                self._check(handshake)
            except GymtwistError as error:
                error.warnings = handshake.warnings
                raise
        except GymtwistError as error:
            return self._refuse(error)
        del self.received[: len(handshake.message)]
        return handshake

    def _refuse(self, error: GymtwistError) -> Refusal:
        protocol = self.protocol()
        self._refusals += 1
        # After a request error the stream is still in sync; the classic protocol has no second handshake.
        in_sync = isinstance(error, RequestError) and protocol in (ProtocolName.NETSTRING, ProtocolName.INT32)
        is_final = not in_sync or self._refusals > MOST_REFUSALS
        if not is_final:
            del self.received[: after_refusal(self.received)]
        error.warnings = tuple(each for each in error.warnings if each not in self._told)
        self._told.update(error.warnings)
        return Refusal(error, error_reply(protocol, error), is_final)

    def protocol(self) -> ProtocolName | None:
        """Return the client's protocol, even if its handshake is incomplete; None if it is unknown."""
        if self._protocol is None:  # it does not change
            with contextlib.suppress(HandshakeError):
                self._protocol = recognise(self.received)
        return self._protocol
