"""HTTP to a real server: ports with and without it, names and pages, and floods of requests that do not end."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gymtwist_conformance.reference_client.classic_client import error_text, handshake
from tests.conftest import Start
from tests.support.patience import LONG_DRAIN, PATIENCE
from tests.support.process_inspection import descriptors, eventually
from tests.support.server_process import ServerProcess, connected, write_certificate

FLOOD = 2000
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without HTTP on its first port; one for HTTP alone follows, with TLS."""
    directory = tmp_path_factory.mktemp("server")
    key, certificate = write_certificate(directory)
    secure = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    names = ("--allow-host", "gym.example.org", "--allow-origin", "https://example.org")
    with ServerProcess(directory, "--drain", LONG_DRAIN, "--no-http", "--listen-http", secure, *names) as running:
        yield running


def ask(server: ServerProcess, method: str = "GET", **headers: str) -> tuple[int, Any, Any]:
    """Send a request to the port for HTTP; return the status, the headers and the JSON."""
    port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    context = ssl.create_default_context(cafile=str(server.directory / "certificate.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
    connection.request(method, "/healthz", headers={name.title(): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, json.loads(body) if body else None


def test_a_port_with_tls_speaks_https(server: ServerProcess) -> None:
    """HTTP/1.1, also to who would rather speak HTTP/2."""
    assert ask(server)[::2] == (200, {"status": "ok"})
    assert ask(server, host="gym.example.org:443")[0] == 200
    assert ask(server, host="evil.example.org")[0] == 421


def test_pages_of_a_named_origin_may_use_the_server(server: ServerProcess) -> None:
    """A browser asks first, and passes the response on."""
    origin = "https://example.org"
    for method, status in (("OPTIONS", 204), ("GET", 200)):
        got, headers, _ = ask(server, method, origin=origin)
        assert (got, headers["Access-Control-Allow-Origin"], headers["Vary"]) == (status, origin, "Origin")
    assert ask(server, origin="https://example.org.evil.com")[0] == 403


def test_a_port_can_speak_http_alone_or_never(server: ServerProcess) -> None:
    """Each says what it does speak."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert response.status == 400
    assert "does not speak HTTP" in json.loads(response.read())["message"]
    connection.close()
    port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    context = ssl.create_default_context(cafile=str(server.directory / "certificate.pem"))
    with context.wrap_socket(connected(("127.0.0.1", port)), server_hostname="127.0.0.1") as client:
        client.sendall(handshake("CartPole-v1"))
        received = b""
        while data := client.recv(4096):
            received += data
    assert "this port speaks HTTP and WebSocket alone" in error_text(received)


def memory(process: int) -> int:
    """Return the bytes of memory of a process that are its own."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("RssAnon:")))


def test_requests_that_do_not_end_shut_nobody_out(start: Start, many_files: None) -> None:
    """Neither heads nor bodies: who plays goes on, the next request is answered, and the memory is free again."""
    server = start("--max-sessions", "8", "--opening-timeout", "600")
    process = server.process.pid
    body = b"POST /v1/envs/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000\r\n\r\n" + bytes(20_000)
    with server.open("CartPole-v1") as player:
        player.play()
        before, open_before = memory(process), len(descriptors(process))
        with ExitStack() as stack:
            for index in range(FLOOD):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
                client.sendall(body if index % 2 else body[:40] + b"x" * 10_000)
                if not index % 100:
                    player.play(5)
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
            with server.open("CartPole-v1") as newcomer:
                newcomer.play()
            player.play()
        eventually(lambda: len(descriptors(process)) <= open_before, PATIENCE, "the end of the connections")
        player.play()
        assert memory(process) - before < 16 * MEBIBYTE
