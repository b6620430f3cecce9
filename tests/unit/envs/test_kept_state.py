"""States of environments that keep and restore them by themselves, without a session."""

from __future__ import annotations

from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import VectorEnv, VectorWrapper

from gymtwist.envs.kept_state import keep
from gymtwist.errors import SnapshotRefused
from tests.support.snapshot_environments import Drawing


class Counting(Drawing):
    """Counts steps, in a list that each step changes."""

    def __init__(self) -> None:
        """Begin."""
        self.taken: list[Any] = []

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Count."""
        self.taken.append(action)
        return super().step(action)

    def __snapshot__(self) -> Any:
        """Return the list itself."""
        return self.taken

    def __restore__(self, state: Any) -> None:
        """Use a list from now on."""
        self.taken = state


class Restorable(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps nothing, and so keeps what is inside of it from being looked at."""

    restored = 0

    def __snapshot__(self) -> None:
        """Return nothing."""

    def __restore__(self, state: None) -> None:
        """Count."""
        self.restored += 1


class CountingVector(VectorEnv[Any, Any, Any]):
    """A vector environment with a state of its own."""

    num_envs = 2
    steps = 0

    def step(self, actions: Any) -> Any:
        """Count."""
        self.steps += 1

    def __snapshot__(self) -> Any:
        """Return the count."""
        return self.steps

    def __restore__(self, state: Any) -> None:
        """Go on from it."""
        self.steps = state


class CountingGym(gym.Env):  # type: ignore[type-arg]
    """An environment of Gym with a state."""

    __snapshot__ = CountingVector.__snapshot__
    __restore__ = CountingVector.__restore__
    steps = 0


def test_a_state_does_not_change() -> None:
    """Whatever the environment does with the objects that it returned, or was restored with."""
    env = gymnasium.wrappers.TransformObservation(Counting(), lambda seen: seen + 1.0, None)
    env.step(1)
    kept = keep(env, "the rest")
    for _ in range(2):
        env.step(2)
        assert kept.restore() == "the rest"
        assert env.unwrapped.taken == [1]  # type: ignore[attr-defined]


def test_what_is_inside_of_a_hook() -> None:
    """Is left to it, and need not have one; a state may be None."""
    env: Any = gymnasium.wrappers.TimeLimit(Restorable(Drawing()), 5)
    env.reset(seed=1)
    kept = keep(env, None)
    env.step(0)
    kept.restore()
    assert (env._elapsed_steps, env.env.restored) == (0, 1)


@pytest.mark.parametrize(
    ("wrap", "kind"), [(VectorWrapper, CountingVector), (gym.Wrapper, CountingGym)], ids=["vector", "gym"]
)
def test_environments_of_other_kinds(wrap: Any, kind: Any) -> None:
    """Have hooks as well."""
    env = wrap(kind())
    kept = keep(env, None)
    env.unwrapped.steps = 3
    kept.restore()
    assert env.unwrapped.steps == 0


def test_spaces() -> None:
    """Stay the same objects, with their parts, and draw the same numbers again."""
    space = gymnasium.spaces.Dict(a=gymnasium.spaces.Discrete(1000), b=gymnasium.spaces.Box(0.0, 1.0, (3,)))
    space.seed(1)
    parts = list(space.values())
    kept = keep(Counting(), space)
    first = space.sample()
    assert kept.restore() is space
    assert [one is other for one, other in zip(space.values(), parts, strict=True)] == [True, True]
    again = space.sample()
    assert all(np.array_equal(first[name], again[name]) for name in space)


def test_what_has_no_copy() -> None:
    """Is named, be it in a wrapper or in a state."""
    env: Any = gymnasium.Wrapper(Counting())
    env.generator = (each for each in "abc")
    with pytest.raises(SnapshotRefused, match=r"Wrapper\.generator cannot be pickled \(TypeError"):
        keep(env, None)
    env.unwrapped.taken.append(env.generator)
    with pytest.raises(SnapshotRefused, match=r"Counting\.__snapshot__\(\) cannot be pickled \(TypeError"):
        keep(env, None)
