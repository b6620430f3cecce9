"""Wrappers that a client asks for: checked, and never larger than what a session may have."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import VectorObservationWrapper, VectorWrapper
from gymnasium.wrappers import vector

from gymtwist.envs import environment_plan, environment_wrappers, registry
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.errors import InvalidField
from gymtwist.protocol.make_messages import Wrapper
from gymtwist.worker.access_policy import GYMNASIUM_VECTOR_WRAPPERS, GYMNASIUM_WRAPPERS
from tests.support.plain_environment import Plain
from tests.support.served_session import named


class Pictures(Plain):
    """Observes pictures."""

    observation_space = spaces.Box(0, 255, (21, 16, 3), np.uint8)

    def reset(self, **arguments: Any) -> Any:
        """Return a black one."""
        return np.zeros((21, 16, 3), np.uint8), {}


def make(environment: str, *wrappers: tuple[str, dict[str, Any]], **options: Any) -> Any:
    """Make an environment in wrappers."""
    checked = environment_wrappers.checked([Wrapper(*each) for each in wrappers])
    return environment_plan.plan(registry.find(environment), EnvironmentOptions(**options), wrappers=checked).make()


def test_wrappers_are_put_around_one_another() -> None:
    """The first is the innermost."""
    made = make("CartPole-v1", ("FrameStackObservation", {"stack_size": 3}), ("FlattenObservation", {}))
    assert made.observation_space.shape == (12,)
    assert made.reset(seed=1)[0].shape == (12,)


@pytest.mark.parametrize("mode", [None, "sync", "async"])
def test_each_environment_of_a_vector_is_wrapped(mode: str | None) -> None:
    """By default they are stepped one after the other, though CartPole has a vector environment of its own."""
    made = make("CartPole-v1", ("FrameStackObservation", {"stack_size": 3}), num_envs=2, vectorization_mode=mode)
    assert made.single_observation_space.shape == (3, 4)
    assert made.reset(seed=1)[0].shape == (2, 3, 4)
    made.close()


def test_an_environment_of_gym_is_wrapped() -> None:
    """As one of Gymnasium's is, and a limit of steps is known."""
    made = make("gym:CartPole-v1", ("TimeLimit", {"max_episode_steps": 3}))
    assert environment_plan.step_limit(made) == 3


@pytest.mark.parametrize(
    ("wrapper", "kwargs", "shape"),
    [
        ("ReshapeObservation", {"shape": [2.0, 2.0]}, (2, 2)),
        ("FrameStackObservation", {"stack_size": 2.0}, (2, 4)),
        ("DtypeObservation", {"dtype": "float64"}, (4,)),
        ("RescaleObservation", {"min_obs": 0, "max_obs": np.ones(4, np.float32)}, (4,)),
    ],
)
def test_arguments_have_the_forms_of_messages(wrapper: str, kwargs: dict[str, Any], shape: tuple[int, ...]) -> None:
    """A list stands for a tuple, a whole float for an integer, and a name for a dtype."""
    assert make(named(partial(Bounded)), (wrapper, kwargs)).observation_space.shape == shape


class Bounded(Plain):
    """Observes four numbers."""

    observation_space = spaces.Box(-1, 1, (4,), np.float32)


@pytest.mark.parametrize(
    ("wrapper", "kwargs", "problem"),
    [
        ("FrameStackObservation", {}, 'needs the kwarg "stack_size"'),
        ("FrameStackObservation", {"stack_size": 4, "n": 1}, 'takes no kwarg "n"; it takes: stack_size, padding_type'),
        ("FrameStackObservation", {"stack_size": 4, "env": 1}, 'takes no kwarg "env"'),
        ("FrameStackObservation", {"stack_size": "4"}, 'stack_size is "4": send an integer'),
        ("FrameStackObservation", {"stack_size": np.array(4)}, "send an integer"),
        ("FrameStackObservation", {"stack_size": -4}, "cannot wrap this environment .*greater than zero"),
        ("DtypeObservation", {"dtype": "S1000000"}, 'the name of a dtype of numbers, such as "float32"'),
        ("DtypeObservation", {"dtype": [["a", "f8"]]}, 'the name of a dtype of numbers, such as "float32"'),
        ("RescaleObservation", {"min_obs": [[0], 1], "max_obs": 1}, "cannot wrap this environment"),
        ("GrayscaleObservation", {}, "cannot wrap this environment .*requires an image"),
        ("AddRenderObservation", {}, "cannot wrap this environment .*render_mode"),
        (
            "no_such_module:Wrapper",
            {},
            "ModuleNotFoundError.*; install what is missing on the server",
        ),
        ("gymnasium.wrappers:NoSuchWrapper", {}, "cannot be imported: AttributeError"),
    ],
)
def test_a_wrapper_that_cannot_be_had(wrapper: str, kwargs: dict[str, Any], problem: str) -> None:
    """The error names it, its place and the argument."""
    with pytest.raises(InvalidField, match=rf'wrappers\[1\] "{wrapper}".*{problem}'):
        make("CartPole-v1", ("FlattenObservation", {}), (wrapper, kwargs))


def test_a_vector_environment_of_its_own_has_no_single_ones_to_wrap() -> None:
    """The error says what to ask for."""
    with pytest.raises(InvalidField, match=r'wrappers\[0\] "FlattenObs.*vectorization_mode "sync" or "async"'):
        make("CartPole-v1", ("FlattenObservation", {}), num_envs=2, vectorization_mode="vector_entry_point")


LARGE = 10**9


@pytest.mark.parametrize(
    "wrappers",
    [
        [("FrameStackObservation", {"stack_size": LARGE})],
        [("DelayObservation", {"delay": LARGE})],
        [("ResizeObservation", {"shape": [LARGE, LARGE]})],
        [("DiscretizeObservation", {"bins": LARGE})],
        [("DiscretizeObservation", {"bins": [LARGE] * (21 * 16 * 3)})],
        [("FrameStackObservation", {"stack_size": 300}), ("FrameStackObservation", {"stack_size": 900})],
        *(
            [("FrameStackObservation", {"stack_size": 250}), ("FrameStackObservation", {"stack_size": 90}), wider]
            for wider in [("DtypeObservation", {"dtype": "float64"}), ("NormalizeObservation", {})]
        ),
    ],
)
def test_nothing_is_allocated_that_a_session_may_not_have(wrappers: list[tuple[str, dict[str, Any]]]) -> None:
    """A gigabyte would be."""
    last = len(wrappers) - 1
    with pytest.raises(InvalidField, match=rf"wrappers\[{last}\] .* bytes for 1 environment"):
        make(named(partial(Pictures)), *wrappers)


def test_the_bytes_are_those_of_all_environments() -> None:
    """One of them would be small enough."""
    wrapper = ("FrameStackObservation", {"stack_size": 900})
    assert make(named(partial(Pictures)), wrapper).observation_space.shape == (900, 21, 16, 3)
    with pytest.raises(InvalidField, match="bytes for 200 environment"):
        make(named(partial(Pictures)), wrapper, num_envs=200)


def test_a_flat_observation_may_be_larger_than_what_it_is_made_of() -> None:
    """One number for each element of a Discrete space."""
    bins = ("DiscretizeObservation", {"bins": 100_000})
    assert make("MountainCar-v0", bins).observation_space == spaces.Discrete(10**10)
    for wrapper in ("FlattenObservation", "TimeAwareObservation"):
        with pytest.raises(InvalidField, match=rf"{wrapper}.* bytes"):
            make("MountainCar-v0", bins, (wrapper, {}))


def test_an_environment_that_cannot_be_wrapped_is_closed() -> None:
    """A client may try again and again."""
    closed: list[bool] = []

    class Closing(Plain):
        def close(self) -> None:
            closed.append(True)

    with pytest.raises(InvalidField):
        make(named(Closing), ("GrayscaleObservation", {}))
    assert closed == [True]


@pytest.mark.parametrize("name", sorted(GYMNASIUM_WRAPPERS))
def test_gymnasium_has_the_wrappers_that_are_allowed(name: str) -> None:
    """And each of them can be looked into, so that its arguments are checked."""
    (checked,) = environment_wrappers.checked([Wrapper(name, _NEEDED.get(name, {}))])
    assert checked.creator is getattr(gymnasium.wrappers, name)


_NEEDED: dict[str, dict[str, Any]] = {
    "AddWhiteNoise": {"probability_of_noise_per_pixel": 0.5},
    "DelayObservation": {"delay": 1},
    "DiscretizeAction": {"bins": 2},
    "DiscretizeObservation": {"bins": 2},
    "DtypeObservation": {"dtype": "float32"},
    "FilterObservation": {"filter_keys": ["a"]},
    "FrameStackObservation": {"stack_size": 2},
    "ObstructView": {"obstructed_pixels_ratio": 0.5, "obstruction_width": 2},
    "RepeatAction": {"num_repeats": 2},
    "RescaleAction": {"min_action": 0, "max_action": 1},
    "RescaleObservation": {"min_obs": 0, "max_obs": 1},
    "ReshapeObservation": {"shape": [4]},
    "ResizeObservation": {"shape": [4, 4]},
    "StickyAction": {"repeat_action_probability": 0.5},
    "TimeLimit": {"max_episode_steps": 2},
}


class Negated(VectorObservationWrapper[Any, Any, Any, Any]):
    """Writes to the array that it gets."""

    def observations(self, observations: Any) -> Any:
        """Change the sign."""
        observations *= -1
        return observations


def make_vector(environment: str, *wrappers: tuple[str, dict[str, Any]], **options: Any) -> Any:
    """Make three environments, and put wrappers around all of them together."""
    checked = environment_wrappers.checked([Wrapper(*each) for each in wrappers], "vector_wrappers")
    planned = environment_plan.plan(registry.find(environment), EnvironmentOptions(num_envs=3, **options))
    return msgspec.structs.replace(planned, vector_wrappers=checked).make()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_observation_that_is_not_reset_is_wrapped_once(mode: str) -> None:
    """Though Gymnasium's vector environments return their own array unless they copy it."""
    made = make_vector("CartPole-v1", (f"{__name__}:Negated", {}), vectorization_mode=mode, autoreset_mode="disabled")
    first = np.copy(made.reset(seed=1)[0])
    again, _ = made.reset(seed=1, options={"reset_mask": np.array([True, False, False])})
    assert np.array_equal(again, first)
    made.close()


@pytest.mark.parametrize("name", sorted(GYMNASIUM_VECTOR_WRAPPERS))
def test_each_wrapper_of_vector_environments_is_gymnasiums(name: str) -> None:
    """Its class is found by its name, and is around a vector environment."""
    creator: Any = getattr(vector, name)
    assert issubclass(creator, VectorWrapper)
    with pytest.raises(InvalidField, match=rf'vector_wrappers\[0\] "{name}" takes no kwarg "none"'):
        environment_wrappers.checked([Wrapper(name, {"none": 1})], "vector_wrappers")


@pytest.mark.parametrize(
    "wrappers",
    [
        [("ResizeObservation", {"shape": [LARGE, LARGE]})],
        [("RecordEpisodeStatistics", {"buffer_length": LARGE})],
        [("RecordEpisodeStatistics", {"buffer_length": 400_000}), ("DtypeObservation", {"dtype": "float64"})] * 2,
    ],
)
def test_nothing_is_allocated_for_a_vector_that_a_session_may_not_have(
    wrappers: list[tuple[str, dict[str, Any]]],
) -> None:
    """The bytes are those of all environments."""
    with pytest.raises(InvalidField, match=r"vector_wrappers\[[02]\] .* bytes for 3 environment"):
        make_vector(named(partial(Pictures)), *wrappers)


def test_rewards_are_numbers_for_wrappers() -> None:
    """As they are in Gymnasium's vector environments; without wrappers they may be anything until they are checked."""
    made = make_vector("CartPole-v1", ("ClipReward", {"max_reward": 0.5}), vectorization_mode="sync")
    made.reset(seed=1)
    assert made.step(made.action_space.sample())[1].dtype == np.float64
