"""With --seed, a session plays exactly what Gymnasium plays in this process."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from gymtwist.client import connect
from gymtwist_conformance.reference_client.classic_client import RESET, step
from tests.support.client_equivalence import assert_same
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess
from tests.support.shared_memory_env import WAYS, by

SEED = 1234
OPTIONS = ("--seed", str(SEED))


def same(served: Any, local: Any) -> bool:
    """Return whether an observation is the same to the last bit (JSON keeps a float32 as it is)."""
    if local.dtype == np.uint8:
        return isinstance(served, np.ndarray) and served.shape == local.shape and np.array_equal(served, local)
    return np.array_equal(np.array(served, local.dtype), local)


def pong() -> gymnasium.Env[Any, Any]:
    """Return Pong, where it is installed."""
    ale_py = pytest.importorskip("ale_py")
    gymnasium.register_envs(ale_py)
    return gymnasium.make("ALE/Pong-v5")


def test_pong_reports_its_dimensions_and_info(server: ServerProcess) -> None:
    """A frame is 210 x 160 x 3, and info has the emulator's numbers."""
    pong().close()
    with server.open("ALE/Pong-v5") as client:
        assert client.space(1)["shape"] == [210, 160, 3]
        frame = client.reset()
        assert (frame.shape, frame.dtype) == ((210, 160, 3), np.uint8)
        assert client.step(0).info["lives"] == 0


def test_pipelined_frames_are_the_same_frames(server: ServerProcess) -> None:
    """Sending ahead changes nothing of what is played."""
    local = pong()
    with server.open("ALE/Pong-v5") as client:
        client.send(RESET + b"".join(step(index % 6) for index in range(100)))
        assert same(client.read_observation(), local.reset(seed=SEED)[0])
        for index in range(100):
            assert same(client.read_step().observation, local.step(index % 6)[0])


def test_two_sessions_sample_the_same_actions(server: ServerProcess) -> None:
    """The seed reaches the action space too."""
    with server.open("CartPole-v1") as one, server.open("CartPole-v1") as other:
        assert [one.sample() for _ in range(32)] == [other.sample() for _ in range(32)]


def test_an_old_gym_environment_is_seeded_in_its_own_way(server: ServerProcess) -> None:
    """What has seed() and a reset() without arguments gets its seed by seed()."""
    with server.open("OldGym-v0") as client:
        assert client.reset() == [float(SEED), 0.0]


def test_a_gym_environment_is_seeded(server: ServerProcess) -> None:
    """Gym 0.26 takes the seed in reset, once."""
    with server.open("gym:NewGym-v0") as client:
        assert client.reset() == [float(SEED)]


def test_an_old_gym_environment_is_played(server: ServerProcess) -> None:
    """Four results become the protocol's four, and the limit of its length ends the episode."""
    with server.open("OldGym-v0") as client:
        for _ in range(2):
            client.reset()
            replies = [client.step(2) for _ in range(5)]
            assert [reply.observation[1] for reply in replies] == [1.0, 2.0, 3.0, 4.0, 5.0]
            assert [reply.reward for reply in replies] == [2.0] * 5
            assert [reply.done for reply in replies] == [False] * 4 + [True]
            assert replies[0].info["old"] is True


def test_a_gym_environment_is_truncated(server: ServerProcess) -> None:
    """Truncation in Gym is done, too."""
    with server.open("NewGym-v0") as client:
        client.reset()
        assert not client.step(1).done
        assert client.step(2).done


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", ["int32", "netstring"])
@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_the_python_client_plays_the_same_by_every_way(
    server: ServerProcess, environment: str, protocol: Any, way: str
) -> None:
    """Through its socket and through shared memory, seeded by the operator as in this process."""
    local = gymnasium.make(environment)
    local.action_space.seed(SEED)
    actions = [local.action_space.sample() for _ in range(300)]
    shared = way != "socket"
    with connect(server.port, environment, protocol=protocol, shared_memory=shared, timeout=PATIENCE) as client:
        by(way, client)
        assert_same(client.reset()[0], local.reset(seed=SEED)[0])
        for action in actions:
            served, expected = client.step(action), local.step(action)
            assert_same(served[0], expected[0])
            assert served[1:4] == (float(expected[1]), expected[2], expected[3])
            if expected[2] or expected[3]:
                assert_same(client.reset()[0], local.reset()[0])
