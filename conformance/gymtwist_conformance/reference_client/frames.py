"""Frames of the two framings, and the messages inside them: netstrings of JSON, and MessagePack after an int32."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec

from gymtwist_conformance.reference_client.byte_stream import Violation, strict_json

NETSTRING, INT32 = "netstring", "int32"
ENCODINGS = (NETSTRING, INT32)
#: The longest payload that is read, in bytes.
MAX_PAYLOAD = 256 * 1024 * 1024
_MAX_DIGITS = 9
_INT32_HEADER = struct.Struct(">I")


def frame(encoding: str, payload: bytes) -> bytes:
    """Put a payload into a frame."""
    if encoding == NETSTRING:
        return b"%d:%b," % (len(payload), payload)
    return _INT32_HEADER.pack(len(payload)) + payload


def encode(encoding: str, content: Any) -> bytes:
    """Encode a payload: JSON or MessagePack."""
    return json.dumps(content).encode() if encoding == NETSTRING else msgspec.msgpack.encode(content)


def message(encoding: str, op: str, **fields: Any) -> bytes:
    """Encode a message with any fields as a frame."""
    return frame(encoding, encode(encoding, {"op": op, **fields}))


def decode(encoding: str, payload: bytes) -> dict[str, Any]:
    """Decode a payload, which must be one message.

    Raises:
        Violation: It is not.
    """
    content: Any
    if encoding == NETSTRING:
        try:
            content = strict_json(payload.decode())
        except UnicodeDecodeError as error:
            raise Violation(f"malformed JSON: not UTF-8: {error}") from None
    else:
        try:
            content = msgspec.msgpack.decode(payload, ext_hook=_refuse_extension)
        except (ValueError, RecursionError) as error:
            raise Violation(f"malformed MessagePack: {error}: {payload[:80]!r}") from None
    if not isinstance(content, dict) or not isinstance(content.get("op"), str):
        raise Violation(f"not a message: {content!r:.200}; expected an object with a string `op`")
    if not all(isinstance(key, str) for key in content):
        raise Violation(f"a message with keys that are not strings: {list(content)!r:.200}")
    return content


def _refuse_extension(code: int, data: memoryview) -> Any:
    raise ValueError(f"extension type {code}; the protocol has none")


def find_payload(encoding: str, data: bytes | bytearray, limit: int = MAX_PAYLOAD) -> tuple[int, int, int] | None:
    """Find the frame at the front of received bytes.

    Args:
        encoding: The framing.
        data: The bytes received so far.
        limit: The longest payload that is accepted, in bytes.

    Returns:
        The offsets of the payload's begin and end and of the frame's end; None while the frame is incomplete.

    Raises:
        Violation: The bytes are not a frame, or announce more than the limit.
    """
    if encoding == INT32:
        if len(data) < 4:
            return None
        (length,) = _INT32_HEADER.unpack_from(data)
        start, trailer = 4, 0
    else:
        colon = data.find(b":", 0, _MAX_DIGITS + 1)
        digits = bytes(data[: colon if colon >= 0 else _MAX_DIGITS + 1])
        if digits and not digits.isdigit():
            raise Violation(f"not a netstring: {bytes(data[:20])!r}")
        if digits[:1] == b"0" and len(digits) > 1:
            raise Violation(f"the length of a netstring has leading zeros: {digits!r}")
        if colon < 0:
            if len(digits) > _MAX_DIGITS:
                raise Violation(f"the length of a netstring has more than {_MAX_DIGITS} digits: {digits!r}")
            return None
        if not digits:
            raise Violation("a netstring without a length")
        length, start, trailer = int(digits), colon + 1, 1
    if length > limit:
        raise Violation(f"a frame of {length} bytes; expected {limit} at most; it begins with {bytes(data[:80])!r}")
    end = start + length
    if len(data) < end + trailer:
        return None
    if trailer and data[end : end + 1] != b",":
        raise Violation(f"a netstring ends with {bytes(data[end : end + 1])!r}; expected a comma")
    return start, end, end + trailer
