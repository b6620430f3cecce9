"""Clients that speak nonsense or stop half-way: their connection ends, nobody else notices."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import sys

import pytest

from gymtwist_conformance.reference_client import Refused
from gymtwist_conformance.reference_client.classic_client import RESET, error_text, handshake, monitor, step, string
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.server_process import REPOSITORY, ServerProcess, readable

#: Whether to measure the coverage of its server.
MEASURED = True

OPTIONS = ("--opening-timeout", "1")

FOUR_GIBIBYTES = b"\xff\xff\xff\xff"

# Nonsense instead of a handshake


@pytest.mark.parametrize(
    "garbage",
    [
        b"get / http/1.1\r\nhost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"\xff" * 100,
        b"\xff" * 300_000,
        b"\x00" + FOUR_GIBIBYTES,
        b"\x00" + FOUR_GIBIBYTES + b"x" * 300_000,
        b"\x00" + string("x" * 100_000),
        b"\x00" + string(b"CartPole\xff\xfe-v1"),
        b"\x00" + string(b"\x00\x00\x00\x00"),
    ],
    ids=["words", "tls", "ones", "many ones", "4 GiB", "4 GiB begun", "long id", "not UTF-8", "zeros"],
)
def test_garbage_is_refused_with_an_error_string(server: ServerProcess, garbage: bytes) -> None:
    """The client hears an error, then a FIN; what it sent beyond does not turn that into a RST."""
    with server.connect() as client:
        try:
            client.send(garbage)
        except (BrokenPipeError, ConnectionResetError):
            pytest.fail("the server did not wait for the client to read the error")
        assert error_text(client.read_to_end())


@pytest.mark.parametrize("half", [b"", b"\x00", b"\x00\x0b\x00", handshake("CartPole-v1")[:-1]])
def test_an_incomplete_handshake_times_out(server: ServerProcess, half: bytes) -> None:
    """The time for the handshake is limited, whether it has begun or not."""
    with server.connect() as client:
        client.send(half)
        client.wait_closed()


def test_a_slow_handshake_does_not_extend_its_time_limit(server: ServerProcess) -> None:
    """A byte now and then is not a reason to wait: the limit is for the whole handshake."""
    with server.connect() as client:
        for byte in b"\x00" + struct.pack("<I", 5000) + b"x" * 100:
            try:
                client.send(bytes([byte]))
            except (BrokenPipeError, ConnectionResetError):
                break
            if readable(client, 0.25):
                break
        else:
            pytest.fail("the opening went on for 25 s")
        client.wait_closed()


@pytest.mark.parametrize("sent", [b"", b"\x00\x0b\x00\x00\x00Cart", handshake("CartPole-v1")])
def test_a_client_that_disconnects_during_the_handshake(server: ServerProcess, sent: bytes) -> None:
    """Gone before the first reply, by FIN or by RST."""
    with server.connect() as client:
        client.send(sent)
    client = server.connect()
    client.send(sent)
    client.abort()


# Nonsense instead of a command

BROKEN = {
    "packet type 9": b"\x09",
    "packet type 255": b"\xff",
    "action of type 1": b"\x01\x01" + string("0"),
    "action of 4 GiB": b"\x01\x00" + FOUR_GIBIBYTES,
    "action of 4 GiB begun": b"\x01\x00" + FOUR_GIBIBYTES + b"x" * 300_000,
    "action of 2 GiB": b"\x01\x00\x00\x00\x00\x80",
    "no JSON": b"\x01\x00" + string("{"),
    "empty JSON": b"\x01\x00" + string(""),
    "two JSON values": b"\x01\x00" + string("0 0"),
    "JSON that is not UTF-8": b"\x01\x00" + string(b'"\xff"'),
    "JSON nested too deeply": b"\x01\x00" + string("[" * 50_000 + "]" * 50_000),
    "action beyond the space": step(2),
    "action below the space": step(-1),
    "huge action": step(10**30),
    "fraction": step(0.5),
    "NaN": b"\x01\x00" + string("NaN"),
    "text": step("left"),
    "null": step(None),
    "list": step([0]),
    "object": step({"action": 0}),
    "space 2": b"\x02\x02",
    "monitor with a bool of 2": monitor("somewhere", resume=2),
    "monitor with a directory of 4 GiB": b"\x04\x00\x00\x00" + FOUR_GIBIBYTES,
    "upload of 4 GiB": b"\x06" + FOUR_GIBIBYTES,
    "universe of 4 GiB": b"\x08" + string("Vision") + FOUR_GIBIBYTES,
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_protocol_ends_the_session(server: ServerProcess, sent: bytes) -> None:
    """The connection is closed, and the log says what was wrong."""
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        client.reset()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send(sent)
        client.wait_closed()
    assert server.end(session).startswith("the client broke the protocol: ")


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("MultiBinary", [0, 1, 2]),
        ("MultiBinary", [0, 1]),
        ("MultiDiscrete", [3, 0]),
        ("MultiDiscrete", [[0, 0]]),
        ("MultiDiscrete", [0.5, 0]),
        ("DiscreteFromTen", 0),
        ("Box", [[0.0, 0.0]]),
        ("Box", [["a", "b"], ["c", "d"]]),
        ("Box", [[0.0], [0.0, 0.0]]),
        ("Box", None),
        ("Tuple", [0]),
        ("Tuple", [5, [0.0, 0.0]]),
        ("Dict", {"move": 0}),
        ("Dict", {"move": 7, "force": [0.0, 0.0]}),
        ("Text", 7),
    ],
)
def test_an_action_outside_its_space_breaks_the_protocol(server: ServerProcess, name: str, action: object) -> None:
    """A wrong number, kind or shape does not reach the environment."""
    with server.open(f"Act/{name}-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(step(action))
        client.wait_closed()
    assert server.end(session).startswith("the client broke the protocol: ")


def test_requests_before_an_invalid_one_are_answered(server: ServerProcess) -> None:
    """Replies that are due are sent before the connection closes."""
    with server.open("CartPole-v1") as client:
        client.send(RESET + step(0) + b"\xff")
        assert len(client.read_observation()) == 4
        assert client.read_step().reward == 1.0
        client.wait_closed()


# Leaving


def test_a_client_that_leaves_ends_its_session(server: ServerProcess) -> None:
    """The session ends, and its process with it."""
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        handle = Handle(session.process)
    assert server.end(session).startswith("the client left; ")
    assert not left_after([handle], PATIENCE)


@pytest.mark.parametrize("command", [b"\x01", b"\x01\x00\x05\x00\x00\x00[0", b"\x04\x00", b"\x06\x01\x00\x00\x00"])
def test_a_client_that_leaves_in_a_command(server: ServerProcess, command: bytes) -> None:
    """Half a command is never completed; the session ends all the same."""
    with server.open("CartPole-v1") as client:
        session = server.session(client)
        client.reset()
        client.send(command)
    server.end(session)


def test_a_client_that_resets_its_connection(server: ServerProcess) -> None:
    """A RST is as good as a FIN."""
    client = server.open("CartPole-v1")
    session = server.session(client)
    client.reset()
    client.abort()
    assert server.end(session).startswith("the client left; ")


def test_a_client_that_leaves_before_its_replies(server: ServerProcess) -> None:
    """Megabytes of replies that nobody reads any more."""
    client = server.open("Observe/Frame-v0")
    session = server.session(client)
    client.send(RESET + step(0) * 200)
    client.read_observation()
    client.close()
    assert server.end(session).startswith("the client left; ")


def test_a_client_that_leaves_in_a_long_step(server: ServerProcess) -> None:
    """The step goes on to its end, or not; the session does not survive it."""
    with server.open("Fault/SlowStep-v0") as client:
        session = server.session(client)
        client.reset()
        client.send(step(0))
    assert server.end(session).startswith("the client left; ")


CLIENT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from gymtwist_conformance.reference_client import ClassicClient
client = ClassicClient.connect(int(sys.argv[2])).open("CartPole-v1")
client.reset()
print(client.port, flush=True)
while True:
    if client.step(0).done:
        client.reset()
"""


def test_a_client_that_is_killed_ends_its_session(server: ServerProcess) -> None:
    """The kernel closes what a killed process had open."""
    words = [sys.executable, "-c", CLIENT, str(REPOSITORY / "conformance"), str(server.port)]
    since = server.mark()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as player:
        assert player.stdout is not None
        port = int(player.stdout.readline())
        line = server.wait_for(rf"\[session (\d+)\] started: CartPole-v1 for \S+:{port} ", since=since)
        player.send_signal(signal.SIGKILL)
    server.wait_for(rf"\[session {line.group(1)}\] ended: the client left; ")


def test_the_error_of_a_refusal_is_not_lost_to_a_slow_reader(server: ServerProcess) -> None:
    """A client that has sent more than the server read still gets the text (no RST overtakes it)."""
    with server.connect() as client:
        client.send(handshake("Nowhere-v0") + step(0) * 20_000)
        client.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(Refused, match="Nowhere-v0"):
            client.read_error()
        assert client.read_to_end() == b""
