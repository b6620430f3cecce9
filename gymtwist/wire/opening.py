"""The opening: telling the protocols of a connection apart by its first bytes.

The classic protocol opens with a zero byte and a little-endian length (see
:func:`gymtwist.wire.classic.is_opening`). A netstring will open with an ASCII digit and an Int32 frame with
``00 00 hh ll``, hh and ll not both zero: neither can be mistaken for it.
"""

from __future__ import annotations

import msgspec

from gymtwist.errors import OpeningError
from gymtwist.wire import classic
from gymtwist.wire.names import ProtocolName as ProtocolName

#: The most bytes that are kept of a connection before its session begins.
MAX_OPENING = 64 * 1024


class Opening(msgspec.Struct, frozen=True):
    """A connection's first message, as far as the server must know it before a child takes over.

    Attributes:
        protocol: What the connection speaks.
        environment: The id asked for; empty if none is.
        message: The opening's own bytes.
        surplus: The bytes that came behind it.
    """

    protocol: ProtocolName
    environment: str
    message: bytes
    surplus: bytes


def read_opening(data: bytes | bytearray) -> Opening | None:
    """Read the opening of whatever protocol.

    Args:
        data: All bytes received so far.

    Returns:
        The opening, or None while it is incomplete.

    Raises:
        OpeningError: The bytes open no protocol that is served here.
    """
    recognised = classic.is_opening(data)
    if recognised is None:
        return None
    if not recognised:
        raise OpeningError(
            f"these bytes open no protocol served here: {bytes(data[:8])!r}; the classic protocol opens with "
            "a zero byte, the length of the environment id as uint32 (little-endian), and the id"
        )
    opening = classic.read_opening(data)
    if opening is None:
        return None
    return Opening(ProtocolName.CLASSIC, opening.environment, bytes(data[: opening.size]), bytes(data[opening.size :]))


def error_reply(protocol: ProtocolName | None, message: str) -> bytes:
    """Encode the refusal of an opening in the client's own protocol.

    Args:
        protocol: None if it was not to be told; an error string is then what a person can read most easily.
        message: Why there will be no session.
    """
    return classic.error_string(message)
