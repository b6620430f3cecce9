"""The framed protocol over WebSocket, if the server supports it."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from gymtwist_conformance.reference_client import INT32, encode
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.reference_client.websocket_stream import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketLink,
    WebSocketStream,
    client_frame,
    upgrade_request,
)
from gymtwist_conformance.server_checks.subject import Probe, Subject, expect_same, play, reference


def _connect(subject: Subject) -> socket.socket:
    """Connect to the server; skip the check if it does not support WebSocket."""
    place, patience = subject.options.server, subject.options.patience
    with WebSocketStream(socket.create_connection(place, patience), upgrade=False, patience=patience) as stream:
        stream.send(upgrade_request())
        try:
            status = stream.read_head()[0]
        except (OSError, EOFError, ValueError, IndexError):
            status = 0
    if status != 101:
        pytest.skip("the server does not speak WebSocket at /ws")
    return socket.create_connection(place, patience)


def _kind(subject: Subject) -> int:
    return BINARY if subject.encoding == INT32 else TEXT


def _opened(subject: Subject) -> WebSocketStream:
    """Make an environment over WebSocket, and read the reply."""
    stream = subject.keep(WebSocketStream(_connect(subject), patience=subject.options.patience))
    stream.send_frame(_kind(subject), encode(subject.encoding, {"op": "make", **subject.fields()}))
    require(stream.read_frame().opcode == _kind(subject), "the reply to make is of the other kind")
    return stream


def _is_closed_with(subject: Subject, data: bytes, code: int, what: str) -> None:
    """Send bytes during a session that must close the connection with a code."""
    stream = _opened(subject)
    stream.send(data)
    frame = stream.read_frame()
    require(frame.opcode == CLOSE, f"{what} is answered with {frame!r:.200}; expected a close frame")
    require(frame.code == code, f"{what} closes the connection with {frame.code}; expected {code}")
    require(stream.read_to_end() == b"", f"something comes behind the close frame that follows {what}")


def test_session(subject: Subject) -> None:
    """A session over WebSocket is like any other: each message is one WebSocket message, in one frame."""
    actions, expected = reference(subject, 3)
    link: Any = WebSocketLink(_connect(subject), subject.encoding)
    probe = subject.keep(Probe(link, subject.encoding, patience=subject.options.patience))
    fields = subject.fields()
    probe.make(fields.pop("id"), **fields)
    expect_same(play(probe, actions), expected, "a session by WebSocket")


def test_fragments_and_pings(subject: Subject) -> None:
    """Messages may come in fragments, and pings between them are answered."""
    stream, kind = _opened(subject), _kind(subject)
    payload = encode(subject.encoding, {"op": "sample"})
    stream.send_frame(kind, payload[:3], final=False)
    stream.send_frame(PING, b"hello")
    require(stream.read_frame() == Frame(PONG, b"hello"), "a ping within a message is not answered by a pong")
    stream.send_frame(PONG)
    stream.send_frame(CONTINUATION, payload[3:])
    require(stream.read_frame().opcode == kind, "a message in fragments is not answered")


def test_close_code(subject: Subject) -> None:
    """A close frame is answered with the same code, and the connection ends."""
    _is_closed_with(subject, client_frame(CLOSE, struct.pack(">H", 4321)), 4321, "a close frame with 4321")


def test_unmasked_frame(subject: Subject) -> None:
    """Frames without a mask close the connection with 1002."""
    _is_closed_with(subject, client_frame(_kind(subject), b"{}", mask=b""), 1002, "a frame without a mask")


def test_other_kind(subject: Subject) -> None:
    """A message of the other kind closes the connection with 1003."""
    other = TEXT if _kind(subject) == BINARY else BINARY
    _is_closed_with(subject, client_frame(other, b"{}"), 1003, "a message of the other kind")


def test_invalid_text(subject: Subject) -> None:
    """Text that is not UTF-8 closes the connection with 1007."""
    if _kind(subject) == BINARY:
        pytest.skip("a binary message has no text")
    _is_closed_with(subject, client_frame(TEXT, b'{"op":"\xed\xa0\x80"}'), 1007, "text that is not UTF-8")


def test_message_over_limit(subject: Subject) -> None:
    """A message over the limit closes the connection with 1009 as soon as its length is known."""
    head = bytes([0x80 | _kind(subject), 0xFF]) + struct.pack(">Q", 1 << 40) + bytes(4)
    _is_closed_with(subject, head, 1009, "a length of a terabyte")


def test_page_of_another_site(subject: Subject) -> None:
    """A page of another site cannot open a WebSocket."""
    with WebSocketStream(_connect(subject), upgrade=False, patience=subject.options.patience) as stream:
        stream.send(upgrade_request(Origin="https://another-site.example"))
        require(stream.read_head()[0] >= 400, "the page of another site gets a WebSocket")
