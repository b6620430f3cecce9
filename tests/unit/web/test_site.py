"""HTTP on the port of everything else: requests, refusals and the end of a connection."""

from __future__ import annotations

import gc
import os
import socket
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from gymtwist.protocol.http_head import MAX_HEAD
from gymtwist.server.gym_protocol import GymProtocol
from gymtwist.web.http_channel import MAX_BODIES, MAX_BODY, HttpChannel
from gymtwist.web.http_request import HttpRequest
from tests.support.connection_fixtures import CARTPOLE, Make, connect, read
from tests.support.harness import Harness, soon
from tests.support.process_inspection import descriptors

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def request(line: str, **headers: str) -> bytes:
    """Write a request that closes the connection."""
    lines = [line, *(f"{name}: {value}" for name, value in ({"Host": "localhost"} | headers).items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def parsed(reply: bytes) -> tuple[int, dict[str, str], Any]:
    """Take the status, the headers and the JSON from a response."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(headers["content-length"]) == len(body)
    return int(first.split()[1]), headers, msgspec.json.decode(body) if body else None


def answer(harness: Harness, data: bytes) -> tuple[int, dict[str, str], Any]:
    """Send a request; return the response."""
    with connect(harness, data) as client:
        return parsed(read(client, harness))


def received(client: socket.socket, harness: Harness, size: int = 65536) -> bytes:
    """Receive what comes next."""
    client.setblocking(False)
    got = bytearray()

    def something() -> bool:
        try:
            got.extend(client.recv(size))
        except BlockingIOError:
            return False
        return True

    soon(something, harness.turn)
    return bytes(got)


def test_a_request_is_answered_on_the_port_of_everything_else(harness: Harness) -> None:
    """No worker hears of it."""
    status, headers, body = answer(harness, request("GET /healthz HTTP/1.1"))
    assert (status, body) == (200, {"status": "ok"})
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert not harness.starter.serving


def test_a_request_may_arrive_byte_by_byte(harness: Harness) -> None:
    """As any handshake."""
    client = connect(harness)
    for byte in request("GET /healthz HTTP/1.1"):
        client.sendall(bytes([byte]))
        harness.turn(1)
    assert parsed(read(client, harness))[0] == 200
    client.close()


def test_a_connection_is_kept_alive(harness: Harness) -> None:
    """For requests one after the other, or all at once."""
    client = connect(harness, HEALTH)
    assert received(client, harness).startswith(b"HTTP/1.1 200")
    client.sendall(5 * HEALTH)
    got = b""
    while got.count(b"HTTP/1.1 200") < 5:
        got += received(client, harness)
    client.close()
    soon(lambda: not harness.factory.connections, harness.turn)


def test_who_reads_no_responses_gets_few(harness: Harness) -> None:
    """The requests behind them wait, and are answered once the client reads."""
    count = 200
    client = connect(harness)
    (connection,) = harness.factory.connections
    transport: Any = connection.transport
    # The responses are 3 MB: the kernel is not to take them all.
    transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    client.sendall(count * b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    harness.turn(100)
    assert len(transport.dataBuffer) + transport._tempDataLen < 2**20
    found = 0
    rest = b""
    while found < count:
        data = rest + received(client, harness)
        found += data.count(b"HTTP/1.1 200")
        rest = data[-11:]
    client.close()


@pytest.mark.parametrize(
    ("line", "status", "field"),
    [
        ("GET /nothing/<b>here HTTP/1.1", 404, "path"),
        ("POST /healthz HTTP/1.1", 405, "method"),
    ],
)
def test_refusals_are_json(harness: Harness, line: str, status: int, field: str) -> None:
    """With the field, its value and what to do."""
    got, headers, body = answer(harness, request(line))
    assert (got, body["field"], headers["content-type"]) == (status, field, "application/json")
    assert body["value"] in line
    assert body["remedy"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"HELO there\r\n\r\n", "HELO there"),
        (b"GET / HTTP/1.1\nHost: localhost\n\n", "ends with LF alone; end each with CR LF"),
        (b"GET / HTTP/1.1\r\nX: a\nHost: evil.example.org\r\nHost: localhost\r\n\r\n", "ends with LF alone"),
    ],
)
def test_what_is_no_request_is_refused(harness: Harness, data: bytes, words: str) -> None:
    """With the status 400."""
    status, _, body = answer(harness, data)
    assert status == 400
    assert words in body["message"]


def test_a_head_that_is_too_long_is_refused(harness: Harness) -> None:
    """As soon as it is."""
    status, _, body = answer(harness, b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD)
    assert (status, body["code"]) == (431, "limit-exceeded")


def test_a_request_that_comes_while_the_server_is_busy_is_answered(make: Make) -> None:
    """Its timer comes first then: when the machine goes on after a stall, or after it was suspended."""
    harness = make("--opening-timeout", "2")
    client = connect(harness, HEALTH)
    assert parsed(received(client, harness))[0] == 200
    client.sendall(HEALTH)
    harness.reactor.advance(2.1)
    assert parsed(received(client, harness))[0] == 200
    harness.reactor.advance(2.1)
    assert read(client, harness) == b""
    client.close()


def test_a_slow_request_is_refused(make: Make) -> None:
    """After the time for handshakes."""
    harness = make("--opening-timeout", "2")
    client = connect(harness, HEALTH[:-1])
    harness.reactor.advance(2.1)
    assert parsed(read(client, harness))[0] == 408
    client.close()


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:5001", "127.0.0.1.evil.example"])
def test_a_name_that_a_stranger_gave_this_machine_is_refused(harness: Harness, host: str) -> None:
    """Otherwise his page could use the server of who looks at it (DNS rebinding)."""
    status, _, body = answer(harness, request("GET /healthz HTTP/1.1", Host=host))
    assert (status, body["field"], body["value"]) == (421, "Host", host)


@pytest.mark.parametrize("lines", ["", "Host: \r\n", "Host: a b\r\n", "Host: localhost\r\nHost: a.localhost\r\n"])
def test_a_request_needs_one_valid_host(harness: Harness, lines: str) -> None:
    """As RFC 9112 asks for, whatever it asks for."""
    data = f"GET /healthz HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()
    status, _, body = answer(harness, data)
    assert (status, body["code"], body["field"]) == (400, "bad-opening", "Host")


def test_a_request_of_http_1_0_needs_no_host(harness: Harness) -> None:
    """Health checks of old load balancers send none."""
    assert answer(harness, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 200


@pytest.mark.parametrize("line", ["GET /healthz HTTP/1.1", "GET /nothing HTTP/1.1", "PUT /healthz HTTP/1.1"])
def test_a_response_does_not_name_the_software(harness: Harness, line: str) -> None:
    """Nobody needs to know its version."""
    assert "server" not in answer(harness, request(line))[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]:5001", "localhost:5001", "gym", "a.localhost", "10.1.2.3:80"])
def test_names_that_no_stranger_can_give_are_allowed(harness: Harness, host: str) -> None:
    """Addresses, and names of this machine or network."""
    assert answer(harness, request("GET /healthz HTTP/1.1", Host=host))[0] == 200
    assert answer(harness, request("GET /healthz HTTP/1.1", Host=host, Origin=f"http://{host}"))[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example.com", "null", "http://localhost:81"])
def test_a_page_of_another_site_is_refused(harness: Harness, origin: str) -> None:
    """Before any resource is asked, whatever it asks for."""
    status, headers, body = answer(harness, request("POST /nothing HTTP/1.1", Origin=origin))
    assert (status, body["field"], body["value"]) == (403, "Origin", origin)
    assert "access-control-allow-origin" not in headers


def test_the_end_of_the_server_ends_idle_connections_at_once(harness: Harness) -> None:
    """They have nothing to lose."""
    client = connect(harness, HEALTH)
    assert received(client, harness)
    for connection in list(harness.factory.connections):
        connection.drain()
    assert read(client, harness) == b""
    client.close()


def test_connections_count_among_those_without_a_session(make: Make) -> None:
    """Beyond their number the oldest is dropped; who plays does not notice."""
    harness = make("--max-handshakes", "4")
    player = connect(harness, CARTPOLE)
    clients = [connect(harness, HEALTH if number % 2 else HEALTH[:20]) for number in range(20)]
    soon(lambda: len(harness.factory.connections) <= 5, harness.turn)
    assert harness.starter.serving
    for client in [*clients, player]:
        client.close()
    soon(lambda: len(harness.factory.connections) <= 1, harness.turn)


def test_a_request_must_be_complete_in_time(make: Make) -> None:
    """Also a later one, or its body, of which a byte comes now and then."""
    harness = make("--opening-timeout", "2")
    client = connect(harness, HEALTH + b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
    assert received(client, harness)
    for _ in range(3):
        client.sendall(b"x")
        harness.turn()
        harness.reactor.advance(0.9)
    assert parsed(read(client, harness))[0] == 408
    client.close()


def test_a_body_that_is_too_long_is_refused(harness: Harness) -> None:
    """Before it comes if its length is known, and otherwise as soon as it is too long."""
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
    for data in (
        head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1),
        head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY + 1) + bytes(MAX_BODY + 1),
    ):
        client = connect(harness)
        client.setblocking(False)
        unsent = memoryview(data)
        while unsent:
            try:
                unsent = unsent[client.send(unsent) :]
            except (BlockingIOError, ConnectionError):
                harness.turn(1)
        status, _, body = parsed(received(client, harness))
        assert (status, body["field"]) == (413, "body")
        client.close()


def test_a_request_that_is_not_complete_takes_no_file(harness: Harness) -> None:
    """However long its body may become."""
    with connect(harness, HEALTH) as client:
        received(client, harness)
        before = descriptors(os.getpid())
        for line in (b"Transfer-Encoding: chunked\r\n\r\n1\r\nx", b"Content-Length: %d\r\n\r\nx" % MAX_BODY):
            client.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n" + line)
            harness.turn()
            assert descriptors(os.getpid()) == before
            client.sendall(b"\r\n0\r\n\r\n")
            harness.turn()


def test_long_bodies_are_limited_together(harness: Harness) -> None:
    """A flood of them does not take all memory; short ones are not affected, and nor are long ones afterwards."""
    head = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
    clients: list[socket.socket] = []
    reply = b""
    while not reply:
        client = connect(harness, head + b"%d\r\n\r\n" % MAX_BODY)
        client.setblocking(False)
        clients.append(client)
        unsent = memoryview(bytes(MAX_BODY - 1))
        while unsent:
            with suppress(BlockingIOError):
                unsent = unsent[client.send(unsent) :]
            harness.turn(1)
        harness.turn(MAX_BODY // 16_384)  # until what the kernel holds has been read
        with suppress(BlockingIOError):
            reply = client.recv(65536)
    assert reply.startswith(b"HTTP/1.1 503")
    assert len(clients) == MAX_BODIES // MAX_BODY + 1
    assert answer(harness, head + b"1\r\n\r\nx")[0] == 405
    for client in clients:
        client.close()
    soon(lambda: not harness.factory.connections, harness.turn)
    assert not harness.factory.site._bodies


def test_a_client_that_does_not_read_gets_little_and_is_left(make: Make) -> None:
    """Its responses would otherwise take all memory, and its connection stay for ever."""
    harness = make("--opening-timeout", "2")
    client = connect(harness)
    client.setblocking(False)
    (connection,) = harness.factory.connections
    for _ in range(500):
        with suppress(BlockingIOError):
            client.send(50 * HEALTH.replace(b"healthz", b"api/openapi.json"))
        harness.turn(1)
    assert 0 < len(connection.transport.dataBuffer) + connection.transport._tempDataLen < 1_000_000
    harness.reactor.advance(2.1)
    harness.reactor.advance(5.1)
    soon(lambda: not harness.factory.connections, harness.turn)
    client.close()


def serving_http() -> list[Any]:
    """Return the objects that serve HTTP, also those that wait for the collector."""
    return [each for each in gc.get_objects() if isinstance(each, (GymProtocol, HttpChannel, HttpRequest))]


def test_a_connection_that_ends_leaves_nothing_to_the_collector(harness: Harness) -> None:
    """Or the memory of a flood would be held until Python's collector runs."""
    part = b"POST /none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    gc.collect()
    before = len(serving_http())
    gc.disable()
    try:
        for data in (HEALTH, HEALTH[:9], part, part * 2, CARTPOLE[:4]):
            connect(harness, data).close()
        soon(lambda: not harness.factory.connections, harness.turn)
        assert len(serving_http()) == before
    finally:
        gc.enable()


@pytest.mark.parametrize("name", ["Host", "Origin", "Authorization", "Accept", "Sec-Fetch-Site", "Upgrade"])
@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/api/status", "/ws"])
def test_a_header_may_have_any_bytes(harness: Harness, name: str, path: str) -> None:
    """They are refused or ignored, and nothing fails."""
    lines = [b"GET %b HTTP/1.1" % path.encode(), b"%b: \xff\xc3\xa9" % name.encode(), b"Connection: close", b"", b""]
    with connect(harness, b"\r\n".join(lines)) as client:
        harness.reactor.advance(1.0)  # the refusal of a token is delayed
        reply = read(client, harness)
    assert 200 <= int(reply.split()[1]) < 500
    assert not harness.log.having("error in gymtwist itself")


def test_the_log_has_no_part_of_a_header_that_is_wrong(harness: Harness) -> None:
    """It may be a token."""
    status, _, body = answer(harness, b"GET / HTTP/1.1\r\nHost: localhost\r\n Authorization: Bearer alice.x\r\n\r\n")
    assert (status, "line 3" in body["message"]) == (400, True)
    assert not harness.log.having("alice")
