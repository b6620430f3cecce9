"""One connection of the framed protocol in the server: told apart, refused and ended in the client's own framing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import msgspec
import pytest

from gymtwist.protocol.framing import MAX_FRAME, Framing, ProtocolName, header
from gymtwist.protocol.make_messages import Make
from gymtwist.protocol.messages import Error, Step
from gymtwist.server.server_session import MAX_ATTEMPTS
from gymtwist.worker.session_status import ANSWERED, MADE, Operation
from tests.support.codec_samples import EACH_FRAMED, answered, asked, framed
from tests.support.connection_fixtures import Make as MakeHarness
from tests.support.connection_fixtures import connect, harnesses, read, serving
from tests.support.harness import Harness, soon


@pytest.fixture
def make() -> Iterator[MakeHarness]:
    """Make harnesses, and ends them."""
    with harnesses() as run:
        yield run


def job_of(harness: Harness, data: bytes) -> dict[str, object]:
    """Have bytes handed over to a worker, and return what it was told."""
    client = connect(harness, data)
    soon(lambda: bool(harness.starter.serving), harness.turn)
    client.close()
    return harness.starter.serving[-1].job


@EACH_FRAMED
def test_a_make_message_is_handed_over(make: MakeHarness, protocol: ProtocolName) -> None:
    """The worker gets the frame as it came, what came behind it, and the name of the protocol."""
    handshake, trailing_data = asked(protocol, Make("CartPole-v1")), asked(protocol, Step(1))
    job = job_of(make(), handshake + trailing_data)
    assert (job["handshake"], job["trailing_data"], job["protocol"]) == (
        handshake,
        trailing_data,
        protocol.value.encode(),
    )


@EACH_FRAMED
def test_the_longest_make_message_is_handed_over(make: MakeHarness, protocol: ProtocolName) -> None:
    """It fits into the box to the worker."""
    handshake = asked(protocol, Make("CartPole-v1", {"x": "y" * 63_900}))
    assert job_of(make(), handshake)["handshake"] == handshake


@EACH_FRAMED
def test_a_refusal_comes_in_the_framing_of_the_client(make: MakeHarness, protocol: ProtocolName) -> None:
    """With its code, for a program."""
    harness = make("--allow", "Pong*")
    client = connect(harness, asked(protocol, Make("CartPole-v1")))
    error = answered(protocol, client.recv(65536))
    assert (error.code, error.fault) == ("environment-refused", "request")
    client.close()


def misspelt(protocol: ProtocolName, op: str, **fields: object) -> bytes:
    """Return a request with a field that it does not have."""
    encode = msgspec.json.encode if protocol is ProtocolName.NETSTRING else msgspec.msgpack.encode
    return framed(protocol, encode({"op": op, **fields, "render": 1}))


WARNING = "make: unknown field `render` is ignored; did you mean `render_mode`?"


@EACH_FRAMED
def test_errors_of_the_server_itself_warn_of_unknown_fields(make: MakeHarness, protocol: ProtocolName) -> None:
    """As those of a worker do, and each once."""
    harness = make("--allow", "CartPole*", "--max-sessions", "1", "--queue", "0")
    first, _ = serving(harness, asked(protocol, Make("CartPole-v1")))
    client = connect(harness, misspelt(protocol, "reset"))
    error = answered(protocol, client.recv(65536))
    assert (error.code, len(error.warnings)) == ("no-environment", 1)
    assert error.warnings[0].startswith("reset: unknown field `render` is ignored")
    for told in ((WARNING,), ()):
        client.sendall(misspelt(protocol, "make", id="Pong-v4"))
        harness.turn()
        error = answered(protocol, client.recv(65536))
        assert (error.code, error.warnings) == ("environment-refused", told)
    client.close()
    client = connect(harness, misspelt(protocol, "make", id="CartPole-v1"))
    error = answered(protocol, read(client, harness))
    assert (error.code, error.warnings) == ("server-full", (WARNING,))
    client.close()
    first.close()


@EACH_FRAMED
def test_a_crash_in_make_warns_of_unknown_fields(make: MakeHarness, protocol: ProtocolName) -> None:
    """The worker could not; after the reply to make it is too late."""
    harness = make()
    client, process = serving(harness, misspelt(protocol, "make", id="CartPole-v1"))
    process.begin().begin(Operation.MAKE)
    process.die(-11)
    soon(lambda: bool(harness.starter.serving), harness.turn)
    successor = harness.starter.serving[-1]
    assert answered(protocol, bytes(successor.job["recovery_reply"])).warnings == (WARNING,)
    status = successor.begin()
    status.words[ANSWERED] = 1.0
    status.begin(Operation.STEP)
    successor.die(-11)
    soon(lambda: bool(harness.starter.serving), harness.turn)
    assert answered(protocol, bytes(harness.starter.serving[-1].job["recovery_reply"])).warnings == ()
    client.close()


@EACH_FRAMED
def test_a_client_that_sends_no_more_reads_the_refusals(make: MakeHarness, protocol: ProtocolName) -> None:
    """That it has shut its side down does not mean that it does not listen."""
    harness = make("--allow", "Pong*")
    for handshake in (asked(protocol, Make("CartPole-v1")), header(Framing(protocol.value), 0xFFFF)):
        client = harness.connect()
        client.sendall(handshake)
        client.shutdown(socket.SHUT_WR)
        assert answered(protocol, read(client, harness)).code in ("environment-refused", "limit-exceeded")
        client.close()


@EACH_FRAMED
def test_an_invalid_handshake_is_refused_in_the_framing_of_the_client(
    make: MakeHarness, protocol: ProtocolName
) -> None:
    """Even if it is not complete: the first bytes tell what the client speaks."""
    harness = make("--opening-timeout", "2")
    limit = {ProtocolName.NETSTRING: MAX_FRAME, ProtocolName.INT32: 0xFFFF}[protocol]
    for data, code in ((header(Framing(protocol.value), limit), "limit-exceeded"),):
        client = connect(harness, data)
        assert answered(protocol, read(client, harness)).code == code
        client.close()
    client = connect(harness, asked(protocol, Make("x"))[:-1])
    harness.reactor.advance(2.1)
    assert "no handshake came within 2 s" in answered(protocol, read(client, harness)).message
    client.close()


@EACH_FRAMED
def test_a_worker_that_dies_while_its_environment_is_busy_has_a_successor(
    make: MakeHarness, protocol: ProtocolName
) -> None:
    """It is given the same connection and the error that the client is owed."""
    harness = make()
    client, process = serving(harness, asked(protocol, Make("CartPole-v1")))
    status = process.begin()
    status.words[ANSWERED] = status.words[MADE] = 1.0
    status.begin(Operation.STEP)
    process.die(-11)
    soon(lambda: bool(harness.starter.serving), harness.turn)
    successor = harness.starter.serving[-1]
    message = "the environment's process was killed by SIGSEGV in step: reset to continue with a fresh environment"
    recovery_reply = bytes(successor.job["recovery_reply"])
    assert answered(protocol, recovery_reply) == Error("environment-fault", message, "environment", reset_needed=True)
    successor.begin()
    successor.answer()
    assert read(client, harness) == b""
    client.close()


@EACH_FRAMED
def test_successors_that_do_not_begin(make: MakeHarness, protocol: ProtocolName) -> None:
    """Are replaced some times; then the client gets the error from the server itself."""
    harness = make()
    client, process = serving(harness, asked(protocol, Make("CartPole-v1")))
    status = process.begin()
    status.words[ANSWERED] = 1.0
    status.begin(Operation.STEP)
    process.die(-11)
    for _ in range(MAX_ATTEMPTS + 1):
        soon(lambda: bool(harness.starter.serving), harness.turn)
        harness.starter.serving[-1].die(-11)
    error = answered(protocol, read(client, harness))
    assert (error.code, error.reset_needed) == ("environment-fault", False)
    client.close()


@EACH_FRAMED
def test_a_worker_that_dies_on_the_client_s_turn_leaves_silence(make: MakeHarness, protocol: ProtocolName) -> None:
    """It may have been in the middle of a reply."""
    harness = make()
    client, process = serving(harness, asked(protocol, Make("CartPole-v1")))
    status = process.begin()
    status.words[ANSWERED] = 1.0
    status.end()
    process.die(3)
    assert read(client, harness) == b""
    client.close()
