"""One connection in the server, from accept to hand-over; its client is real, its worker does as the test says."""

from __future__ import annotations

import socket
import struct
from typing import Any, cast

import pytest

from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.connection_fixtures import CARTPOLE, Make, connect, error_of, read, serving
from tests.support.harness import Harness, descriptor_count, soon
from tests.support.patience import PATIENCE

# The handshake


def test_a_complete_handshake_is_handed_to_a_worker(harness: Harness) -> None:
    """The worker gets the handshake as it came, the protocol's name and a socket that is the client's."""
    client, process = serving(harness)
    assert process.job["handshake"] == CARTPOLE
    assert process.job["protocol"] == b"classic"
    assert process.job["trailing_data"] == b""
    with socket.socket(fileno=process.job.pop("socket")) as given:
        given.setblocking(True)
        given.sendall(b"hello")
    assert client.recv(5) == b"hello"
    client.close()


def test_a_handshake_may_arrive_byte_by_byte(harness: Harness) -> None:
    """Nothing begins before the last byte."""
    client = connect(harness)
    for byte in CARTPOLE:
        assert not harness.starter.serving
        client.sendall(bytes([byte]))
        harness.turn(1)
    harness.turn()
    assert harness.starter.serving[0].job["handshake"] == CARTPOLE
    client.close()


def test_trailing_data_is_handed_to_the_worker(harness: Harness) -> None:
    """A client that sends its first commands at once loses none."""
    client, process = serving(harness, CARTPOLE + b"\0\3\3")
    assert process.job["trailing_data"] == b"\0\3\3"
    client.close()


def test_trailing_data_fits_into_one_value_of_amp(make: Make) -> None:
    """Even a client that waits for room: the rest stays in the kernel's buffers, in order."""
    harness = make("--max-sessions", "1")
    first, process = serving(harness)
    flood = bytes(range(256)) * 1024
    client = connect(harness, CARTPOLE + flood)
    client.setblocking(False)
    harness.turn(20)
    process.begin()
    process.answer()
    soon(lambda: harness.starter.serving and harness.starter.serving[-1] is not process, harness.turn)
    trailing_data = harness.starter.serving[-1].job["trailing_data"]
    assert len(trailing_data) < 65536
    assert flood.startswith(trailing_data)
    given = socket.socket(fileno=harness.starter.serving[-1].job.pop("socket"))
    given.setblocking(True)
    given.settimeout(PATIENCE)
    rest = bytearray()
    while len(rest) < len(flood) - len(trailing_data):
        rest += given.recv(1 << 20)
    assert trailing_data + rest == flood
    for each in (given, first, client):
        each.close()


@pytest.mark.parametrize("data", [handshake("x" * 257), b"\0" + struct.pack("<I", 2**32 - 1)])
def test_a_handshake_over_the_limit_is_refused(harness: Harness, data: bytes) -> None:
    """By an error string and the end of the stream; nothing is kept for it."""
    client = connect(harness, data)
    assert "at most 255 are allowed" in error_of(read(client, harness))
    assert harness.log.having("[session -] refused 127.0.0.1:")
    client.close()


@pytest.mark.parametrize("garbage", [b"get / HTTP/1.1\r\n\r\n", b"\1" + CARTPOLE[1:]])
def test_garbage_is_refused(harness: Harness, garbage: bytes) -> None:
    """The error says what is expected."""
    client = connect(harness, garbage)
    assert "the classic protocol opens with" in error_of(read(client, harness))
    client.close()


def test_a_handshake_that_times_out_is_refused(make: Make) -> None:
    """The time runs from the accept, however often a byte comes."""
    harness = make("--opening-timeout", "2")
    client = connect(harness, CARTPOLE[:3])
    harness.reactor.advance(1.5)
    client.sendall(CARTPOLE[3:5])
    harness.turn()
    harness.reactor.advance(0.6)
    assert "no handshake came within 2 s" in error_of(read(client, harness))
    client.close()


def test_a_handshake_that_comes_while_the_server_is_busy_is_served(make: Make) -> None:
    """Its timer comes first then: when the machine goes on after a stall, or after it was suspended."""
    harness = make("--opening-timeout", "2")
    client = connect(harness, CARTPOLE[:3])
    client.sendall(CARTPOLE[3:])
    harness.reactor.advance(2.1)
    harness.turn()
    assert len(harness.starter.serving) == 1
    client.close()


def test_an_environment_that_is_not_allowed_is_refused(make: Make) -> None:
    """No worker hears of it."""
    harness = make("--allow", "Pong*")
    client = connect(harness, CARTPOLE)
    assert 'environment "CartPole-v1" is not allowed' in error_of(read(client, harness))
    assert not harness.starter.serving
    client.close()


def test_descriptors_of_a_client_are_closed_without_a_word(harness: Harness) -> None:
    """A client of a UNIX socket may send any number of them."""
    client, accepted = socket.socketpair()
    harness.reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, cast(Any, harness.factory))
    accepted.close()
    before = descriptor_count()
    socket.send_fds(client, [CARTPOLE[:1]], [0] * 20)
    harness.turn()
    assert harness.factory.connections
    assert descriptor_count() == before
    assert not harness.log.lines
    assert not harness.log.others
    client.close()


def test_a_client_that_disconnects_before_its_handshake_leaves_nothing(harness: Harness) -> None:
    """Neither a connection nor a timer."""
    before = len(harness.reactor.getDelayedCalls())
    connect(harness, CARTPOLE[:4]).close()
    harness.turn()
    assert not harness.factory.connections
    assert len(harness.reactor.getDelayedCalls()) == before


# The queue


def test_a_connection_waits_for_room(make: Make) -> None:
    """It gets the place of the session that ends first."""
    harness = make("--max-sessions", "1")
    first, process = serving(harness)
    second = connect(harness, CARTPOLE)
    assert len(harness.starter.serving) == 1
    assert harness.log.having("queued 127.0.0.1:")
    process.begin()
    process.answer()
    harness.turn()
    assert harness.log.having("[session 2] started")
    first.close()
    second.close()


def test_a_connection_that_leaves_the_queue_takes_no_place(make: Make) -> None:
    """The next one in the queue gets it."""
    harness = make("--max-sessions", "1")
    first, process = serving(harness)
    connect(harness, CARTPOLE).close()
    third = connect(harness, handshake("Pong-v4"))
    process.begin()
    process.answer()
    harness.turn()
    assert harness.starter.serving[-1].job["handshake"] == handshake("Pong-v4")
    first.close()
    third.close()


def test_a_connection_that_sent_more_and_left_the_queue_takes_no_place(make: Make) -> None:
    """Its end comes behind the commands that it sent while it waited."""
    harness = make("--max-sessions", "1", "--queue", "1")
    first, _ = serving(harness)
    second = connect(harness, CARTPOLE)
    for _ in range(3):
        second.send(b"\0")
        harness.turn()
    second.close()
    harness.turn()
    third = connect(harness, CARTPOLE)
    assert len(harness.log.having("queued 127.0.0.1:")) == 2
    first.close()
    third.close()


def test_a_connection_that_sent_much_and_left_the_queue_takes_no_place(make: Make) -> None:
    """Also if not all of it is read before the session begins; while it waits it stays."""
    harness = make("--max-sessions", "1", "--queue", "1")
    first, _ = serving(harness)
    second = connect(harness, CARTPOLE + bytes(60_000))
    harness.turn(20)
    harness.reactor.advance(10.0)
    assert len(harness.factory.connections) == 2
    second.close()
    harness.reactor.advance(10.0)
    harness.turn()
    assert len(harness.factory.connections) == 1
    third = connect(harness, CARTPOLE)
    assert len(harness.log.having("queued 127.0.0.1:")) == 2
    first.close()
    third.close()


def test_a_full_queue_refuses(make: Make) -> None:
    """The error says so."""
    harness = make("--max-sessions", "1", "--queue", "0")
    first, _ = serving(harness)
    second = connect(harness, CARTPOLE)
    assert "the server is full" in error_of(read(second, harness))
    first.close()
    second.close()


def test_queued_clients_are_refused_when_the_server_stops(make: Make) -> None:
    """Each of them; and the server can go on stopping."""
    harness = make("--max-sessions", "1")
    first, _ = serving(harness)
    waiting = [connect(harness, CARTPOLE) for _ in range(3)]
    harness.factory.admission.stop()
    for client in waiting:
        assert "shutting down" in error_of(read(client, harness))
        client.close()
    first.close()
