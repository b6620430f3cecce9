"""The handshake: recognises the protocol of a connection by its first bytes, and reads the first message.

==================  =========================================================================================
first bytes         protocol
==================  =========================================================================================
an ASCII digit      framed, netstrings: the length of the first one
a capital letter    HTTP: the method of the first request
``00``, not ``00``  classic: flags of 0, and the low byte of the id's length (see :func:`classic.is_handshake`)
``00 00 hh ll``     framed, Int32: the length of the first frame, below 64 KiB; ``hh`` and ``ll`` not both 0
``00 00 00 00 00``  classic: an empty id
==================  =========================================================================================

No bytes match two rows. Bytes that match none are refused.
"""

from __future__ import annotations

import msgspec

from gymtwist.error_texts import bytes_text
from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    HandshakeError,
    LimitExceeded,
    MalformedMessage,
    NoEnvironment,
    ProtocolError,
    RequestError,
    TokenRefused,
)
from gymtwist.protocol import classic, websocket
from gymtwist.protocol.agent_messages import MakeAgents
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, locate
from gymtwist.protocol.framing import ProtocolName as ProtocolName
from gymtwist.protocol.http_head import Problem, is_http, response
from gymtwist.protocol.make_messages import Make, Moved, Queued
from gymtwist.protocol.messages import Envs, Error, Fault
from gymtwist.protocol.resume_messages import Resume

#: The maximum bytes that a server buffers before a session begins.
MAX_HANDSHAKE = 64 * 1024
#: The maximum payload of the first frame in bytes. With its framing, it fits into an AMP value (65,535 bytes), by which
#: it is passed to a worker, and the length of an Int32 frame begins with two zero bytes.
MAX_MAKE = 64_000
#: The maximum number of items in the first message, counted like :data:`~gymtwist.protocol.codec.MAX_PARTS`, because
#: the server reads it between other tasks. JSON of that length cannot have more.
MAX_MAKE_PARTS = 32_000

_NO_PROTOCOL = (
    "these bytes open no protocol served here: {}; the framed protocol opens with a make message in a netstring "
    "(JSON) or behind a uint32 (big-endian; MessagePack), the classic protocol opens with a zero byte, the length of "
    "the environment id as uint32 (little-endian), and the id; HTTP opens with the name of a method"
)
_TLS = (
    "these bytes open no protocol served here: they begin TLS, which this port does not speak; connect without TLS (in "
    "Python without tls), or to a port that speaks it"
)
#: The protocols that use the framed protocol's messages.
FRAMED = {ProtocolName(framing.value) for framing in Framing}
_FAULTS: list[tuple[type[GymtwistError], Fault]] = [
    (ProtocolError, "protocol"),
    (RequestError, "request"),
    (EnvironmentFault, "environment"),
]
_SERVERS_OWN: Fault = "server"
_CODECS = {name: MessageCodec(name) for name in ProtocolName if name in FRAMED}


class Handshake(msgspec.Struct, frozen=True):
    """The parts of a connection's first message that the server needs before a worker takes over.

    Attributes:
        protocol: The protocol of the connection.
        environment: The requested environment id; empty for none.
        message: The bytes of the handshake with its framing, but without the token, which environments must not see.
        size: How many bytes the client has sent for it; 0 for WebSocket.
        report_queue: Whether to tell the client its place in the queue.
        warnings: What the client should know about its message; told by the worker, unless the server answers.
        token: The client's token; None if it sent none.
        branch: The ticket of the snapshot to continue from; empty for none.
        records: Whether the client asks to record its episodes.
        direct: Whether the client can connect to a node.
        resume_seconds: How many seconds the session should wait for the client if the connection is lost; None if the
            session then ends.
        resume: The request to resume a session; None if a new session is requested.
    """

    protocol: ProtocolName
    environment: str
    message: bytes
    report_queue: bool = False
    warnings: tuple[str, ...] = ()
    token: str | None = None
    branch: str = ""
    records: bool = False
    direct: bool = False
    resume_seconds: float | None = None
    resume: Resume | None = None
    size: int = 0


def is_tls(data: bytes | bytearray) -> bool:
    """Return whether the first bytes of a connection begin TLS: its first record is of the type handshake, 22."""
    return data[:1] == b"\x16"


def recognise(data: bytes | bytearray) -> ProtocolName | None:
    """Recognise the protocol by the first bytes of a connection.

    Args:
        data: All received bytes; five are enough.

    Returns:
        The protocol, or None if more bytes are needed.

    Raises:
        HandshakeError: The bytes do not begin a known protocol.
    """
    if b"0" <= data[:1] <= b"9":
        return ProtocolName.NETSTRING
    if is_http(data):
        return ProtocolName.HTTP
    if is_tls(data):
        raise HandshakeError(_TLS)
    recognised = classic.is_handshake(data)
    if recognised is None:
        return None
    if recognised:
        return ProtocolName.CLASSIC
    if data[:2] != b"\0\0" or data[2:4] == b"\0\0":
        raise HandshakeError(_NO_PROTOCOL.format(bytes_text(bytes(data[:8]))))
    return ProtocolName.INT32


def read_handshake(data: bytes | bytearray, protocol: ProtocolName | None = None) -> Handshake | None:
    """Read the handshake of any protocol.

    Args:
        data: All received bytes.
        protocol: The protocol of the connection, if known from an earlier, refused handshake.

    Returns:
        The handshake, or None while it is incomplete.

    Raises:
        HandshakeError: The bytes do not begin a known protocol.
        GymtwistError: The handshake is malformed.
    """
    protocol = protocol or recognise(data)
    if protocol is None:
        return None
    if protocol is ProtocolName.HTTP:
        raise HandshakeError(_NO_PROTOCOL.format(bytes_text(bytes(data[:8]))))
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
        read = read_message(protocol, bytes(data[begin:stop]), bytes(data[:size]))
        return msgspec.structs.replace(read, size=size)
    return Handshake(protocol, environment, bytes(data[:size]), size=size)


def read_message(protocol: ProtocolName, payload: bytes, message: bytes) -> Handshake:
    """Read the handshake of a framed protocol.

    Args:
        protocol: The protocol.
        payload: The payload of the first frame.
        message: What the worker gets: the frame, or only the payload if the transport adds frames.

    Raises:
        GymtwistError: The handshake is malformed.
    """
    request, warnings = _read_first(protocol, payload)
    message = _without_token(protocol, request, payload, message)
    if isinstance(request, Resume):
        return Handshake(protocol, "", message, warnings=warnings, token=request.token, resume=request)
    found = Handshake(protocol, "", message, request.report_queue, warnings, request.token)
    if isinstance(request, Envs):
        return found
    found = msgspec.structs.replace(found, environment=request.id, resume_seconds=request.resume)
    if isinstance(request, MakeAgents):
        return found
    records = request.record is not None
    return msgspec.structs.replace(found, branch=request.branch, records=records, direct=request.direct)


def _without_token(
    protocol: ProtocolName, request: Make | MakeAgents | Envs | Resume, payload: bytes, message: bytes
) -> bytes:
    """Return a message for the worker, without the token in it."""
    token = (request.token or "").encode("utf-8", "surrogatepass")
    if not token:
        return message
    if message.count(token) == 1:  # the rest of the message stays as it is
        return message.replace(token, b"*" * len(token))
    # The token is written in another way, or also occurs elsewhere.
    codec = _CODECS[protocol]
    frame = b"".join(codec.encode_request(msgspec.structs.replace(request, token=None)))
    if len(message) != len(payload):
        return frame
    found = locate(codec.framing, frame, 0, len(frame), len(frame))
    assert found is not None
    return frame[found[0] : found[1]]


def after_refusal(data: bytes | bytearray) -> int:
    """Return the offset of the message after a refused handshake of the framed protocol.

    Args:
        data: All received bytes, in which :func:`read_handshake` found a complete frame.
    """
    protocol = recognise(data)
    found = None if protocol is None else locate(Framing(protocol.value), data, 0, len(data), MAX_MAKE)
    return len(data) if found is None else found[2]


def _read_first(protocol: ProtocolName, payload: bytes) -> tuple[Make | MakeAgents | Envs | Resume, tuple[str, ...]]:
    notes: list[str] = []
    codec = MessageCodec(protocol, note=notes.extend)
    if not codec.framing.is_json and len(payload) > MAX_MAKE_PARTS and codec.has_more(payload, MAX_MAKE_PARTS):
        raise MalformedMessage(f"the first message has more than {MAX_MAKE_PARTS} parts; send arrays as bytes")
    request = codec.decode_request(payload)
    if not isinstance(request, (Make, MakeAgents, Envs, Resume)):
        operation = type(request).__struct_config__.tag
        error = NoEnvironment(f'the first message is "{operation}"; make an environment first, with a "make" message')
        error.warnings = tuple(notes)
        raise error
    return request, tuple(notes)


def error_reply(
    protocol: ProtocolName | None, error: GymtwistError, *, reset_needed: bool = False, http_status: int | None = None
) -> bytes:
    """Encode an error in the client's own protocol.

    Args:
        protocol: The protocol of the client; None if it is unknown. The error is then sent as an error string, which
            people can read most easily.
        error: Why there is no session, why it has ended, or why the environment has failed.
        reset_needed: Whether the next request must be a reset.
        http_status: The status of an HTTP response; None for the status that suits the error.
    """
    if protocol is None or protocol is ProtocolName.CLASSIC:
        return classic.error_string(str(error))
    if protocol is ProtocolName.HTTP:
        return response(http_status or _http_status(error), Problem(str(error), error.code))
    return _encoded(protocol, error_message(error, reset_needed=reset_needed))


def _encoded(protocol: ProtocolName, reply: Error | Moved | Queued) -> bytes:
    """Encode a reply with its frame."""
    payload = b"".join(_CODECS[protocol].encode_reply(reply))
    if protocol in websocket.OPCODES:
        return websocket.frame_header(websocket.OPCODES[protocol], len(payload)) + payload
    return payload


def _http_status(error: GymtwistError) -> int:
    if isinstance(error, TokenRefused):
        return 401
    return 431 if isinstance(error, LimitExceeded) else 400 if isinstance(error, ProtocolError) else 503


def queue_reply(protocol: ProtocolName, place: int) -> bytes:
    """Encode a client's place in the queue, for a framed protocol."""
    return _encoded(protocol, Queued(place))


def moved_reply(protocol: ProtocolName, host: str, port: int, ticket: str) -> bytes:
    """Encode the place of a client's session on a node, for a framed protocol."""
    return _encoded(protocol, Moved(host, port, ticket))


def error_message(error: GymtwistError, *, reset_needed: bool = False) -> Error:
    """Convert an error to a message.

    Args:
        error: The error.
        reset_needed: Whether the next request must be a reset.
    """
    fault = next((fault for kind, fault in _FAULTS if isinstance(error, kind)), _SERVERS_OWN)
    text = classic.shortened(str(error))
    # File names, and so errors about files, may contain surrogates, which UTF-8 cannot encode.
    text = text.encode("utf-8", "replace").decode()
    exception = error.exception if isinstance(error, EnvironmentFault) else ""
    return Error(error.code, text, fault, reset_needed, tuple(error.environments), error.warnings, exception)
