"""What the tests of messages have in common: the codecs, and payloads out of their frames."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gymtwist.protocol.all_messages import Request
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, Parts, ProtocolName, frame, locate
from gymtwist.protocol.messages import Error

NETSTRING = MessageCodec(ProtocolName.NETSTRING)
INT32 = MessageCodec(ProtocolName.INT32)
CODECS = [NETSTRING, INT32]
FRAMED = [ProtocolName.NETSTRING, ProtocolName.INT32]
EACH_FRAMED = pytest.mark.parametrize("protocol", FRAMED, ids=lambda each: each.value)
EACH_CODEC = pytest.mark.parametrize("codec", CODECS, ids=lambda each: each.framing.value)


def payload_of(parts: Parts) -> bytes:
    """Take the payload out of a frame."""
    data = b"".join(parts)
    framing = Framing.NETSTRING if data[:1].isdigit() else Framing.INT32
    found = locate(framing, data, 0, len(data), len(data))
    assert found is not None
    assert found[2] == len(data)
    return data[found[0] : found[1]]


def decoded(codec: MessageCodec, payload: bytes) -> Any:
    """Decode a payload as another decoder does; its JSON is strict."""
    if codec.framing is Framing.INT32:
        return msgspec.msgpack.decode(payload)
    return json.loads(payload, parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))


def asked(protocol: ProtocolName, request: Request) -> bytes:
    """Return a request in its frame."""
    return b"".join(MessageCodec(protocol).encode_request(request))


def framed(protocol: ProtocolName, payload: bytes) -> bytes:
    """Return a payload in its frame."""
    return b"".join(frame(Framing(protocol.value), payload))


def answered(protocol: ProtocolName, reply: bytes) -> Error:
    """Read an error out of its frame."""
    begin, stop, end = locate(Framing(protocol.value), reply, 0, len(reply), len(reply)) or (0, 0, 0)
    assert end == len(reply)
    error = MessageCodec(protocol).decode_reply(reply[begin:stop])
    assert isinstance(error, Error)
    return error
