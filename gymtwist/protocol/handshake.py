"""The opening: telling the protocols of a connection apart by its first bytes.

==================  =========================================================================================
first bytes         protocol
==================  =========================================================================================
an ASCII digit      framed, netstrings: the length of the first one
``00``, not ``00``  classic: flags of 0, and the low byte of the id's length (see :func:`classic.is_handshake`)
``00 00 hh ll``     framed, Int32: the length of the first frame, below 64 KiB; ``hh`` and ``ll`` not both 0
``00 00 00 00 00``  classic: an empty id
==================  =========================================================================================

No bytes are in two of these rows, and whatever is in none opens no protocol.
"""

from __future__ import annotations

import msgspec

from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    HandshakeError,
    LimitExceeded,
    NoEnvironment,
    ProtocolError,
    RequestError,
)
from gymtwist.protocol import classic
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, locate
from gymtwist.protocol.framing import ProtocolName as ProtocolName
from gymtwist.protocol.messages import Error, Fault, Make

#: The most bytes that are kept of a connection before its session begins.
MAX_HANDSHAKE = 64 * 1024
#: The longest payload in bytes of the frame that opens a connection: with its framing it fits one value of AMP
#: (65,535 bytes), by which a child gets it, and the length of an Int32 frame begins with two zero bytes.
MAX_MAKE = 64_000

_NO_PROTOCOL = (
    "these bytes open no protocol served here: {!r}; the framed protocol opens with a make message in a netstring "
    "(JSON) or behind a uint32 (big-endian; MessagePack), the classic protocol opens with a zero byte, the length of "
    "the environment id as uint32 (little-endian), and the id"
)
_FAULTS: list[tuple[type[GymtwistError], Fault]] = [
    (ProtocolError, "protocol"),
    (RequestError, "request"),
    (EnvironmentFault, "environment"),
]
_SERVERS_OWN: Fault = "server"
#: The most characters of what went wrong: an environment's exception may say anything, at any length.
_MOST_TOLD = 4000
_CODECS = {name: MessageCodec(name) for name in (ProtocolName.NETSTRING, ProtocolName.INT32)}


class Handshake(msgspec.Struct, frozen=True):
    """A connection's first message, as far as the server must know it before a child takes over.

    Attributes:
        protocol: What the connection speaks.
        environment: The id asked for; empty if none is.
        message: The opening's own bytes, its framing with them.
        trailing_data: The bytes that came behind it.
    """

    protocol: ProtocolName
    environment: str
    message: bytes
    trailing_data: bytes


def recognise(data: bytes | bytearray) -> ProtocolName | None:
    """Tell the protocol by a connection's first bytes.

    Args:
        data: All bytes received so far; the first five are enough.

    Returns:
        The protocol, or None while that is open.

    Raises:
        HandshakeError: The bytes open no protocol that is served here.
    """
    if b"0" <= data[:1] <= b"9":
        return ProtocolName.NETSTRING
    recognised = classic.is_handshake(data)
    if recognised is None:
        return None
    if recognised:
        return ProtocolName.CLASSIC
    if data[:2] != b"\0\0" or data[2:4] == b"\0\0":
        raise HandshakeError(_NO_PROTOCOL.format(bytes(data[:8])))
    return ProtocolName.INT32


def read_handshake(data: bytes | bytearray, protocol: ProtocolName | None = None) -> Handshake | None:
    """Read the opening of whatever protocol.

    Args:
        data: All bytes received so far.
        protocol: What the connection speaks, if an opening that was refused has told it.

    Returns:
        The opening, or None while it is incomplete.

    Raises:
        HandshakeError: The bytes open no protocol that is served here.
        GymtwistError: They do, but not as they should.
    """
    protocol = protocol or recognise(data)
    if protocol is None:
        return None
    if protocol is ProtocolName.CLASSIC:
        handshake = classic.read_handshake(data)
        if handshake is None:
            return None
        environment, size = handshake.environment, handshake.size
    else:
        try:
            found = locate(Framing(protocol.value), data, 0, len(data), MAX_MAKE)
        except LimitExceeded as error:
            raise LimitExceeded(f"the first message is too long: {error}") from None
        if found is None:
            return None
        begin, stop, size = found
        environment = _read_make(protocol, bytes(data[begin:stop])).id
    return Handshake(protocol, environment, bytes(data[:size]), bytes(data[size:]))


def after_refusal(data: bytes | bytearray) -> int:
    """Tell where the next message begins behind an opening of the framed protocol that was refused.

    Args:
        data: All bytes received so far; :func:`read_handshake` found a whole frame in them.
    """
    protocol = recognise(data)
    found = None if protocol is None else locate(Framing(protocol.value), data, 0, len(data), MAX_MAKE)
    return len(data) if found is None else found[2]


def _read_make(protocol: ProtocolName, payload: bytes) -> Make:
    request = _CODECS[protocol].decode_request(payload)
    if not isinstance(request, Make):
        operation = type(request).__struct_config__.tag
        raise NoEnvironment(f'the first message is "{operation}"; make an environment first, with a "make" message')
    return request


def error_reply(protocol: ProtocolName | None, error: GymtwistError, *, reset_needed: bool = False) -> bytes:
    """Encode an error in the client's own protocol.

    Args:
        protocol: None if it was not to be told; an error string is then what a person can read most easily.
        error: Why there will be no session, or why it ended, or what befell its environment.
        reset_needed: Whether the next request must be a reset.
    """
    if protocol is None or protocol is ProtocolName.CLASSIC:
        return classic.error_string(str(error))
    return b"".join(_CODECS[protocol].encode_reply(error_message(error, reset_needed=reset_needed)))


def error_message(error: GymtwistError, *, reset_needed: bool = False) -> Error:
    """Make the message that tells a client of an error.

    Args:
        error: What happened.
        reset_needed: Whether the next request must be a reset.
    """
    fault = next((fault for kind, fault in _FAULTS if isinstance(error, kind)), _SERVERS_OWN)
    told = str(error)
    if len(told) > _MOST_TOLD:
        told = f"{told[:_MOST_TOLD]}..."
    # What UTF-8 does not have is in the name of many a file, and so in what is raised about it.
    return Error(error.code, told.encode("utf-8", "replace").decode(), fault, reset_needed)
