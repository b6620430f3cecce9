"""A connection of the framed protocol whose environment cannot be made, crashes or hangs: it goes on."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from gymtwist_conformance.reference_client import INT32, NETSTRING, Failed, FramedClient, message
from gymtwist_conformance.reference_client.classic_client import step
from tests.conftest import Connect, Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.server_process import ServerProcess, connected

#: Whether to measure the coverage of its server.
MEASURED = True
WITH_TLS = True
OPTIONS = ("--step-timeout", "2")
CHOSEN = "Fault/Chosen-v0"
#: What Chosen can be told to do.
NOTHING, SEGFAULT, HANG, FAIL = range(4)
CRASH = SEGFAULT, "the environment's process was killed by SIGSEGV in {}: reset to continue with a fresh environment"
HANGS = HANG, "{} took more than 2 s: reset to continue with a fresh environment"


def crashes(slow: str) -> pytest.MarkDecorator:
    """Return a mark for a crash with either encoding, and for what never returns with one of them."""
    cases = [(INT32, *CRASH), (NETSTRING, *CRASH), (slow, *HANGS)]
    return pytest.mark.parametrize(("encoding", "deed", "says"), cases, ids=["int32-crash", "netstring-crash", "hang"])


def chosen(connect: Connect, **fields: Any) -> FramedClient:
    """Make the environment that goes wrong as it is told, and take two steps."""
    client = connect(CHOSEN, **fields)
    client.reset()
    client.step(NOTHING)
    assert client.step(NOTHING).info["steps"] == 2
    return client


def failure(client: FramedClient, op: str = "step", **fields: Any) -> Failed:
    """Ask for what fails; return the error."""
    with pytest.raises(Failed) as caught:
        client.ask(op, **fields)
    return caught.value


def goes_on(client: FramedClient) -> None:
    """Check that the session has a fresh environment, after a reset and not before."""
    assert failure(client, action=client.actions.dump(NOTHING)).code == "reset-needed"
    client.reset()
    assert client.step(NOTHING).info["steps"] == 1


@crashes(INT32)
def test_a_step_that_takes_its_process_along(connect: Connect, server: ServerProcess, deed: int, says: str) -> None:
    """Is answered with an error of the environment; the same connection then has a fresh one, as often as need be."""
    client = chosen(connect)
    session = server.session(client)
    for _ in range(2):
        before = Handle(client.step(NOTHING).info["process"])
        error = failure(client, action=client.actions.dump(deed))
        assert (error.code, error.fault, error.reset_needed) == ("environment-fault", "environment", True)
        assert error.message == says.format("step" if deed == SEGFAULT else "a step")
        assert not left_after([before], PATIENCE)
        goes_on(client)
    client.close()
    # Two before, one in each round and one after each: all were one session.
    assert "the client left; Fault/Chosen-v0" in (ended := server.end(session)) and " 6 steps" in ended


@crashes(NETSTRING)
def test_a_reset_that_takes_its_process_along(connect: Connect, deed: int, says: str) -> None:
    """Likewise."""
    client = chosen(connect)
    error = failure(client, "reset", options={"reset": deed})
    assert (error.fault, error.reset_needed) == ("environment", True)
    assert error.message == says.format("reset")
    goes_on(client)


@pytest.mark.parametrize(
    ("encoding", "deed"), [(INT32, SEGFAULT), (NETSTRING, SEGFAULT), (INT32, HANG), (NETSTRING, FAIL)]
)
def test_a_constructor_that_takes_its_process_along(connect: Connect, deed: int) -> None:
    """Leaves a connection without an environment; another can be made."""
    client = connect()
    for _ in range(2):
        with pytest.raises(Failed) as caught:
            client.make(CHOSEN, kwargs={"make": deed})
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", False)
        assert failure(client, "reset").code == "no-environment"
    client.make("CartPole-v1")
    client.play()


def test_requests_that_were_sent_ahead_are_answered_in_order(connect: Connect, encoding: str) -> None:
    """Even those of which a part had come when the process died."""
    client = chosen(connect)

    def step(action: int) -> bytes:
        return message(encoding, "step", action=client.actions.dump(action))

    later = step(NOTHING)
    client.send(step(NOTHING) + step(SEGFAULT) + step(NOTHING) * 3 + message(encoding, "reset") + later + later[:7])
    assert client.read_step().info["steps"] == 3
    for code in ("environment-fault", *["reset-needed"] * 3):
        with pytest.raises(Failed) as caught:
            client.read_step()
        assert caught.value.code == code
    client.read_reset()
    assert client.read_step().info["steps"] == 1
    client.send(later[7:])
    assert client.read_step().info["steps"] == 2


def test_requests_sent_ahead_of_make(connect: Connect, encoding: str) -> None:
    """Is answered, too, if making the environment takes the process along."""
    client = connect()
    client.send(
        message(encoding, "make", id=CHOSEN, kwargs={"make": SEGFAULT})
        + message(encoding, "reset")
        + message(encoding, "make", id="CartPole-v1")
        + message(encoding, "sample", seed=1)
    )
    for op, code in (("make", "environment-fault"), ("reset", "no-environment")):
        with pytest.raises(Failed) as caught:
            client.reply(op)
        assert caught.value.code == code
    assert client.reply("make")["spec"]["id"] == "CartPole-v1"
    client.reply("sample")


def test_a_large_request_and_its_successors(connect: Connect, encoding: str) -> None:
    """Outgrow the buffer that the next process finds; the client notices nothing of it."""
    client = chosen(connect)
    large = message(encoding, "reset", options={"reset": SEGFAULT, "padding": "x" * 300_000})
    client.send(large + message(encoding, "reset") + large[:100_000])
    with pytest.raises(Failed, match="SIGSEGV in reset"):
        client.reply("reset")
    client.read_reset()
    client.send(large[100_000:] + message(encoding, "sample", seed=1))
    with pytest.raises(Failed, match="SIGSEGV in reset"):
        client.reply("reset")
    with pytest.raises(Failed, match="the environment has failed"):
        client.reply("sample")


def test_a_vector_that_takes_its_process_along(connect: Connect) -> None:
    """Is made afresh, too."""
    client = connect(CHOSEN, num_envs=3, vectorization_mode="sync")
    client.reset(seed=5)
    assert "SIGSEGV" in failure(client, action=client.actions.dump([NOTHING, SEGFAULT, NOTHING])).message
    client.reset(seed=5)
    assert list(client.step([NOTHING] * 3).info["steps"]) == [1, 1, 1]


def test_a_fresh_environment_that_cannot_be_made(connect: Connect) -> None:
    """Has its error told by the reset that was to make it; the next reset tries again."""
    client = connect("Fault/Once-v0")
    client.reset()
    assert "SIGSEGV" in failure(client, action=client.actions.dump(0)).message
    for _ in range(2):
        error = failure(client, "reset")
        assert (error.fault, error.reset_needed) == ("environment", True)
        assert "raised FileExistsError in make" in error.message
    client.ask("close")
    assert client.read_to_end() == b""


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"id": "no_such_module:CartPole-v1"}, "environment-refused"),
        ({"id": ""}, "invalid-field"),
        ({}, "invalid-field"),
        ({"id": "CartPole-v1", "kwargs": 3}, "invalid-field"),
        ({"id": "CartPole-v9"}, "unknown-environment"),
        ({"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": "/etc/passwd"}}, "kwarg-refused"),
    ],
)
def test_a_refused_handshake(connect: Connect, encoding: str, fields: dict[str, Any], code: str) -> None:
    """May be followed by another, also if that was sent already: the stream is in step."""
    client = connect()
    assert failure(client, "make", **fields).code == code
    client.send(message(encoding, "make", **fields) + message(encoding, "make", id="CartPole-v1"))
    with pytest.raises(Failed) as caught:
        client.reply("make")
    assert caught.value.code == code
    client.read_made()
    client.play()


def test_other_requests_before_make(connect: Connect) -> None:
    """Are told that there is no environment; and too many of them end the connection."""
    client = connect()
    for _ in range(16):
        assert failure(client, "reset").code == "no-environment"
    assert failure(client, "reset").code == "no-environment"
    assert client.read_to_end() == b""


def test_a_second_environment(connect: Connect, server: ServerProcess) -> None:
    """Is another connection's; and what a retried make may ask for is what the first may."""
    client = connect("CartPole-v1")
    assert failure(client, "make", id="CartPole-v1").code == "environment-made"
    client = connect()
    assert failure(client, "make", id="CartPole-v9").code == "unknown-environment"
    assert failure(client, "make", id="os:CartPole-v1").code == "environment-refused"
    client.make("CartPole-v1")
    client.play()


def test_a_crash_over_tls(server: ServerProcess, encoding: str) -> None:
    """Is no end either, though the server relays what the processes say."""
    port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    context = ssl.create_default_context(cafile=str(server.directory / "certificate.pem"))
    raw = connected(("127.0.0.1", port))
    with FramedClient(context.wrap_socket(raw, server_hostname="127.0.0.1"), encoding) as client:
        client.make(CHOSEN)
        client.reset()
        assert "SIGSEGV" in failure(client, action=client.actions.dump(SEGFAULT)).message
        goes_on(client)


def test_an_idle_client_after_a_crash(start: Start) -> None:
    """Is hung up on as any other: the session is watched on."""
    server = start("--idle-timeout", "1")
    with FramedClient(connected(("127.0.0.1", server.port)), INT32) as client:
        client.make(CHOSEN)
        client.reset()
        failure(client, action=client.actions.dump(SEGFAULT))
        assert client.read_to_end() == b""


def test_the_classic_protocol_has_no_such_thing(server: ServerProcess) -> None:
    """A step's reply has no place for an error: its connection is closed."""
    with server.open("Fault/SegfaultInStep-v0") as client:
        client.reset()
        client.send(step(0))
        client.wait_closed()
