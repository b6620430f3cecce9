"""The WebSocket of a client of OpenEnv, where only the server's side can be seen."""

from __future__ import annotations

import json
import os
import socket

from gymtwist.protocol.handshake import MAX_MAKE
from gymtwist.protocol.websocket import CloseCode, close_frame, frame_header, read_close
from gymtwist.worker.session_status import ANSWERED
from gymtwist_conformance.reference_client import message
from gymtwist_conformance.reference_client.websocket_stream import CLOSE, PING, TEXT, client_frame, upgrade_request
from tests.support.connection_fixtures import connect, read
from tests.support.harness import Harness, soon
from tests.unit.web.test_played_session import MADE

REQUEST = upgrade_request("/openenv/CartPole-v1/ws")
RESET = client_frame(TEXT, b'{"type":"reset"}')


def serving(harness: Harness, client: socket.socket) -> socket.socket:
    """Reset, and make the environment; return the worker's end of the session, which has to reset it."""
    client.sendall(RESET)
    harness.turn()
    process = harness.starter.serving[-1]
    worker = socket.socket(fileno=os.dup(process.job["socket"]))
    process.begin().words[ANSWERED] = 1.0
    made = {**MADE, "observation_layout": {"leaves": [], "size": 0}}
    worker.sendall(message("int32", "make", **made))
    harness.turn()
    return worker


def test_a_connection_without_a_session_ends_with_the_server(harness: Harness) -> None:
    """It is told why."""
    with connect(harness, REQUEST) as client:
        for each in list(harness.factory.connections):
            each.drain()
        assert read(client, harness).endswith(close_frame(CloseCode.GOING_AWAY, "the server is shutting down"))


def test_a_session_ends_with_the_server_after_a_while(harness: Harness) -> None:
    """Its client is told why."""
    with connect(harness, REQUEST) as client, serving(harness, client):
        for each in list(harness.factory.connections):
            each.drain()
        harness.turn()
        for each in list(harness.factory.connections):
            each.stop("the server stops")
        assert read(client, harness).endswith(close_frame(CloseCode.GOING_AWAY, "the server stops"))


def test_only_a_connection_without_a_session_counts_as_one(harness: Harness) -> None:
    """A flood of others does not drop one that plays."""
    with connect(harness, REQUEST) as client:
        (connection,) = harness.factory.connections
        assert connection in harness.factory.limit._addresses
        with serving(harness, client) as worker:
            assert connection not in harness.factory.limit._addresses
            worker.shutdown(socket.SHUT_RDWR)
            harness.turn()
            assert connection in harness.factory.limit._addresses


def test_the_end_of_the_session_closes_the_connection(harness: Harness) -> None:
    """The pending message is answered before; the reason is that of the session."""
    with connect(harness, REQUEST) as client, serving(harness, client) as worker:
        error = {"code": "no-process", "message": "an operator ended it", "fault": "server"}
        worker.sendall(message("int32", "error", **error))
        harness.turn()
        harness.reactor.advance(0)
        received = read(client, harness).partition(b"\r\n\r\n")[2]
        told = json.loads(received[4 if received[1] == 126 else 2 : received.index(b"}}") + 2])
        assert told["data"]["code"] == "SESSION_ERROR"
        assert received.endswith(close_frame(CloseCode.NORMAL, "the session has failed"))


def test_what_comes_with_the_request_is_not_lost(harness: Harness) -> None:
    """Frames in one segment with it are read."""
    with connect(harness, REQUEST + client_frame(PING, b"1") + client_frame(CLOSE, b"\x03\xe8")) as client:
        assert read(client, harness).endswith(frame_header(10, 1) + b"1" + close_frame(CloseCode.NORMAL))


def test_a_client_that_does_not_close_is_left(harness: Harness) -> None:
    """After a while."""
    with connect(harness, REQUEST + client_frame(3)) as client:
        client.recv(65536)
        assert len(harness.factory.connections) == 1
        harness.reactor.advance(10)
        soon(lambda: not harness.factory.connections, harness.turn)


def test_a_client_that_leaves_ends_its_session(harness: Harness) -> None:
    """Without a word."""
    client = connect(harness, REQUEST)
    with serving(harness, client) as worker:
        worker.recv(65536)
        client.close()
        harness.turn()
        assert worker.recv(65536) == b""


def test_a_client_that_does_not_read_is_not_read_from(harness: Harness) -> None:
    """What it sends stays in the kernel, and little is kept for it."""
    with connect(harness, REQUEST) as client:
        client.setblocking(False)
        pings = 1000 * client_frame(PING, 125 * b"x")
        sent = 0
        for _ in range(2000):
            try:
                sent += client.send(pings)
            except BlockingIOError:
                break
            harness.turn(1)
        assert sent < 2000 * len(pings)
        (connection,) = harness.factory.connections
        kept = len(connection.transport.dataBuffer) + connection.transport._tempDataLen
        assert kept < 1 << 20


def test_a_long_message_before_a_session_is_refused(harness: Harness) -> None:
    """As soon as its length is known: there may be hundreds of connections without a session."""
    with connect(harness, REQUEST + client_frame(TEXT, bytes(MAX_MAKE + 1))[:20]) as client:
        code, _ = read_close(read(client, harness)[-2 - 125 :].rpartition(b"\x88")[2][1:])
        assert code == CloseCode.TOO_BIG


def test_few_bytes_wait_for_an_answer(harness: Harness) -> None:
    """The rest stays in the kernel until the environment has answered."""
    with connect(harness, REQUEST) as client, serving(harness, client):
        client.setblocking(False)
        unsent = memoryview(100 * client_frame(TEXT, bytes(400_000)))
        for _ in range(2000):
            try:
                unsent = unsent[client.send(unsent) :]
            except BlockingIOError:
                harness.turn(1)
        (connection,) = (each for each in harness.factory.connections if each.channel is not None)
        assert sum(map(len, connection.channel._waiting)) < 2_000_000
