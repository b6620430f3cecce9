"""The handshake of the framed protocol: a make message in its frame."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    HandshakeError,
    InvalidField,
    LimitExceeded,
    MalformedMessage,
    NoEnvironment,
    ProtocolError,
    ServerFull,
    UnknownOperation,
    WorkerStartError,
)
from gymtwist.protocol.all_messages import Request
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, frame, header, locate
from gymtwist.protocol.handshake import MAX_MAKE, ProtocolName, error_reply, read_handshake, recognise
from gymtwist.protocol.make_messages import Make
from gymtwist.protocol.messages import Envs, Error, Fault, Reset, Step
from tests.support.codec_samples import EACH_FRAMED, answered, asked, framed


@EACH_FRAMED
@pytest.mark.parametrize("kwargs", [{}, {"frameskip": 4}, {"x": "y" * 60_000}])
def test_a_make_message_is_a_handshake(protocol: ProtocolName, kwargs: dict[str, object]) -> None:
    """The handshake is the whole frame; what comes behind it is its surplus, to the byte."""
    message, trailing_data = asked(protocol, Make("größe/Pong-v5", kwargs)), asked(protocol, Reset(seed=1))
    for size in (*range(min(len(message), 200)), len(message) - 1):
        assert read_handshake(message[:size]) is None
    for behind in (b"", b"\xff", trailing_data):
        read = read_handshake(bytearray(message + behind))
        assert read is not None
        assert read.protocol is protocol
        assert (read.environment, read.message) == ("größe/Pong-v5", message)


@EACH_FRAMED
def test_a_list_of_environments_is_a_handshake(protocol: ProtocolName) -> None:
    """It asks for no environment."""
    message = asked(protocol, Envs(count=3))
    read = read_handshake(bytearray(message + asked(protocol, Make("Pong-v5"))))
    assert read is not None
    assert (read.protocol, read.environment, read.message) == (protocol, "", message)


def test_a_handshake_fits_into_one_value_of_amp() -> None:
    """By which a worker gets it, its framing with it."""
    for framing in (Framing.NETSTRING, Framing.INT32):
        assert len(b"".join(frame(framing, b"x" * MAX_MAKE))) <= 0xFFFF


@EACH_FRAMED
@pytest.mark.parametrize("length", [MAX_MAKE + 1, 0xFFFF])
def test_a_first_message_over_its_limit_is_refused(protocol: ProtocolName, length: int) -> None:
    """As soon as its length is known; the message says the limit."""
    with pytest.raises(LimitExceeded, match=f"has {length} bytes; at most {MAX_MAKE}"):
        read_handshake(header(Framing(protocol.value), length))


@EACH_FRAMED
@pytest.mark.parametrize("request_", [Reset(), Step(1)])
def test_a_first_message_that_is_not_make_is_refused(protocol: ProtocolName, request_: Request) -> None:
    """The message says what comes first."""
    with pytest.raises(NoEnvironment, match=r'the first message is "\w+"; make an environment first'):
        read_handshake(asked(protocol, request_))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (b"CartPo", MalformedMessage),
        (b"[]", MalformedMessage),
        (b"{}", InvalidField),
        (b'{"op":"make"}', InvalidField),
        (b'{"op":"make","id":""}', InvalidField),
        (b'{"op":"make","id":7}', InvalidField),
        (b'{"op":"open","id":"x"}', UnknownOperation),
    ],
)
def test_a_make_message_that_is_wrong_is_refused(payload: bytes, kind: type[GymtwistError]) -> None:
    """In both framings, with the same kind of error."""
    with pytest.raises(kind):
        read_handshake(framed(ProtocolName.NETSTRING, payload))
    if payload != b"CartPo":
        packed = msgspec.msgpack.encode(msgspec.json.decode(payload))
        with pytest.raises(kind):
            read_handshake(framed(ProtocolName.INT32, packed))


@pytest.mark.parametrize("data", [b"01:", b"1234567890", b"1x", b"2:{}."])
def test_an_invalid_first_netstring_is_refused(data: bytes) -> None:
    """It is told for one by its digit, and read as one."""
    assert recognise(data) is ProtocolName.NETSTRING
    with pytest.raises(ProtocolError):
        read_handshake(data)


@EACH_FRAMED
@pytest.mark.parametrize(
    ("error", "code", "fault"),
    [
        (HandshakeError("größer"), "bad-opening", "protocol"),
        (ServerFull("full"), "server-full", "request"),
        (EnvironmentFault("step", "killed"), "environment-fault", "environment"),
        (WorkerStartError("none"), "no-process", "server"),
    ],
)
def test_a_refusal_is_an_error_message(protocol: ProtocolName, error: GymtwistError, code: str, fault: Fault) -> None:
    """In the framed protocol, in the client's own framing: with the code, the words, and whose fault it is."""
    assert answered(protocol, error_reply(protocol, error)) == Error(code, str(error), fault)


@EACH_FRAMED
@pytest.mark.parametrize("token", ["alice.0123456789abcdef", "make", "größe", "*"])
def test_a_worker_does_not_get_the_token(protocol: ProtocolName, token: str) -> None:
    """Whatever else is like it; the rest of the message is the same."""
    make = Make("CartPole-v1", {"padding": "x" * 300, "signed": -0.0}, render_mode="rgb_array")
    asking = asked(protocol, msgspec.structs.replace(make, token=token))
    read = read_handshake(asking + b"rest")
    assert read is not None
    assert (read.token, read.size) == (token, len(asking))
    again = read_handshake(read.message)
    assert again is not None
    assert again.token in (None, "*" * len(token.encode()))
    codec, size = MessageCodec(protocol), len(read.message)
    located = locate(codec.framing, read.message, 0, size, MAX_MAKE)
    assert located is not None
    assert located[2] == size
    decoded: Any = codec.decode_request(read.message[slice(*located[:2])])
    assert msgspec.structs.replace(decoded, token=None) == make


def test_a_token_that_is_escaped_is_no_exception() -> None:
    """JSON has several ways to write it."""
    payload = b'{"op":"make","id":"CartPole-v1","token":"\\u0061lice.secret","kwargs":{"other":1}}'
    read = read_handshake(framed(ProtocolName.NETSTRING, payload))
    assert read is not None
    assert read.token == "alice.secret"
    assert b"secret" not in read.message
    assert b'"other":1' in read.message
