"""Failures that end an episode instead of raising an error, among them the restart of the server."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gymtwist.client import (
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    InvalidAction,
    ProtocolBroken,
    RequestRefused,
    ResetNeeded,
    connect,
    connect_vec,
)
from gymtwist.client.address import parse
from gymtwist.client.truncating_env import TruncatingEnv
from tests.support.client_equivalence import SETUP, Remote, assert_same, local
from tests.support.patience import PATIENCE
from tests.support.scripted_server import Script, begun, error, made
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 77


def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """Learning goes on; the episodes of the moment are truncated, and those who did not choose it get an error."""
    address = f"unix:{tmp_path / 'socket'}"
    options: dict[str, Any] = {"connect_timeout": PATIENCE, "timeout": PATIENCE, "on_failure": "truncate"}

    def serve() -> ServerProcess:
        return ServerProcess(tmp_path, port=address, setup=SETUP)

    with contextlib.ExitStack() as servers, contextlib.ExitStack() as stack:
        server = servers.enter_context(serve())
        env = stack.enter_context(connect(address, "CartPole-v1", **options))
        idle = stack.enter_context(connect(address, "CartPole-v1", **options))
        several = stack.enter_context(connect_vec(address, "CartPole-v1", 2, processes=2, **options))
        usual = stack.enter_context(connect(address, "CartPole-v1", connect_timeout=PATIENCE))
        idle.reset()
        usual.reset()
        several.reset()
        errors, over, step = list[str](), True, 0
        for step in range(60):
            if over:
                observation, info = env.reset(seed=step)
                if step:
                    assert_same((observation, info), local("CartPole-v1").reset(seed=step))
            if step == 30:
                server.process.kill()
                server.process.wait(PATIENCE)
                server = servers.enter_context(serve())
            before = observation
            observation, reward, terminated, truncated, info = env.step(step % 2)
            over = terminated or truncated
            if "error" in info:
                assert (truncated, terminated, float(reward)) == (True, False, 0.0)
                assert_same(observation, before)
                errors.append(info["error"])
                with pytest.raises(ResetNeeded):
                    env.step(0)
        (only,) = errors
        assert only.startswith(f"the connection to {address} has ended")
        assert len(idle.reset()[0]) == 4
        assert not idle.step(1)[3]
        truncated, infos = several.step(np.array([0, 1]))[3:]
        assert truncated.all()
        assert all("has ended" in each for each in infos["error"])
        assert not several.step(np.array([0, 1]))[3].any()
        with pytest.raises(ConnectionLost):
            usual.step(0)
        with pytest.raises(ConnectionLost, match="connect again"):
            usual.reset()


@pytest.mark.parametrize("fault", ["RaiseInStep", "SegfaultInStep"])
def test_a_failure_of_the_environment_ends_its_episode(remote: Remote, protocol: str, fault: str) -> None:
    """Also behind Gymnasium's wrappers, and for steps that are sent ahead."""
    theirs = remote(f"Fault/{fault}-v0", protocol=protocol, on_failure="truncate")
    assert isinstance(theirs, TruncatingEnv)
    wrapped: Any = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.wrappers.OrderEnforcing(theirs))
    for _ in range(2):
        first, _ = wrapped.reset(seed=SEED)
        observation, reward, terminated, truncated, info = wrapped.step(0)
        assert_same(observation, first)
        assert (reward, terminated, truncated, info["episode"]["l"]) == (0.0, False, True, 1)
        assert "step" in info["error"]
        with pytest.raises(ResetNeeded, match="has ended with a failure"):
            wrapped.step(0)
    theirs.reset()
    for _ in range(3):
        theirs.send(0)
    assert theirs.recv()[3]
    with pytest.raises(ResetNeeded):
        theirs.recv()
    theirs.reset()
    assert theirs.step(0)[3]


@pytest.mark.parametrize("look", ["render", "look"])
def test_a_failure_between_two_steps_ends_the_episode(remote: Remote, look: str) -> None:
    """The request raises the error, and the next step returns it, once."""
    env = remote("Unseen-v0", render_mode="rgb_array", on_failure="truncate")
    for _ in range(2):
        env.reset()
        env.step(0)
        with pytest.raises(EnvironmentFailed, match="exited with status 0"):
            getattr(env.unwrapped, look)()
        observation, _, _, truncated, info = env.step(0)
        assert (observation.tolist(), truncated) == ([1], True)
        assert "exited with status 0" in info["error"]
        with pytest.raises(ResetNeeded):
            env.step(0)


def test_what_is_no_failure_is_an_error(remote: Remote) -> None:
    """As without the option."""
    theirs = remote("CartPole-v1", on_failure="truncate")
    with pytest.raises(ResetNeeded):
        theirs.step(0)
    theirs.reset(seed=SEED)
    with pytest.raises(InvalidAction):
        theirs.step(5)
    with pytest.raises(RequestRefused, match="for single steps"):
        theirs.step_many([0, 1])
    ours = local("CartPole-v1")
    ours.reset(seed=SEED)
    assert_same(theirs.step(1), ours.step(1))
    assert type(pickle.loads(pickle.dumps(theirs))) is TruncatingEnv
    assert theirs.spec is not None
    with theirs.spec.make() as other:
        assert isinstance(other.unwrapped, TruncatingEnv)
    theirs.close()
    for use in (theirs.reset, lambda: theirs.step(0)):
        with pytest.raises(Closed):
            use()
    with pytest.raises(ValueError, match='expected "raise" or "truncate"'):
        remote("CartPole-v1", on_failure="ignore")


def test_a_step_that_does_not_come_in_time(remote: Remote) -> None:
    """Its episode is truncated, and the next one has a session of its own."""
    theirs = remote("Fault/SlowStep-v0", timeout=1.0, on_failure="truncate")
    for _ in range(2):
        theirs.reset()
        assert "no answer" in theirs.step(0)[4]["error"]


def test_an_error_before_a_step_is_sent(scripted: Script) -> None:
    """It is that of the step, also if its reply is received later."""
    server = scripted(made(), begun(2) + error("server"))
    with connect(server.port, "Scripted-v0", on_failure="truncate", connect_timeout=0.01, timeout=PATIENCE) as theirs:
        theirs.reset()
        theirs.send(1)
        assert theirs.recv() == (2, 0.0, False, True, {"error": "what to do"})
        server.end()
        with pytest.raises(ConnectionLost, match="no connection to"):
            theirs.reset()


def test_a_server_with_other_spaces(scripted: Script) -> None:
    """What is there now is not the same environment: the observations would be of other shapes."""
    server, other = scripted(made(), begun()), scripted(made(action_space={"kind": "Discrete", "n": 3}))
    with connect(server.port, "Scripted-v0", on_failure="truncate", timeout=PATIENCE) as theirs:
        theirs.reset()
        assert theirs.step(0)[3]
        theirs._options = dataclasses.replace(theirs._options, address=parse(other.port))
        with pytest.raises(ProtocolBroken, match="has other spaces than before"):
            theirs.reset()
