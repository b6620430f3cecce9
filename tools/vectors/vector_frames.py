"""Frames, whole and broken, the first bytes of connections, and requests that are refused."""

from __future__ import annotations

import msgspec

from gymtwist.protocol.framing import MAX_FRAME
from gymtwist.protocol.handshake import MAX_MAKE

from .notation import Entry
from .requests import INT32, NETSTRING, framed

#: Received bytes, the payloads that are in them, and how many bytes at the end are not a complete frame yet.
WHOLE: list[tuple[str, str, bytes, list[bytes], int]] = [
    ("nothing", NETSTRING, b"", [], 0),
    ("one frame", NETSTRING, b"5:hello,", [b"hello"], 0),
    ("an empty payload", NETSTRING, b"0:,", [b""], 0),
    ("two frames", NETSTRING, b"1:a,2:bc,", [b"a", b"bc"], 0),
    ("a length of two digits", NETSTRING, b"10:0123456789,", [b"0123456789"], 0),
    ("punctuation in the payload", NETSTRING, b"4:1:a,,", [b"1:a,"], 0),
    ("bytes are counted, not characters", NETSTRING, b"2:\xc3\xa9,", [b"\xc3\xa9"], 0),
    ("a length without its end", NETSTRING, b"1", [], 1),
    ("a length of nine digits without its end", NETSTRING, b"123456789", [], 9),
    ("a length alone", NETSTRING, b"5:", [], 2),
    ("a payload without its end", NETSTRING, b"1:a,5:hell", [b"a"], 6),
    ("a payload without its comma", NETSTRING, b"5:hello", [], 7),
    ("the longest payload announced", NETSTRING, b"%d:" % MAX_FRAME, [], 9),
    ("nothing", INT32, b"", [], 0),
    ("one frame", INT32, b"\0\0\0\5hello", [b"hello"], 0),
    ("two frames", INT32, b"\0\0\0\1a\0\0\0\2bc", [b"a", b"bc"], 0),
    ("a length of two bytes", INT32, b"\0\0\1\0" + b"x" * 256, [b"x" * 256], 0),
    ("half a length", INT32, b"\0\0", [], 2),
    ("a length alone", INT32, b"\0\0\0\5", [], 4),
    ("a payload without its end", INT32, b"\0\0\0\1a\0\0\0\5hell", [b"a"], 8),
    ("the longest payload announced", INT32, MAX_FRAME.to_bytes(4, "big"), [], 4),
]
#: Likewise, with ends of lines between netstrings, which a server passes over.
LINES: list[tuple[str, str, bytes, list[bytes], int]] = [
    ("a line between two frames", NETSTRING, b"1:a,\n2:bc,", [b"a", b"bc"], 0),
    ("lines before, between and behind frames", NETSTRING, b"\n1:a,\r\n\r\n2:bc,\r\n", [b"a", b"bc"], 0),
    ("lines alone", NETSTRING, b"\r\n\n", [], 0),
    ("a line and half a frame", NETSTRING, b"1:a,\n5:hell", [b"a"], 6),
    ("an end of a line as the payload", NETSTRING, b"1:\n,\n", [b"\n"], 0),
]
#: Bytes that are not a frame, and the code of the error; a first frame has a lower limit.
BROKEN: list[tuple[str, str, bytes, str]] = [
    ("a leading zero", NETSTRING, b"05:hello,", "protocol-error"),
    ("another end", NETSTRING, b"5:hello;", "protocol-error"),
    ("a length that is too short", NETSTRING, b"4:hello,", "protocol-error"),
    ("no length", NETSTRING, b":hello,", "protocol-error"),
    ("a sign", NETSTRING, b"+5:hello,", "protocol-error"),
    ("a space", NETSTRING, b"5 :hello,", "protocol-error"),
    ("a space before a frame", NETSTRING, b" 5:hello,", "protocol-error"),
    ("a line within a length", NETSTRING, b"5\n:hello,", "protocol-error"),
    ("a line before a comma", NETSTRING, b"5:hello\n,", "protocol-error"),
    ("a length of ten digits", NETSTRING, b"1234567890", "limit-exceeded"),
    ("a length of nine digits over the limit", NETSTRING, b"999999999:", "limit-exceeded"),
    ("one byte over the limit", NETSTRING, b"%d:" % (MAX_FRAME + 1), "limit-exceeded"),
    ("an empty payload", INT32, b"\0\0\0\0", "protocol-error"),
    ("one byte over the limit", INT32, (MAX_FRAME + 1).to_bytes(4, "big"), "limit-exceeded"),
    ("the longest length", INT32, b"\xff\xff\xff\xff", "limit-exceeded"),
]
#: The first bytes of a connection, and the protocol they open; None while that is open.
OPENINGS: list[tuple[str, bytes, str | None]] = [
    ("nothing", b"", None),
    ("a digit", b"3", NETSTRING),
    ("a zero", b"0", NETSTRING),
    ("a netstring", b'32:{"op":"make"', NETSTRING),
    ("a zero byte", b"\0", None),
    ("two zero bytes", b"\0\0", None),
    ("three zero bytes", b"\0\0\0", None),
    ("four zero bytes", b"\0\0\0\0", None),
    ("five zero bytes: a classic opening without an environment", b"\0\0\0\0\0", "classic"),
    ("a zero byte and another", b"\0\x0b", "classic"),
    ("a classic opening", b"\0\x0b\0\0\0CartPole-v1", "classic"),
    ("a classic opening of the longest id", b"\0\xff\0\0\0", "classic"),
    ("a frame of at most 255 bytes", b"\0\0\0\x1c", INT32),
    ("a frame of 256 bytes", b"\0\0\1\0", INT32),
    ("a frame of 256 bytes or more, told by three bytes", b"\0\0\1", INT32),
    ("the longest first frame", b"\0\0" + MAX_MAKE.to_bytes(2, "big"), INT32),
    ("a frame of more than 65,535 bytes is taken for a classic opening", b"\0\1\0\0", "classic"),
]
#: The first bytes of a connection that open no protocol, or not as they should, and the code of the error. Where it is
#: one of the request, the stream is in step.
NO_OPENINGS: list[tuple[str, str | None, bytes, str]] = [
    ("small letters", None, b"get / HTTP/1.1\r\n\r\n", "bad-opening"),
    ("JSON without a frame", None, b'{"op":"make"}', "bad-opening"),
    ("a line", None, b"\n", "bad-opening"),
    ("four zero bytes and another", None, b"\0\0\0\0\1", "bad-opening"),
    ("no make", NETSTRING, b'14:{"op":"reset"},', "no-environment"),
    ("a make without id", NETSTRING, b'13:{"op":"make"},', "invalid-field"),
    ("one byte over the limit", NETSTRING, b"%d:" % (MAX_MAKE + 1), "limit-exceeded"),
    ("a length of ten digits", NETSTRING, b"1234567890", "limit-exceeded"),
    ("a leading zero", NETSTRING, b"01", "protocol-error"),
    ("no JSON", NETSTRING, b"3:abc,", "malformed-message"),
    ("an empty payload", NETSTRING, b"0:,", "malformed-message"),
    ("one byte over the limit", INT32, b"\0\0" + (MAX_MAKE + 1).to_bytes(2, "big"), "limit-exceeded"),
    ("no make", INT32, b"\0\0\0\x0a" + msgspec.msgpack.encode({"op": "reset"}), "no-environment"),
    ("a make without id", INT32, b"\0\0\0\x09" + msgspec.msgpack.encode({"op": "make"}), "invalid-field"),
    ("no MessagePack", INT32, b"\0\0\0\1\xc1", "malformed-message"),
]
#: Codes behind which the connection cannot go on.
_PROTOCOLS_OWN = ("bad-opening", "protocol-error", "limit-exceeded")


def _deep(name: str, levels: int) -> bytes:
    return b'{"op":"%s","options":{"x":%s%s}}' % (name.encode(), b"[" * levels, b"]" * levels)


def _both(name: str, message: dict[str, object], code: str) -> list[tuple[str, str, bytes, str]]:
    return [
        (name, NETSTRING, msgspec.json.encode(message), code),
        (name, INT32, msgspec.msgpack.encode(message), code),
    ]


#: Payloads that are refused whatever the environment is, and the code of the error.
REFUSED: list[tuple[str, str, bytes, str]] = [
    *_both("an unknown operation", {"op": "jump"}, "unknown-operation"),
    *_both("no operation", {"action": 1}, "invalid-field"),
    *_both("an operation that is not a string", {"op": 1}, "invalid-field"),
    *_both("an operation in a list", {"op": ["reset"]}, "invalid-field"),
    *_both("null for a field that is needed", {"op": "make", "id": None}, "invalid-field"),
    *_both("a missing field", {"op": "step"}, "invalid-field"),
    *_both("a make without id", {"op": "make"}, "invalid-field"),
    *_both("an empty id", {"op": "make", "id": ""}, "invalid-field"),
    *_both("an id that is too long", {"op": "make", "id": "x" * 256}, "invalid-field"),
    *_both("kwargs that are a list of one", {"op": "make", "id": "x", "kwargs": [1]}, "invalid-field"),
    *_both("a render_mode that is too long", {"op": "make", "id": "x", "render_mode": "x" * 65}, "invalid-field"),
    *_both("no environments", {"op": "make", "id": "x", "num_envs": 0}, "invalid-field"),
    *_both("too many environments", {"op": "make", "id": "x", "num_envs": 10_001}, "invalid-field"),
    *_both("an unknown vectorization_mode", {"op": "make", "id": "x", "vectorization_mode": "x"}, "invalid-field"),
    *_both("an unknown autoreset_mode", {"op": "make", "id": "x", "autoreset_mode": "NextStep"}, "invalid-field"),
    *_both("a max_episode_steps below -1", {"op": "make", "id": "x", "max_episode_steps": -2}, "invalid-field"),
    *_both("an unknown info", {"op": "make", "id": "x", "info": "some"}, "invalid-field"),
    *_both("unknown values", {"op": "make", "id": "x", "values": "binary"}, "invalid-field"),
    *_both("a token that is too long", {"op": "make", "id": "x", "token": "x" * 1025}, "invalid-field"),
    *_both(
        "a wrapper that is a string", {"op": "make", "id": "x", "wrappers": ["FlattenObservation"]}, "invalid-field"
    ),
    *_both("a wrapper without a name", {"op": "make", "id": "x", "wrappers": [{"kwargs": {}}]}, "invalid-field"),
    *_both(
        "a wrapper with another field",
        {"op": "make", "id": "x", "wrappers": [{"name": "FlattenObservation", "args": []}]},
        "invalid-field",
    ),
    *_both(
        "too many wrappers",
        {"op": "make", "id": "x", "wrappers": [{"name": "FlattenObservation"}] * 17},
        "invalid-field",
    ),
    *_both(
        "a vector wrapper with another field",
        {"op": "make", "id": "x", "num_envs": 1, "vector_wrappers": [{"name": "ClipReward", "args": []}]},
        "invalid-field",
    ),
    *_both(
        "too many vector wrappers",
        {"op": "make", "id": "x", "num_envs": 1, "vector_wrappers": [{"name": "ClipReward"}] * 17},
        "invalid-field",
    ),
    *_both("record without a dataset", {"op": "make", "id": "x", "record": {"infos": True}}, "invalid-field"),
    *_both(
        "record with another field",
        {"op": "make", "id": "x", "record": {"dataset": "x-v0", "format": "arrow"}},
        "invalid-field",
    ),
    *_both("each with another field", {"op": "make", "id": "x", "num_envs": 1, "each": [{"seed": 1}]}, "invalid-field"),
    *_both(
        "each with a seed that is negative",
        {"op": "make", "id": "x", "num_envs": 1, "each": [{"seeds": [-1]}]},
        "invalid-field",
    ),
    *_both("an unknown on_failure", {"op": "make", "id": "x", "num_envs": 1, "on_failure": "stop"}, "invalid-field"),
    *_both("version 0", {"op": "make", "id": "x", "version": 0}, "invalid-field"),
    *_both("a negative seed", {"op": "reset", "seed": -1}, "invalid-field"),
    *_both("a seed that is a float", {"op": "reset", "seed": 1.5}, "invalid-field"),
    *_both("a seed that is a float beyond 2^53", {"op": "reset", "seed": 9_007_199_254_740_994.0}, "invalid-field"),
    *_both("a seed that is a string", {"op": "reset", "seed": "1"}, "invalid-field"),
    *_both("a seed that is a boolean", {"op": "reset", "seed": True}, "invalid-field"),
    *_both("a negative seed among others", {"op": "reset", "seed": [1, -1]}, "invalid-field"),
    *_both("options that are a list of one", {"op": "reset", "options": [1]}, "invalid-field"),
    *_both("options that are a number", {"op": "reset", "options": 1}, "invalid-field"),
    *_both("a mask of an object without the first index", {"op": "reset", "mask": {"1": True}}, "invalid-field"),
    *_both("a mask with a 2", {"op": "reset", "mask": [1, 2]}, "invalid-field"),
    *_both("step_many without actions", {"op": "step_many"}, "invalid-field"),
    *_both("step_many without a count", {"op": "step_many", "action": "x"}, "invalid-field"),
    *_both("step_many with both", {"op": "step_many", "action": "x", "actions": ["x"], "count": 1}, "invalid-field"),
    *_both("step_many of no actions", {"op": "step_many", "actions": []}, "invalid-field"),
    *_both("step_many of no actions, as an object", {"op": "step_many", "actions": {}}, "invalid-field"),
    *_both("step_many of no steps", {"op": "step_many", "action": "x", "count": 0}, "invalid-field"),
    *_both("step_many of too many steps", {"op": "step_many", "action": "x", "count": 10_001}, "invalid-field"),
    *_both("unknown observations", {"op": "step_many", "actions": ["x"], "observations": "first"}, "invalid-field"),
    *_both("step_ready of a negative index", {"op": "step_ready", "env_ids": [-1], "actions": ["x"]}, "invalid-field"),
    *_both("step_ready of less than none", {"op": "step_ready", "min_ready": -1}, "invalid-field"),
    *_both("a sample's seed that is negative", {"op": "sample", "seed": -1}, "invalid-field"),
    *_both("share with a request_room alone", {"op": "share", "request_room": 4096}, "invalid-field"),
    *_both("share with a reply_room alone", {"op": "share", "reply_room": 4096}, "invalid-field"),
    *_both("a room that is too small", {"op": "share", "request_room": 4095, "reply_room": 4096}, "invalid-field"),
    *_both(
        "a room that is too large", {"op": "share", "request_room": 4096, "reply_room": 134_217_729}, "invalid-field"
    ),
    ("an empty message", NETSTRING, b"", "malformed-message"),
    ("no JSON", NETSTRING, b"op=reset", "malformed-message"),
    ("JSON that breaks off", NETSTRING, b'{"op":"reset"', "malformed-message"),
    ("something behind the message", NETSTRING, b'{"op":"reset"}{}', "malformed-message"),
    ("NaN, which is not JSON", NETSTRING, b'{"op":"step","action":NaN}', "malformed-message"),
    ("Infinity, which is not JSON", NETSTRING, b'{"op":"reset","options":{"x":-Infinity}}', "malformed-message"),
    ("Inf, which is not JSON", NETSTRING, b'{"op":"reset","options":{"x":Inf}}', "malformed-message"),
    ("a comma too many", NETSTRING, b'{"op":"reset",}', "malformed-message"),
    ("text that is not UTF-8", NETSTRING, b'{"op":"step","action":"\xff"}', "malformed-message"),
    ("a list", NETSTRING, b'["reset"]', "malformed-message"),
    ("options nested too deep", NETSTRING, _deep("reset", 64), "malformed-message"),
    ("MessagePack that breaks off", INT32, bytes.fromhex("82a26f70a57265736574"), "malformed-message"),
    ("something behind the message", INT32, bytes.fromhex("81a26f70a57265736574c0"), "malformed-message"),
    ("a byte that MessagePack does not have", INT32, bytes.fromhex("c1"), "malformed-message"),
    ("a key that is not a string", INT32, bytes.fromhex("8201a57265736574a26f70c0"), "malformed-message"),
    ("a list", INT32, bytes.fromhex("91a57265736574"), "malformed-message"),
    ("an extension", INT32, bytes.fromhex("82a26f70a473746570a6616374696f6ed40100"), "malformed-message"),
    (
        *("an ArrayBuffer as an extension", INT32),
        *(bytes.fromhex("82a26f70a473746570a6616374696f6ed61200000000"), "malformed-message"),
    ),
    (
        *("undefined in options", INT32),
        *(bytes.fromhex("82a26f70a57265736574a76f7074696f6e7381a178d40000"), "malformed-message"),
    ),
    (
        *("a timestamp in kwargs", INT32),
        *(bytes.fromhex("83a26f70a46d616b65a26964a178a66b776172677381a178d6ff00000000"), "malformed-message"),
    ),
    (
        *("a timestamp", INT32),
        *(bytes.fromhex("82a26f70a57265736574a76f7074696f6e7381a178d6ff00000000"), "malformed-message"),
    ),
]


def _fault(code: str) -> str:
    return "protocol" if code in _PROTOCOLS_OWN else "request"


def _received(vectors: list[tuple[str, str, bytes, list[bytes], int]]) -> list[Entry]:
    return [
        {"name": name, "framing": kind, "bytes": data.hex(), "payloads": [each.hex() for each in found], "left": left}
        for name, kind, data, found, left in vectors
    ]


def framing() -> Entry:
    """Make the file of frames."""
    broken = [
        {"name": name, "framing": kind, "bytes": data.hex(), "code": code, "fault": _fault(code)}
        for name, kind, data, code in BROKEN
    ]
    return {"whole": _received(WHOLE), "lines": _received(LINES), "broken": broken}


def handshake() -> Entry:
    """Make the file of first bytes."""
    told = [{"name": name, "bytes": data.hex(), "protocol": protocol} for name, data, protocol in OPENINGS]
    refused = [
        {"name": name, "framing": kind, "bytes": data.hex(), "code": code, "fault": _fault(code)}
        for name, kind, data, code in NO_OPENINGS
    ]
    return {"told": told, "refused": refused}


def refused() -> Entry:
    """Make the file of requests that are refused."""
    entries = [
        {"name": name, "framing": kind, "bytes": framed(kind, payload), "code": code, "fault": _fault(code)}
        for name, kind, payload, code in REFUSED
        if payload or kind == NETSTRING
    ]
    return {"refused": entries}
