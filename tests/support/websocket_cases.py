"""What a peer of WebSocket must refuse or accept: the cases of the Autobahn test suite, written anew."""

from __future__ import annotations

import struct

from gymtwist_conformance.reference_client.websocket_stream import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from gymtwist_conformance.reference_client.websocket_stream import client_frame as frame

#: UTF-8 that is none: cut, overlong, surrogates, beyond Unicode, and bytes that never occur.
INVALID_TEXT = [
    b"\x80",
    b"\xbf",
    b"\xc3",
    b"\xe2\x82",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xc1\xbf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
]
#: Text of every length of a character, with the borders of each, and characters that are not assigned.
VALID_TEXT = [
    "κόσμε",
    "\x00\x7f",
    "\u0080\u07ff",
    "\u0800\uffff\ufffd\ufeff",
    "\U00010000\U0010ffff",
    "\ufffe\U0002fffe",
]
#: Codes that a close frame may not have, and some that it may.
INVALID_CODES = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
VALID_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]


def text(data: bytes) -> bytes:
    """Write JSON with a string of these bytes."""
    return b'{"op": "' + data + b'"}'


def _in_fragments(data: bytes) -> bytes:
    return frame(TEXT, data[:9], final=False) + frame(CONTINUATION, data[9:])


def _length(second: int, packed: bytes) -> bytes:
    return bytes([0x80 | TEXT, 0x80 | second]) + packed + bytes(4)


#: What must be refused in a session of text messages: its name, the bytes, and the code of the close frame.
REFUSED: list[tuple[str, bytes, int]] = [
    *(
        (f"reserved bits {bits} of opcode {opcode}", frame(opcode, b"", reserved=bits), 1002)
        for bits in range(1, 8)
        for opcode in (TEXT, CONTINUATION, CLOSE, PING)
    ),
    *((f"reserved opcode {opcode}", frame(opcode, b"x"), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *((f"opcode {opcode} without a mask", frame(opcode, b"{}", mask=b""), 1002) for opcode in (TEXT, PING, CLOSE)),
    *((f"a fragment of opcode {opcode}", frame(opcode, b"", final=False), 1002) for opcode in (PING, PONG, CLOSE)),
    *((f"opcode {opcode} with 126 bytes", frame(opcode, bytes(126)), 1002) for opcode in (PING, PONG, CLOSE)),
    ("the end of no message", frame(CONTINUATION, b"{}"), 1002),
    ("the middle of no message", frame(CONTINUATION, b"{}", final=False), 1002),
    ("the end of a message that has ended", frame(TEXT, b"{", final=False) + 2 * frame(CONTINUATION, b"}"), 1002),
    ("a message within a message", frame(TEXT, b"{", final=False) + frame(TEXT, b"{}"), 1002),
    ("a fragment within a message", 2 * frame(TEXT, b"{", final=False), 1002),
    ("a binary message in a session of text", frame(BINARY, b"\x80"), 1003),
    ("fragments of a binary message", frame(BINARY, b"\x80", final=False), 1003),
    *((f"text {data!r}", frame(TEXT, text(data)), 1007) for data in INVALID_TEXT),
    *((f"text {data!r} in fragments", _in_fragments(text(data)), 1007) for data in INVALID_TEXT),
    ("a close frame of one byte", frame(CLOSE, b"\x03"), 1002),
    *((f"the code {code}", frame(CLOSE, struct.pack(">H", code)), 1002) for code in INVALID_CODES),
    *((f"the reason {data!r}", frame(CLOSE, b"\x03\xe8" + data), 1007) for data in INVALID_TEXT),
    ("a length of 16 bits for 125 bytes", _length(126, struct.pack(">H", 125)), 1002),
    ("a length of 64 bits for 65,535 bytes", _length(127, struct.pack(">Q", 65535)), 1002),
    ("more than 16 MiB, announced", _length(127, struct.pack(">Q", 2**24 + 1)), 1009),
    ("a length with the highest bit", _length(127, b"\xff" * 8), 1009),
    (
        "fragments of more than 16 MiB, announced",
        frame(TEXT, b"{", final=False) + b"\x00\xff" + struct.pack(">Q", 2**24) + bytes(4),
        1009,
    ),
]
