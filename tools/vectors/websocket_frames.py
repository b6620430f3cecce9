"""Frames of WebSocket: whole messages, what comes between, and what closes the connection."""

from __future__ import annotations

import base64
import struct

from gymtwist.protocol import websocket
from gymtwist.protocol.framing import MAX_FRAME
from gymtwist.protocol.websocket import Opcode, masked_frame

from .notation import Entry

_MASK = bytes.fromhex("37fa213d")
_KEY = base64.b64encode(bytes(range(16))).decode()


def _part(opcode: Opcode, payload: bytes, *, final: bool) -> bytes:
    whole = bytearray(masked_frame(opcode, payload, _MASK))
    if not final:
        whole[0] &= 0x7F
    return bytes(whole)


def _whole(opcode: Opcode, payload: bytes) -> bytes:
    return masked_frame(opcode, payload, _MASK)


_TEXT, _BINARY, _MORE = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
#: Bytes of a client, the messages in them, and what is answered to control frames.
MESSAGES: list[tuple[str, str, bytes, list[bytes], bytes]] = [
    ("a text message", "text", _whole(_TEXT, b'{"op":"reset"}'), [b'{"op":"reset"}'], b""),
    ("a binary message", "binary", _whole(_BINARY, b"\x81\xa2op\xa5reset"), [b"\x81\xa2op\xa5reset"], b""),
    ("an empty message", "text", _whole(_TEXT, b""), [b""], b""),
    ("a mask of zeros", "text", masked_frame(_TEXT, b"{}", bytes(4)), [b"{}"], b""),
    ("125 bytes", "binary", _whole(_BINARY, bytes(125)), [bytes(125)], b""),
    ("126 bytes", "binary", _whole(_BINARY, bytes(126)), [bytes(126)], b""),
    ("two messages", "text", 2 * _whole(_TEXT, b"{}"), [b"{}", b"{}"], b""),
    (
        *("three fragments, one of them empty", "text"),
        _part(_TEXT, b"{", final=False) + _part(_MORE, b"", final=False) + _part(_MORE, b"}", final=True),
        *([b"{}"], b""),
    ),
    (
        *("a fragment that ends within a character", "text"),
        _part(_TEXT, b'"\xc3', final=False) + _part(_MORE, b'\xa9"', final=True),
        *([b'"\xc3\xa9"'], b""),
    ),
    (
        *("a ping between fragments", "text"),
        _part(_TEXT, b"{", final=False) + _whole(Opcode.PING, b"?") + _part(_MORE, b"}", final=True),
        *([b"{}"], b"\x8a\x01?"),
    ),
    ("a pong that nobody asked for", "text", _whole(Opcode.PONG, b"!") + _whole(_TEXT, b"{}"), [b"{}"], b""),
    ("half a frame", "text", _whole(_TEXT, b"{}")[:7], [], b""),
]
#: Bytes of a client of text messages, and the code with which the server closes the connection.
CLOSING: list[tuple[str, bytes, int | None]] = [
    ("a close frame", _whole(Opcode.CLOSE, struct.pack(">H", 1000)), 1000),
    ("a close frame with a reason", _whole(Opcode.CLOSE, struct.pack(">H", 1001) + b"bye"), 1001),
    ("a close frame without a code", _whole(Opcode.CLOSE, b""), None),
    ("a close frame with half a code", _whole(Opcode.CLOSE, b"\x03"), 1002),
    ("a code that no frame may have", _whole(Opcode.CLOSE, struct.pack(">H", 1005)), 1002),
    ("a reason that is not UTF-8", _whole(Opcode.CLOSE, b"\x03\xe8\xff"), 1007),
    ("no mask", b"\x81\x02{}", 1002),
    ("a reserved bit", b"\xc1" + _whole(_TEXT, b"{}")[1:], 1002),
    ("a reserved opcode", b"\x83" + _whole(_TEXT, b"{}")[1:], 1002),
    ("a ping in fragments", _part(Opcode.PING, b"", final=False), 1002),
    ("a ping of 126 bytes", _whole(Opcode.PING, bytes(126)), 1002),
    ("the end of no message", _part(_MORE, b"{}", final=True), 1002),
    ("a message within another", _part(_TEXT, b"{", final=False) + _whole(_TEXT, b"{}"), 1002),
    ("a length that is longer than it needs to be", b"\x81\xfe\x00\x02" + _MASK + b"xx", 1002),
    ("a binary message", _whole(_BINARY, b"\x80"), 1003),
    ("text that is not UTF-8", _whole(_TEXT, b'"\xed\xa0\x80"'), 1007),
    ("one byte over the limit", b"\x81\xff" + struct.pack(">Q", MAX_FRAME + 1), 1009),
    ("the longest length", b"\x81\xff" + b"\xff" * 8, 1009),
]


def websocket_file() -> Entry:
    """Make the file of WebSocket."""
    messages = [
        {
            **{"name": name, "kind": kind, "bytes": data.hex()},
            **{"messages": [each.hex() for each in found], "answer": answer.hex()},
        }
        for name, kind, data, found, answer in MESSAGES
    ]
    closing = [{"name": name, "bytes": data.hex(), "code": code} for name, data, code in CLOSING]
    return {"keys": [{"name": "a key", "key": _KEY, "accept": websocket.accept_key(_KEY)}]} | {
        "messages": messages,
        "closing": closing,
    }
