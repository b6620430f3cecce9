"""WebSocket without I/O: whole, byte by byte, in fragments, over the limits, and broken in every way."""

from __future__ import annotations

import base64
import os
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    HandshakeError,
    LimitExceeded,
    MalformedMessage,
    ServerFull,
    ServerStopping,
)
from gymtwist.protocol import websocket
from gymtwist.protocol.http_head import Head
from gymtwist.protocol.websocket import CloseCode, Opcode, WebSocketError, WebSocketReader, close_code
from gymtwist_conformance.reference_client.websocket_stream import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    client_frame,
)
from tests.support.websocket_cases import INVALID_CODES, REFUSED, VALID_CODES, VALID_TEXT, text


class Reader(WebSocketReader):
    """A reader that notes the control frames, and all messages that come."""

    def __init__(self, opcode: Opcode | None = Opcode.TEXT, **options: object) -> None:
        """Have read nothing."""
        self.controls: list[tuple[Opcode, bytes]] = []
        super().__init__(lambda *each: self.controls.append(each), opcode=opcode, **options)  # type: ignore[arg-type]
        self.messages: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Receive bytes; return all messages so far."""
        self.add(data)
        while (message := self.next_frame()) is not None:
            self.messages.append(bytes(message))
        return self.messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 2047, 2048, 2049, 65535, 65536, 100_001])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_messages_of_every_length_are_read(size: int, opcode: int) -> None:
    """The length is in one of three forms, and the mask is taken off in one of two ways."""
    payload = b"x" * size if opcode == TEXT else os.urandom(size)
    assert Reader(None).feed(2 * client_frame(opcode, payload)) == [payload, payload]


def test_messages_may_arrive_byte_by_byte() -> None:
    """With pings between their fragments."""
    data = client_frame(TEXT, b"one") + client_frame(TEXT, b"t", final=False) + client_frame(PING, b"hello")
    data += client_frame(CONTINUATION, b"w", final=False) + client_frame(PONG) + client_frame(CONTINUATION, b"o")
    reader = Reader()
    for byte in data + client_frame(TEXT, b"3" * 300):
        reader.feed(bytes([byte]))
    assert reader.messages == [b"one", b"two", b"3" * 300]
    assert reader.controls == [(PING, b"hello"), (PONG, b"")]


@pytest.mark.parametrize("valid", VALID_TEXT)
def test_text_may_be_cut_anywhere(valid: str) -> None:
    """A fragment may end within a character."""
    data = text(valid.encode())
    for place in range(len(data) + 1):
        frames = client_frame(TEXT, data[:place], final=False) + client_frame(CONTINUATION, data[place:])
        assert Reader().feed(frames) == [data]


@pytest.mark.parametrize(("data", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_breaks_the_rules_is_refused(data: bytes, code: int) -> None:
    """With the code that RFC 6455 has for it; however the bytes come."""
    with pytest.raises(WebSocketError) as refusal:
        Reader().feed(data)
    assert refusal.value.close_code == code
    reader = Reader()
    with pytest.raises(WebSocketError) as refusal:
        for byte in data:
            reader.feed(bytes([byte]))
    assert refusal.value.close_code == code


@pytest.mark.parametrize("code", VALID_CODES)
def test_the_code_of_a_close_frame_is_read(code: int) -> None:
    """With its reason; and nothing that comes behind it."""
    reader = Reader()
    data = client_frame(CLOSE, struct.pack(">H", code) + "über".encode())
    assert reader.feed(data + client_frame(TEXT, b"more") + client_frame(PING)) == []
    assert reader.closed == (code, "über")
    assert reader.controls == []


def test_a_close_frame_need_not_have_a_code() -> None:
    """The answer has none either."""
    reader = Reader()
    reader.feed(client_frame(CLOSE))
    assert reader.closed is not None
    assert websocket.close_frame(*reader.closed) == b"\x88\x00"


def test_a_long_reason_is_cut_at_a_character() -> None:
    """A control frame has 125 bytes at most."""
    frame = websocket.close_frame(1002, "ü" * 100)
    assert len(frame) <= 2 + 125
    assert frame[4:].decode() == "ü" * 61


def test_a_message_over_the_limit_takes_no_memory() -> None:
    """It is refused as soon as its length is known; in fragments before the one that is too much."""
    reader = Reader(Opcode.BINARY, limit=1000)
    reader.feed(client_frame(BINARY, bytes(600), final=False))
    tracemalloc.start()
    with pytest.raises(WebSocketError, match="1001 bytes or more; at most 1000"):
        reader.feed(client_frame(CONTINUATION, bytes(401))[:8])
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert Reader(Opcode.BINARY, limit=1000).feed(client_frame(BINARY, bytes(1000))) == [bytes(1000)]


def test_a_server_does_not_mask() -> None:
    """The client's side reads its frames, and refuses masked ones."""
    reader = Reader(is_client=True)
    assert reader.feed(websocket.frame_header(Opcode.TEXT, 70_000) + b"x" * 70_000) == [b"x" * 70_000]
    with pytest.raises(WebSocketError, match="masked"):
        reader.feed(client_frame(TEXT, b"{}"))


def test_pings_that_wait_are_answered_once() -> None:
    """Among frames that nobody takes yet, one of them incomplete; they are pongs afterwards."""
    data = client_frame(TEXT, b"x" * 200) + client_frame(PING, b"one") + client_frame(TEXT, b"y" * 70_000)
    data += client_frame(PING, b"two") + client_frame(PING, b"three")[:-1]
    answers: list[bytes] = []
    reader = Reader()
    reader.add(data)
    for _ in range(2):
        reader.answer_pings(answers.append)
    assert answers == [b"\x8a\x03one", b"\x8a\x03two"]
    reader.feed(b"")
    assert reader.controls == [(PONG, b"one"), (PONG, b"two")]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but gymtwist's own errors is raised; looking for pings raises none."""
    reader = Reader(None, limit=200)
    reader.add(data)
    reader.answer_pings(lambda frame: None)
    try:
        reader.feed(b"")
    except WebSocketError as error:
        assert error.close_code not in INVALID_CODES


@given(st.binary(max_size=5000), st.binary(min_size=4, max_size=4))
def test_masking_twice_changes_nothing(payload: bytes, mask: bytes) -> None:
    """And each byte is masked by itself."""
    once = bytes(websocket.masked(payload, mask))
    assert once == bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    assert bytes(websocket.masked(once, mask)) == payload


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServerFull(""), 1013),
        (ServerStopping(""), 1001),
        (HandshakeError(""), 1002),
        (LimitExceeded(""), 1009),
        (MalformedMessage(""), 1008),
        (EnvironmentFault("step", ""), 1011),
        (WebSocketError(CloseCode.INVALID_TEXT, ""), 1007),
    ],
)
def test_each_error_has_a_code(error: GymtwistError, code: int) -> None:
    """By which a client can tell whether to try again."""
    assert close_code(error) == code


# The upgrade


def head(method: str = "GET", **headers: str) -> Head:
    """Return the head of a request."""
    fields = {"sec-websocket-version": "13", "sec-websocket-key": base64.b64encode(bytes(16)).decode(), **headers}
    return Head(method, "/ws", fields, 0)


def test_the_key_is_answered() -> None:
    """As in the example of RFC 6455."""
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert websocket.upgrade_problem(head()) is None


@pytest.mark.parametrize(
    ("request_head", "status", "field"),
    [
        (head("POST"), 405, "method"),
        (head(**{"sec-websocket-version": "8"}), 426, "Sec-WebSocket-Version"),
        (head(**{"sec-websocket-version": ""}), 426, "Sec-WebSocket-Version"),
        (head(**{"sec-websocket-key": ""}), 400, "Sec-WebSocket-Key"),
        (head(**{"sec-websocket-key": "short"}), 400, "Sec-WebSocket-Key"),
        (head(**{"sec-websocket-key": "ü" * 24}), 400, "Sec-WebSocket-Key"),
    ],
)
def test_a_request_that_is_not_for_websocket_is_refused(request_head: Head, status: int, field: str) -> None:
    """With what to do instead."""
    refused = websocket.upgrade_problem(request_head)
    assert refused is not None
    assert (refused[0], refused[1].field) == (status, field)
    assert refused[1].remedy
