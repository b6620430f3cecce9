"""Many connections that never become sessions: who plays goes on, who comes is served, and the log stays short."""

from __future__ import annotations

import re
import resource
import socket
import time
from contextlib import ExitStack

from gymtwist_conformance.reference_client.classic_client import error_text
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import descriptors, eventually
from tests.support.server_process import ServerProcess

FLOOD = 1500
OPTIONS = "--max-sessions", "8", "--max-handshakes-per-address", "100", "--opening-timeout", "600", "--warm", "1"


def flood(stack: ExitStack, server: ServerProcess, count: int = FLOOD) -> list[socket.socket]:
    """Connect, and send the first byte of a handshake."""
    connections = []
    for _ in range(count):
        connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE)))
        connections[-1].sendall(b"\0")
    return connections


def whole(connection: socket.socket) -> bytes:
    """Read to the end of the stream."""
    received = b""
    while data := connection.recv(4096):
        received += data
    return received


def test_connections_that_say_one_byte_do_not_shut_others_out(start_once: Start, many_files: None) -> None:
    """The oldest are told that the server is full, and dropped; the log has a line a second of it at most."""
    server = start_once(*OPTIONS)
    with server.open("CartPole-v1") as player, ExitStack() as stack:
        player.play()
        before, mark, began = len(descriptors(server.process.pid)), server.mark(), time.monotonic()
        connections = flood(stack, server)
        with server.open("CartPole-v1") as newcomer:
            newcomer.play()
            player.play()
        assert "server is full: too many connections have sent no handshake" in error_text(whole(connections[0]))
        eventually(
            lambda: len(descriptors(server.process.pid)) <= before + 110, PATIENCE, "the end of those that were dropped"
        )
        lines = server.lines[mark:]
        assert len([line for line in lines if "full" in line]) <= time.monotonic() - began + 2
        assert len(lines) < 20
    server.wait_for(r"more refused because the server is full, not logged: \d+ connections")
    eventually(lambda: len(descriptors(server.process.pid)) <= before, PATIENCE, "the end of all that left")


def test_errors_of_accept_do_not_fill_the_log(start_once: Start, many_files: None) -> None:
    """A server without descriptors closes what it accepts, with a line a second; who plays goes on."""
    server = start_once(*OPTIONS)
    with server.open("CartPole-v1") as player, ExitStack() as stack:
        player.play()
        few = len(descriptors(server.process.pid)) + 20
        usual = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (few, usual[1]))
        stack.callback(resource.prlimit, server.process.pid, resource.RLIMIT_NOFILE, usual)
        mark, began = server.mark(), time.monotonic()
        for connection in flood(stack, server, 300):
            connection.close()
        player.play()
        server.wait_for("More about connections that cannot be accepted, not logged: ", since=mark)
        about = [line for line in server.lines[mark:] if re.search("EMFILE|accepted", line)]
        assert 2 <= len(about) <= time.monotonic() - began + 2
