"""Clients that are restarted: another process goes on with the session, where the last step has left it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import gymtwist.client as gymtwist
from gymtwist.client import aio
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

SEED, BEFORE, BEHIND = 7, 6, 12
#: A program that ends without a word, in the middle of an episode.
PROGRAM = """
import os, sys
import gymtwist.client as gymtwist
address, environment, protocol, steps = sys.argv[1:5]
env = gymtwist.connect(address, environment, protocol=protocol, resume=60)
print(env.resume_token, flush=True)
env.reset(seed=7)
for _ in range(int(steps)):
    env.step(1)
os._exit(0)
"""


#: Programs that read the token, and end by an exception without closing the environment.
UNCLOSED = {
    "blocking": """
import sys
import gymtwist.client as gymtwist
env = gymtwist.connect(sys.argv[1], "CartPole-v1", resume=60)
print(env.resume_token, flush=True)
env.reset(seed=7)
env.step(1)
raise KeyboardInterrupt
""",
    "asyncio": """
import asyncio, sys
from gymtwist.client import aio
async def main():
    env = await aio.connect(sys.argv[1], "CartPole-v1", resume=60)
    print(env.resume_token, flush=True)
    await env.reset(seed=7)
    await env.step(1)
    raise KeyboardInterrupt
asyncio.run(main())
""",
}


def address(server: ServerProcess, kind: str = "tcp") -> str:
    """Return the server's address."""
    return f"ws://127.0.0.1:{server.port}" if kind == "ws" else f"127.0.0.1:{server.port}"


def lost(where: str, environment: str = "CartPole-v1", protocol: str = "int32", steps: int = BEFORE) -> str:
    """Run the program; return the token that it has printed at first."""
    command = [sys.executable, "-c", PROGRAM, where, environment, protocol, str(steps)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.strip()


def trajectory(server: ServerProcess, environment: str = "CartPole-v1", steps: int = BEHIND) -> list[Any]:
    """Play without interruption; return the reset and all steps."""
    with gymtwist.connect(address(server), environment, timeout=PATIENCE) as env:
        begun = env.reset(seed=SEED)
        played = [(begun[0], 0.0, False, False, begun[1]), *(env.step(1) for _ in range(steps))]
    return played


def assert_same(one: Any, other: Any) -> None:
    """Check that two steps are equal, types of rewards included."""
    for left, right in zip(one, other, strict=True):
        np.testing.assert_equal(left, right)
    assert type(one[1]) is type(other[1])


@pytest.mark.parametrize(
    ("kind", "protocol", "environment"),
    [("tcp", "int32", "CartPole-v1"), ("tcp", "netstring", "CartPole-v1"), ("ws", "int32", "Acrobot-v1")],
)
def test_another_process_goes_on(server: ServerProcess, kind: str, protocol: str, environment: str) -> None:
    """With what the last step returned, and the same steps as if nothing had happened."""
    expected = trajectory(server, environment, 9)
    token = lost(address(server, kind), environment, protocol)
    with gymtwist.resume(address(server, kind), token, timeout=PATIENCE) as env:
        assert env.resumed is not None
        assert_same(env.resumed, expected[BEFORE])
        for wanted in expected[BEFORE + 1 :]:
            assert_same(env.step(1), wanted)
        assert env.resume_token == token
    with pytest.raises(gymtwist.RequestRefused, match="no session waits") as caught:
        gymtwist.resume(address(server, kind), token, timeout=PATIENCE)
    assert caught.value.code == "unknown-session"


def test_an_event_loop_goes_on(server: ServerProcess) -> None:
    """It can also be left there on purpose, again and again."""
    expected = trajectory(server, steps=9)
    token = lost(address(server))

    async def play() -> None:
        env = await aio.resume(address(server), token, timeout=PATIENCE)
        assert env.resumed is not None
        assert_same(env.resumed, expected[BEFORE])
        assert_same(await env.step(1), expected[BEFORE + 1])
        assert await env.detach() == token
        with pytest.raises(gymtwist.Closed, match="detached"):
            await env.step(1)
        async with aio.resume(address(server), token, timeout=PATIENCE) as env:
            assert env.resumed is not None
            assert_same(env.resumed, expected[BEFORE + 1])
            for wanted in expected[BEFORE + 2 :]:
                assert_same(await env.step(1), wanted)

    asyncio.run(play())


def test_an_environment_that_was_detached(server: ServerProcess) -> None:
    """Its session waits; nothing has happened in it yet, or only a reset."""
    first = gymtwist.connect(address(server), "CartPole-v1", timeout=PATIENCE, resume=60, shared_memory=False)
    token = first.detach()
    with pytest.raises(gymtwist.Closed, match="detached"):
        first.reset()
    second = gymtwist.resume(address(server), token, timeout=PATIENCE, shared_memory=False)
    assert second.resumed is None
    observation, info = second.reset(seed=SEED)
    second.detach()
    with gymtwist.resume(address(server), token, timeout=PATIENCE) as third:
        assert third.resumed is not None
        assert_same(third.resumed, (observation, 0.0, False, False, info))
        assert third.spec is not None
        assert third.spec.id == "CartPole-v1"


def test_more_than_the_server_keeps(server: ServerProcess) -> None:
    """The token is good for the whole session, however much came after it."""
    expected = trajectory(server, "ALE/Pong-v5", 20)
    token = lost(address(server), "ALE/Pong-v5", steps=15)
    with gymtwist.resume(address(server), token, timeout=PATIENCE) as env:
        assert env.resumed is not None
        assert_same(env.resumed, expected[15])
        for wanted in expected[16:]:
            assert_same(env.step(1), wanted)


@pytest.mark.parametrize("kind", UNCLOSED)
def test_a_program_that_is_interrupted(server: ServerProcess, kind: str) -> None:
    """Its session waits for whoever has the token."""
    expected = trajectory(server, steps=2)
    command = [sys.executable, "-c", UNCLOSED[kind], address(server)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "KeyboardInterrupt" in ended.stderr
    with gymtwist.resume(address(server), ended.stdout.strip(), timeout=PATIENCE) as env:
        assert env.resumed is not None
        assert_same(env.resumed, expected[1])
        assert_same(env.step(1), expected[2])


def test_a_session_that_another_program_has_taken_over(server: ServerProcess) -> None:
    """Whoever had it before is told so, and does not take it back."""
    before = gymtwist.connect(address(server), "CartPole-v1", timeout=PATIENCE, resume=60, shared_memory=False)
    before.reset(seed=SEED)
    with gymtwist.resume(address(server), before.resume_token, timeout=PATIENCE, shared_memory=False) as env:
        env.step(1)
        with pytest.raises(gymtwist.ConnectionLost, match="another client has gone on with this session"):
            before.step(1)
        env.step(1)


def test_what_is_no_token(server: ServerProcess) -> None:
    """The error says where to get one."""
    for text in ("", "none", "é", "x" * 4_000, "eJwDAAAAAAE="):
        with pytest.raises(ValueError, match=r"the resume token is invalid: expected the text of env\.resume_token"):
            gymtwist.resume(address(server), text)
    with (
        gymtwist.connect(address(server), "CartPole-v1", timeout=PATIENCE) as env,
        pytest.raises(gymtwist.RequestRefused, match="connect with resume=SECONDS"),
    ):
        env.detach()
