"""Rewards that are arrays reach the clients that take them, in both encodings; other clients get an error."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from gymtwist.client import EnvironmentFailed, RequestRefused
from gymtwist_conformance.reference_client import Failed, FramedClient
from gymtwist_conformance.reference_client.classic_client import RESET, ClassicClient, handshake, step
from tests.support.client_equivalence import Remote, RemoteVec, assert_same
from tests.support.server_process import ServerProcess, connected
from tests.support.unusual_environments import Objectives

pytest_plugins = ("tests.support.client_fixtures",)

NAME = "Objectives-v0"
SPACE = Objectives().reward_space


@pytest.mark.parametrize("form", ["array", "list", "number"])
def test_one_environment(remote: Remote, protocol: str, form: str) -> None:
    """The reward is what the environment returned: an array of the space, or a number where a wrapper makes one."""
    env = remote(NAME, protocol=protocol, kwargs={"form": form})
    assert env.reward_space == SPACE
    env.reset()
    expected = [np.array([count, -1], np.float32) for count in (1, 2, 3, 4)]
    rewards: Any = [float(each.sum()) for each in expected] if form == "number" else expected
    assert_same(env.step(0)[1], rewards[0])
    assert_same(env.step(0)[1], rewards[1])
    steps = env.step_many([0] * 9)
    assert (steps.terminated, steps.rewards.tolist()) == (True, np.array(rewards[2:]).tolist())


def test_another_dtype(remote: Remote) -> None:
    """An array of float64 in a space of float32 keeps its precision."""
    env = remote(NAME, kwargs={"form": "double"})
    env.reset()
    assert_same(env.step(0)[1], np.array([1.1, -0.9]))


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_environments_that_step_together(
    remote_vec: RemoteVec, protocol: str, processes: int, mode: AutoresetMode
) -> None:
    """Each has its array in every step, zeros at an autoreset; the space is that of one, as MO-Gymnasium has it."""
    envs = remote_vec(NAME, 3, protocol=protocol, processes=processes, autoreset_mode=mode)
    assert envs.reward_space == SPACE
    envs.reset()
    length = 5 if mode is AutoresetMode.NEXT_STEP else 4
    counts = [each % length for each in range(1, 10)]
    each_step = np.array(
        [
            np.broadcast_to([count, -1.0 if count else 0.0] if length == 5 else [count or 4, -1.0], (3, 2))
            for count in counts
        ]
    )
    for expected in each_step:
        assert_same(envs.step(np.zeros(3, int))[1], expected.astype(np.float32))
    envs.reset()
    assert np.array_equal(envs.step_many(np.zeros(3, int), 9).rewards, each_step)


def test_a_reward_of_another_shape(remote: Remote) -> None:
    """It is the environment's fault, with both shapes."""
    env = remote(NAME, kwargs={"form": "longer"})
    env.reset()
    with pytest.raises(
        EnvironmentFailed, match=r"an array of shape \[3\] as the reward from step; its reward_space .* \[2\]"
    ):
        env.step(0)


def test_without_a_reward_space(remote: Remote) -> None:
    """Such an environment does not follow Gymnasium's interface, whatever the client takes."""
    env = remote(NAME, kwargs={"declared": False})
    assert not hasattr(env, "reward_space")
    env.reset()
    with pytest.raises(
        EnvironmentFailed, match=r"an array of shape \[2\] as the reward from step; Gymnasium expects a number"
    ):
        env.step(0)


def test_asynchronous_environments(remote_vec: RemoteVec) -> None:
    """Gymnasium's processes exchange only numbers: they are not made, and the error has the remedy."""
    with pytest.raises(RequestRefused, match='"async": rewards of the environment are arrays') as caught:
        remote_vec(NAME, 2, vectorization_mode="async")
    assert caught.value.code == "invalid-field"
    assert str(caught.value).endswith('ask for the vectorization_mode "sync"')
    envs = remote_vec(NAME, 2, vectorization_mode="async", kwargs={"declared": False})
    envs.reset()
    with pytest.raises(EnvironmentFailed, match="environment 0: the environment returned an array of shape") as failed:
        envs.step(np.zeros(2, int))
    assert failed.value.environments == (0,)


def test_wrappers_of_vector_environments(remote_vec: RemoteVec) -> None:
    """Gymnasium's take only numbers as well; the error has the remedy."""
    with pytest.raises(RequestRefused, match=r'vector_wrappers\[0\] "ClipReward": rewards .* ask for `wrappers`'):
        remote_vec(NAME, 2, vector_wrappers=[{"name": "ClipReward", "kwargs": {"max_reward": 1.0}}])


def test_a_client_that_takes_numbers(served: ServerProcess) -> None:
    """It is told what to send instead; so is the log of a client that cannot be told."""
    with FramedClient(connected(("127.0.0.1", served.port)), "netstring") as client:
        client.make(NAME)
        client.reset()
        with pytest.raises(Failed, match=r"a number .*vector_rewards") as caught:
            client.step(0)
        assert (caught.value.code, caught.value.reset_needed) == ("environment-fault", True)
        client.reset()
    with ClassicClient(connected(("127.0.0.1", served.port))) as classic:
        classic.send(handshake(NAME))
        classic.read_error()
        classic.send(RESET + step(0))
        classic.wait_closed()


def test_the_local_environment() -> None:
    """Gymnasium itself takes such an environment, and its own vector environment does not."""
    env = gymnasium.make(NAME, disable_env_checker=True)
    env.reset()
    assert_same(env.step(0)[1], np.array([1, -1], np.float32))
