"""What a client chooses of an environment, and vector environments: what is made, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, cast, get_args

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvCreator, VectorEnvCreator
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from gymtwist.envs import vector_environments
from gymtwist.errors import EnvironmentFault, InvalidField, UnknownEnvironment, UnknownKwarg
from gymtwist.protocol import make_messages
from tests.support.environment_making import make
from tests.support.faulty_environments import Constructing
from tests.support.plain_environment import Plain


def make_vec(environment: str, mode: str | None = None, **fields: Any) -> VectorEnv[Any, Any, Any]:
    """Make two environments."""
    made: VectorEnv[Any, Any, Any] = make(environment, num_envs=2, vectorization_mode=mode, **fields)
    return made


def fail() -> None:
    """Raise."""
    raise ValueError("no")


class Untold(Plain):
    """Takes any keyword argument, and keeps to itself what it makes of them."""

    metadata: dict[str, Any] = {}

    def __init__(self, **kwargs: Any) -> None:
        """Keep them."""
        super().__init__()
        self.kwargs = kwargs


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Register environments for this module."""
    made: dict[str, Any] = {"Vectors/Fails-v0": partial(Constructing, fail), "Vectors/Untold-v0": Untold}
    for name, entry_point in made.items():
        gymnasium.register(name, entry_point=entry_point)
    yield
    for name in made:
        del gymnasium.registry[name]


def test_choices_reach_the_constructor() -> None:
    """The keyword arguments, the render mode and the limit of the steps."""
    made = make("Pendulum-v1", kwargs={"g": 1.5}, render_mode="rgb_array", max_episode_steps=7)
    assert (made.unwrapped.g, made.render_mode, made.spec.max_episode_steps) == (1.5, "rgb_array", 7)


def test_without_a_choice_nothing_is_rendered() -> None:
    """But a client of the classic protocol, who cannot choose, gets the mode that it can see."""
    assert make("CartPole-v1", render_mode=None).render_mode is None
    assert make("CartPole-v1").render_mode == "rgb_array"


@pytest.mark.parametrize("environment", ["CartPole-v1", "gym:CartPole-v1"])
def test_a_limit_of_the_steps(environment: str) -> None:
    """Can be set, and taken away."""
    made = make(environment, max_episode_steps=2)
    made.reset(seed=1)
    assert [made.step(0)[3] for _ in range(2)] == [False, True]
    made = make("gym:MountainCar-v0", max_episode_steps=-1)
    made.reset(seed=1)
    assert not any(made.step(1)[3] for _ in range(300))


@pytest.mark.parametrize(
    ("environment_options", "words"),
    [
        ({"kwargs": {"gravity": 1}}, 'CartPole-v1 takes no kwarg "gravity"; it takes: sutton_barto_reward'),
        ({"kwargs": {"disable_env_checker": False}}, "the server chooses it"),
        ({"kwargs": {"max_episode_steps": 3}}, "send it beside kwargs"),
        ({"render_mode": "ansi"}, 'CartPole-v1 has no render mode "ansi"; it has: human, rgb_array'),
        ({"max_episode_steps": 0}, "send an integer from 1, or -1 for never"),
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_choices_that_cannot_be_had(environment_options: dict[str, Any], words: str, several: bool) -> None:
    """Are refused before anything is made; the message has what can."""
    with pytest.raises((InvalidField, UnknownKwarg)) as caught:
        make_vec("CartPole-v1", "sync", **environment_options) if several else make(
            "CartPole-v1", **environment_options
        )
    assert words in str(caught.value)


@pytest.mark.parametrize("mode", ["rgb_array_list", "human"])
def test_a_render_mode_that_gymnasium_makes(mode: str) -> None:
    """Of one that the environment has is one as well."""
    assert make("CartPole-v1", render_mode=mode).render_mode == mode


def test_an_environment_that_takes_anything() -> None:
    """Is given anything; what it cannot make of it is its own affair."""
    made: Any = make("Vectors/Untold-v0", kwargs={"a": [1]}, render_mode="odd")
    assert made.unwrapped.kwargs == {"a": [1], "render_mode": "odd"}


@pytest.mark.parametrize(
    ("environment", "mode", "kind"),
    [
        ("Pendulum-v1", None, "SyncVectorEnv"),
        ("Pendulum-v1", "async", "AsyncVectorEnv"),
        ("CartPole-v1", None, "CartPoleVectorEnv"),
        ("CartPole-v1", "vector_entry_point", "CartPoleVectorEnv"),
        ("CartPole-v1", "sync", "SyncVectorEnv"),
        ("gym:CartPole-v1", None, "SyncVectorEnv"),
    ],
)
def test_how_environments_are_vectorized(environment: str, mode: str | None, kind: str) -> None:
    """As Gymnasium's make_vec does; Gym's, too."""
    made = make_vec(environment, mode)
    try:
        assert type(made.unwrapped).__name__ == kind
        assert made.num_envs == 2
        assert vector_environments.autoreset_mode(made) == "next_step"
        assert vector_environments.takes_seed_list(made) is isinstance(made.unwrapped, (SyncVectorEnv, AsyncVectorEnv))
        assert vector_environments.takes_mask(made) is vector_environments.takes_seed_list(made)
    finally:
        made.close()


@pytest.mark.parametrize("mode", get_args(make_messages.AutoresetMode))
def test_autoreset_modes(mode: str) -> None:
    """Are Gymnasium's, under names for messages."""
    made = make_vec("Pendulum-v1", autoreset_mode=mode)
    assert made.metadata["autoreset_mode"] is AutoresetMode[mode.upper()]
    assert vector_environments.autoreset_mode(made) == mode


@pytest.mark.parametrize(
    ("environment", "fields", "words"),
    [
        ("Pendulum-v1", {"mode": "vector_entry_point"}, "Pendulum-v1 has no vector entry point"),
        ("CartPole-v1", {"autoreset_mode": "disabled"}, 'supports only the autoreset_mode "next_step"'),
        ("CartPole-v1", {"max_episode_steps": -1}, "takes no such max_episode_steps"),
        ("CartPole-v1", {"kwargs": {"gravity": 1}}, "the vector environment of CartPole-v1 takes no kwarg"),
    ],
)
def test_vector_environments_that_cannot_be_had(environment: str, fields: dict[str, Any], words: str) -> None:
    """Are refused; the message says what to ask for."""
    with pytest.raises((InvalidField, UnknownKwarg)) as caught:
        make_vec(environment, **fields)
    assert words in str(caught.value)


def test_a_vector_environment_of_another_autoreset_mode_is_closed() -> None:
    """When it is refused: it may hold anything."""
    closed: list[int] = []

    class Own(VectorEnv[Any, Any, Any]):
        metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

        def __init__(self, num_envs: int) -> None:
            self.num_envs = num_envs

        def close_extras(self, **kwargs: Any) -> None:
            closed.append(self.num_envs)

    gymnasium.register(
        "Vectors/Own-v0", entry_point=cast(EnvCreator, Plain), vector_entry_point=cast(VectorEnvCreator, Own)
    )
    try:
        with pytest.raises(InvalidField, match='supports only the autoreset_mode "next_step"'):
            make_vec("Vectors/Own-v0", autoreset_mode="same_step")
    finally:
        del gymnasium.registry["Vectors/Own-v0"]
    assert closed == [2]


def test_ale_py_takes_an_array_of_seeds() -> None:
    """And says so; CartPole's own vector environment takes one seed."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    assert vector_environments.takes_seed_array(make_vec("ALE/Pong-v5"))
    assert not vector_environments.takes_seed_array(make_vec("CartPole-v1"))


def test_the_autoreset_mode_of_ale_py_is_its_own() -> None:
    """It writes the mode into the metadata that all vector environments inherit, so the next one would have it, too."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    made = make_vec("ALE/Pong-v5", autoreset_mode="same_step")
    made.close()
    assert vector_environments.autoreset_mode(made) == "same_step"
    assert "autoreset_mode" not in VectorEnv.metadata


def test_final_observations_of_ale_py_have_a_mask() -> None:
    """It returns a row for every game whenever one is over; here a running game has None, as in Gymnasium."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    made = make_vec("ALE/Pong-v5", autoreset_mode="same_step", kwargs={"max_num_frames_per_episode": 40})
    step, actions = vector_environments.mask_final_observations(made, made.step), np.zeros(2, np.int64)
    made.reset(seed=1)
    for _ in range(3):
        assert not [key for key in step(actions)[4] if "final" in key]
    made.reset(options={"reset_mask": np.array([False, True])})
    seen, over = [], np.zeros(2, np.bool_)
    while not over.any():
        observations, _, terminated, truncated, info = step(actions)
        seen.append(observations.copy())
        over = terminated | truncated
    assert over.tolist() == info["_final_obs"].tolist() == [True, False]
    first, other = info["final_obs"]
    assert (first.shape, first.dtype, other) == (observations[0].shape, np.uint8, None)
    # The newest of the four frames moves up by one.
    assert np.array_equal(first[:3], seen[-2][0][1:])
    made.close()


@pytest.mark.parametrize("mode", [None, "sync"])
def test_a_constructor_that_raises(mode: str | None) -> None:
    """Is the environment's fault."""
    with pytest.raises(EnvironmentFault, match="the environment raised ValueError in make: no"):
        make_vec("Vectors/Fails-v0", mode)


def test_an_unknown_environment() -> None:
    """Is unknown of several, too."""
    with pytest.raises(UnknownEnvironment, match="did you mean"):
        make_vec("CartPole-v9")
