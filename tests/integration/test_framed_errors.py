"""What goes wrong in the framed protocol: whose fault it is, and how the connection goes on."""

from __future__ import annotations

from typing import Any

import pytest

from gymtwist_conformance.reference_client import NETSTRING, Failed, frame
from tests.conftest import Connect
from tests.support.equivalence import make_local, same_step

#: Whether to measure the coverage of its server.
MEASURED = True

SEED = 77


def test_errors_of_a_request_keep_the_connection(connect: Connect) -> None:
    """The next request is answered."""
    client = connect("CartPole-v1")
    with pytest.raises(Failed, match="reset"):
        client.step(0)
    client.reset(seed=SEED)
    requests: list[tuple[str, dict[str, Any], str]] = [
        ("step", {"action": client.actions.dump(7)}, "invalid-action"),
        ("step", {"action": "left"}, "invalid-action"),
        ("step", {}, "invalid-field"),
        ("reset", {"seed": "x"}, "invalid-field"),
        ("reset", {"seed": [1, 2]}, "invalid-field"),
        ("reset", {"mask": [True]}, "invalid-field"),
        ("fly", {}, "unknown-operation"),
        ("render", {}, "bad-request"),
        ("make", {"id": "CartPole-v1"}, "environment-made"),
        ("step_many", {"action": client.actions.dump(0)}, "invalid-field"),
    ]
    for op, fields, code in requests:
        with pytest.raises(Failed) as caught:
            client.ask(op, **fields)
        assert (caught.value.code, caught.value.fault, caught.value.reset_needed) == (code, "request", False)
    local = make_local("CartPole-v1")
    local.reset(seed=SEED)
    assert same_step(client.step(1), local.step(1))


def test_garbage_after_the_handshake(connect: Connect, encoding: str) -> None:
    """The server answers with a protocol error and closes the connection."""
    client = connect("CartPole-v1")
    for garbage in (b"x" * 100, b"\xff" * 100):
        client = connect("CartPole-v1")
        client.send(garbage)
        with pytest.raises(Failed) as caught:
            client.reply("reset")
        assert caught.value.fault == "protocol"
        assert client.read_to_end() == b""


def test_a_frame_without_a_message(connect: Connect, encoding: str) -> None:
    """The stream stays in step, and the next request is answered."""
    no_message = frame(encoding, b"{" if encoding == NETSTRING else b"\xc1")
    client = connect()
    for _ in range(2):
        client.send(no_message)
        with pytest.raises(Failed) as caught:
            client.reply("make")
        assert (caught.value.code, caught.value.fault) == ("malformed-message", "request")
        if not client.made:
            client.make("CartPole-v1")
    client.play()


@pytest.mark.parametrize("where", ["Step", "Reset"])
def test_an_environment_that_raises(connect: Connect, where: str) -> None:
    """The error blames the environment; the connection stays and needs a reset."""
    client = connect(f"Fault/RaiseIn{where}-v0")
    if where == "Step":
        client.reset()
    for _ in range(3):
        with pytest.raises(Failed, match="the environment raised ValueError") as caught:
            client.step(0) if where == "Step" else client.reset()
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
        with pytest.raises(Failed) as caught:
            client.step(0)
        assert (caught.value.code, caught.value.fault) == ("reset-needed", "request")
        if where == "Step":
            client.reset()


def test_an_environment_that_returns_a_value_outside_its_space(connect: Connect) -> None:
    """The error blames the environment."""
    client = connect("Fault/WrongShapeInStep-v0")
    client.reset()
    with pytest.raises(Failed, match="observation") as caught:
        client.step(0)
    assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)


def test_a_worker_that_dies(connect: Connect) -> None:
    """The connection gets fresh environments if a process of an asynchronous vector environment dies."""
    client = connect("Fault/SegfaultInStep-v0", num_envs=2, vectorization_mode="async")
    client.reset()
    for _ in range(2):
        with pytest.raises(Failed) as caught:
            client.step([0, 0])
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
        client.reset()


#: Environments, fields of `make`, and the code and words of the error.
REFUSED: list[tuple[str, dict[str, Any], str | None, str]] = [
    ("CartPole-v9", {}, "unknown-environment", 'did you mean "CartPole-v1"'),
    ("no_such_module:CartPole-v1", {}, "environment-refused", "imports a module"),
    ("CartPole-v1", {"kwargs": {"gravity": 3}}, "unknown-kwarg", 'takes no kwarg "gravity"; it takes: sutton_b'),
    ("CartPole-v1", {"kwargs": {"render_mode": "ansi"}}, "invalid-field", "beside kwargs"),
    (
        "CartPole-v1",
        {"render_mode": "ansi"},
        "invalid-field",
        'has no render mode "ansi"; it has: human, rgb_array',
    ),
    ("CartPole-v1", {"render_mode": "human"}, "bad-request", "--display"),
    ("CartPole-v1", {"max_episode_steps": 0}, "invalid-field", "max_episode_steps"),
    (
        "Pendulum-v1",
        {"num_envs": 2, "vectorization_mode": "vector_entry_point"},
        "invalid-field",
        "has no vector entry point",
    ),
    (
        "CartPole-v1",
        {"num_envs": 2, "autoreset_mode": "disabled"},
        "invalid-field",
        'supports only the autoreset_mode "next_step"',
    ),
    ("CartPole-v1", {"vectorization_mode": "sync"}, "invalid-field", "num_envs"),
    ("CartPole-v1", {"version": 99}, "invalid-field", "version"),
    ("Fault/RaiseInMake-v0", {}, "environment-fault", "raised ValueError in make"),
    ("Fault/SegfaultInMake-v0", {}, None, "SIGSEGV"),
]


def test_an_environment_that_cannot_be_made(connect: Connect) -> None:
    """The error has a reason, and the client may make another environment."""
    client = connect()
    for environment, fields, code, words in REFUSED:
        with pytest.raises(Failed) as caught:
            client.make(environment, **fields)
        assert words in caught.value.message
        assert code in (None, caught.value.code)
    client.make("CartPole-v1")
    client.play()
