"""WebSocket before a session: the upgrade, the first message, refusals, the queue and the end of the server."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gymtwist_conformance.reference_client.websocket_stream import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketStream,
    client_frame,
    upgrade_request,
)
from tests.support.connection_fixtures import Make, connect, read
from tests.support.harness import FakeProcess, Harness, soon
from tests.support.identity_files import write_identities
from tests.support.websocket_cases import REFUSED
from tests.unit.web.test_site import parsed

CARTPOLE = b'{"op":"make","id":"CartPole-v1"}'


class Turning(WebSocketStream):
    """A stream that turns the server while it waits."""

    def __init__(self, harness: Harness) -> None:
        """Ask for WebSocket."""
        self.harness = harness
        super().__init__(connect(harness))

    def receive(self) -> bool:
        """Turn until something comes."""
        self.socket.setblocking(False)
        counts: list[int] = []

        def came() -> bool:
            try:
                counts.append(self.socket.recv_into(self._chunk))
            except BlockingIOError:
                return False
            return True

        soon(came, self.harness.turn)
        self._received += self._chunk[: counts[0]]
        return counts[0] > 0

    def say(self, data: bytes) -> None:
        """Send bytes, and let the server read them."""
        self.send(data)
        self.harness.turn()


def serving(harness: Harness, first: bytes, behind: bytes = b"") -> tuple[Turning, FakeProcess]:
    """Send a first message; return the worker that has the job."""
    stream = Turning(harness)
    stream.say(first + behind)
    return stream, harness.starter.serving[-1]


@pytest.mark.parametrize(
    ("opcode", "payload", "protocol"),
    [
        (TEXT, CARTPOLE, b"websocket-text"),
        (BINARY, msgspec.msgpack.encode({"op": "make", "id": "CartPole-v1"}), b"websocket-binary"),
    ],
)
def test_the_first_message_is_handed_to_a_worker(
    harness: Harness, opcode: int, payload: bytes, protocol: bytes
) -> None:
    """Its kind selects the encoding, and what comes behind it goes along as it came."""
    behind = client_frame(opcode, b"more")
    stream, process = serving(harness, client_frame(opcode, payload), behind)
    assert (process.job["handshake"], process.job["protocol"]) == (payload, protocol)
    assert process.job["trailing_data"] == behind
    stream.close()


def test_everything_may_come_byte_by_byte(harness: Harness) -> None:
    """Also before the server has accepted WebSocket, as some programs do."""
    client = connect(harness)
    data = upgrade_request() + client_frame(TEXT, CARTPOLE[:9], final=False) + client_frame(PING)
    for byte in data + client_frame(0, CARTPOLE[9:]):
        client.sendall(bytes([byte]))
        harness.turn(1)
    soon(lambda: harness.starter.serving, harness.turn)
    assert harness.starter.serving[0].job["handshake"] == CARTPOLE
    client.close()


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws", {"Origin": "https://evil.example.com"}, 403),
        ("/ws", {"Origin": "null"}, 403),
        ("/ws", {"Host": "evil.example.com", "Origin": "http://evil.example.com"}, 421),
        ("/ws", {"Host": ""}, 400),
        ("/ws", {"Sec-WebSocket-Version": "7"}, 426),
        ("/ws", {"Sec-WebSocket-Key": "?"}, 400),
        ("/ws", {"Upgrade": ""}, 426),
        ("/elsewhere", {}, 404),
    ],
)
def test_an_upgrade_is_refused(harness: Harness, path: str, headers: dict[str, str], status: int) -> None:
    """Before a page of somebody else can drive an environment (cross-site WebSocket)."""
    headers = {**headers, "Connection": "Upgrade, close"}
    client = connect(harness, upgrade_request(path, **{name.replace("-", "_"): each for name, each in headers.items()}))
    got, fields, body = parsed(read(client, harness))
    assert got == status
    assert body["remedy"]
    assert status != 426 or fields["sec-websocket-version"] == "13"
    client.close()


@pytest.mark.parametrize("headers", [{"Origin": "http://localhost"}, {"Connection": "keep-alive, Upgrade"}])
def test_a_page_of_the_server_itself_is_accepted(harness: Harness, headers: dict[str, Any]) -> None:
    """So are the headers that browsers send."""
    client = connect(harness, upgrade_request(**headers, Sec_WebSocket_Extensions="permessage-deflate"))
    head = client.recv(4096)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in head.lower()
    client.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *[pytest.param(*case[1:], id=case[0]) for case in REFUSED if "binary" not in case[0]][::5],
        pytest.param(client_frame(TEXT, b" " * 64_001)[:14], 1009, id="too long"),
        pytest.param(client_frame(TEXT, b'{"op":"make","id":1'), 1008, id="no message"),
    ],
)
def test_what_breaks_the_rules_is_refused(harness: Harness, data: bytes, code: int) -> None:
    """No worker hears of it. A message that is wrong in itself is answered, and may come again some times."""
    stream = Turning(harness)
    stream.say(data)
    if code == 1008:
        for _ in range(16):
            stream.say(data)
            assert b"malformed-message" in stream.read_frame().payload
        assert b"malformed-message" in stream.read_frame().payload
    assert stream.read_frame().code == code
    assert stream.read_to_end() == b""
    assert not harness.starter.serving
    stream.close()


def test_a_refused_message_may_be_followed_by_another(harness: Harness) -> None:
    """As in the other framings."""
    stream = Turning(harness)
    stream.say(client_frame(TEXT, b'{"op":"reset"}'))
    assert b"no-environment" in stream.read_frame().payload
    stream.say(client_frame(TEXT, CARTPOLE))
    assert harness.starter.serving
    stream.close()


def test_a_client_that_says_nothing_is_refused_in_time(make: Make) -> None:
    """The time runs from the beginning of the connection; pings do not prolong it."""
    harness = make("--opening-timeout", "2")
    stream = Turning(harness)
    harness.reactor.advance(1.5)
    stream.say(client_frame(PING, b"x"))
    assert stream.read_frame() == Frame(PONG, b"x")
    harness.reactor.advance(0.6)
    frame = stream.read_frame()
    assert frame.code == 1002
    assert "no handshake came within 2 s" in frame.reason
    stream.close()


def test_pings_without_end_are_refused(harness: Harness) -> None:
    """The answers of who does not read would take memory."""
    stream = Turning(harness)
    stream.say(1000 * client_frame(PING, bytes(125)))
    frame = stream.read_frame()
    while frame.opcode == PONG:
        frame = stream.read_frame()
    assert frame.code == 1008
    stream.close()


def test_a_client_that_leaves_is_answered(harness: Harness) -> None:
    """With its own code."""
    stream = Turning(harness)
    stream.say(client_frame(CLOSE, struct.pack(">H", 1001)))
    assert stream.read_frame() == Frame(CLOSE, struct.pack(">H", 1001))
    assert stream.read_to_end() == b""
    stream.close()


def test_a_client_waits_in_the_queue(make: Make) -> None:
    """It learns its place, and its pings are answered."""
    harness = make("--max-sessions", "1", "--queue", "1")
    first, process = serving(harness, client_frame(TEXT, CARTPOLE))
    second = Turning(harness)
    second.say(client_frame(TEXT, CARTPOLE[:-1] + b',"report_queue":true}'))
    assert second.read_frame() == Frame(TEXT, b'{"op":"queued","place":1}')
    second.say(client_frame(PING, b"?"))
    assert second.read_frame() == Frame(PONG, b"?")
    third = Turning(harness)
    third.say(client_frame(TEXT, CARTPOLE))
    assert b"server-full" in third.read_frame().payload
    assert third.read_frame().code == 1013
    process.begin()
    process.answer()
    soon(lambda: harness.starter.serving[-1] is not process, harness.turn)
    for stream in (first, second, third):
        stream.close()


def test_the_end_of_the_server_is_told(make: Make) -> None:
    """With the code 1001, to whoever has no session, and to whom a worker cannot tell."""
    harness = make("--max-sessions", "1", "--queue", "1")
    idle = Turning(harness)
    playing, process = serving(harness, client_frame(TEXT, CARTPOLE))
    queued = Turning(harness)
    queued.say(client_frame(TEXT, CARTPOLE))
    for connection in list(harness.factory.connections):
        connection.stop("the server is shutting down")
    for stream in (idle, queued):
        assert stream.read_frame().code == 1001
    with socket.socket(fileno=process.job.pop("socket")) as given:
        given.setblocking(True)
        assert given.recv(1) == b""
        given.sendall(b"\x88\x02\x03\xe9")
        process.job["socket"] = given.detach()
    process.begin()
    process.answer()
    assert playing.read_frame() == Frame(CLOSE, b"\x03\xe9")
    assert playing.read_to_end() == b""
    for stream in (idle, playing, queued):
        stream.close()


def test_a_worker_that_cannot_take_leave_is_disconnected(harness: Harness) -> None:
    """It may be sending to a client that does not read."""
    stream, process = serving(harness, client_frame(TEXT, CARTPOLE))
    process.begin()
    for connection in list(harness.factory.connections):
        connection.stop("the server is shutting down")
    harness.reactor.advance(2.1)
    with socket.socket(fileno=process.job.pop("socket")) as given, pytest.raises(BrokenPipeError):
        given.sendall(b"x")
    process.die(0)
    soon(lambda: not harness.factory.connections, harness.turn)
    stream.close()


def test_the_death_of_a_worker_is_told(harness: Harness) -> None:
    """An error, and the code 1011."""
    stream, process = serving(harness, client_frame(TEXT, CARTPOLE))
    while harness.starter.serving:
        process = harness.starter.serving[-1]
        process.die(-9)
        harness.turn()
    assert b"the session ended: its process was killed by SIGKILL" in stream.read_frame().payload
    assert stream.read_frame().code == 1011
    stream.close()


def begins(harness: Harness, message: bytes, **headers: str) -> None:
    """Send a request and a first message, with which a session begins."""
    before = len(harness.starter.serving)
    client = connect(harness, upgrade_request(**headers) + client_frame(TEXT, message))
    soon(lambda: len(harness.starter.serving) > before, harness.turn)
    client.close()


def test_a_token_is_sent_with_the_request_or_with_the_first_message(make: Make, tmp_path: Path) -> None:
    """A browser sends it with the request; who sends a wrong one waits for the refusal."""
    path, tokens = write_identities(tmp_path, alice="")
    harness = make("--identities", path)
    begins(harness, CARTPOLE, Authorization=f"Bearer {tokens['alice']}")
    begins(harness, CARTPOLE[:-1] + b',"token":"%b"}' % tokens["alice"].encode())
    client = connect(harness, upgrade_request(Authorization="Bearer alice.wrong"))
    harness.reactor.advance(60)
    status, _, body = parsed(read(client, harness))
    assert (status, body["code"]) == (401, "token-refused")
    client.close()
    stream = Turning(harness)
    stream.say(client_frame(TEXT, CARTPOLE))
    assert b"token-refused" in stream.read_frame().payload
    stream.close()
