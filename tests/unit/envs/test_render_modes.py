"""The render mode reaches the constructors that take it, and no others."""

from __future__ import annotations

import inspect
from typing import Any, cast

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvCreator
from gymnasium.error import DependencyNotInstalled

from gymtwist.errors import EnvironmentFault, UnknownKwarg
from tests.support.environment_making import make
from tests.support.plain_environment import Plain
from tests.support.sample_environments import NewGym, OldGym

FRAME = (2, 3, 3)


class Unaware(Plain):
    """Declares frames, and has a constructor that takes no mode."""

    def __init__(self) -> None:
        """Take nothing."""
        super().__init__()


class Forwarding(Unaware):
    """Takes any keyword argument, and forwards it to a constructor that does not."""

    def __init__(self, **kwargs: Any) -> None:
        """Forward everything."""
        super().__init__(**kwargs)


class Frames(OldGym):
    """Renders as environments did before Gym 0.26."""

    metadata = {"render.modes": ["human", "rgb_array"]}

    def render(self, mode: str = "human") -> Any:
        """Return a frame, if that is what is asked for."""
        return np.zeros(FRAME, np.uint8) if mode == "rgb_array" else None


class Renamed(Frames):
    """Has the new name for the list of modes."""

    metadata = {"render_modes": ["human", "rgb_array"]}


class Passing(Frames):
    """Takes any arguments in render."""

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """Pass them on."""
        return super().render(*args, **kwargs)


class Configured(Frames):
    """Takes a configuration, which has no mode."""

    def __init__(self, **configuration: Any) -> None:
        """Check it."""
        super().__init__()
        if configuration:
            raise ValueError(f"unknown: {', '.join(configuration)}")


class Transitional(Frames):
    """Takes the mode in its constructor, and one in render that it does not look at."""

    def __init__(self, render_mode: str | None = None) -> None:
        """Take the mode."""
        super().__init__()
        self.render_mode = render_mode

    def render(self, mode: str = "human") -> Any:
        """Return a frame."""
        return super().render(self.render_mode or mode)


class Accepting(Transitional):
    """Takes any arguments in its constructor and in render, under the new name for the list of modes."""

    metadata = {"render_modes": ["human", "rgb_array"]}

    def __init__(self, **arguments: Any) -> None:
        """Pass them on."""
        super().__init__(**arguments)

    def render(self, *args: Any, **kwargs: Any) -> Any:
        """Pass them on."""
        return super().render(*args, **kwargs)


class NewWithMode(Plain):
    """Is of Gymnasium, and also takes a mode in render."""

    def __init__(self, **arguments: Any) -> None:
        """Pass them on."""
        super().__init__(**arguments)

    def render(self, mode: str | None = None) -> Any:
        """Return a frame."""
        return super().render()


for _kind in (Unaware, Forwarding, NewWithMode):
    gymnasium.register(f"RenderModes/{_kind.__name__}-v0", entry_point=cast(EnvCreator, _kind))
for _old in (Frames, Renamed, Passing, Configured, Transitional, Accepting):
    gym.register(f"RenderModes/{_old.__name__}-v0", entry_point=_old)


@pytest.mark.parametrize("name", ["Unaware", "Forwarding"])
def test_a_constructor_without_render_mode_is_not_offered_one(name: str) -> None:
    """A client of the classic protocol cannot choose, so it gets the environment without frames."""
    made = make(f"RenderModes/{name}-v0")
    assert made.render_mode is None
    made.reset()


def test_a_mode_that_needs_what_is_not_installed_is_not_offered() -> None:
    """An environment that is not rendered does without."""

    class Needing(Plain):
        """Has a constructor that needs more for a mode."""

        def __init__(self, render_mode: str | None = None) -> None:
            """Fail with a mode."""
            super().__init__(render_mode)
            if render_mode is not None:
                raise DependencyNotInstalled("pygame is not installed")

    gymnasium.register("RenderModes/Needing-v0", entry_point=cast(EnvCreator, Needing))
    assert make("RenderModes/Needing-v0").render_mode is None
    with pytest.raises(
        EnvironmentFault, match=r'pygame is not installed; on the server: pip install "gymtwist\[display\]"'
    ):
        make("RenderModes/Needing-v0", render_mode="rgb_array")


@pytest.mark.parametrize("num_envs", [None, 2])
def test_a_render_mode_that_was_asked_for_is_refused_by_name(num_envs: int | None) -> None:
    """In every way to make, before anything is made."""
    with pytest.raises(UnknownKwarg, match='RenderModes/Unaware-v0 takes no kwarg "render_mode"; it takes: none'):
        make("RenderModes/Unaware-v0", render_mode="rgb_array", num_envs=num_envs)


OPTIONS = pytest.mark.parametrize("options", [{}, {"render_mode": "rgb_array"}], ids=["classic", "asked for"])


@pytest.mark.parametrize("name", ["Frames", "Renamed", "Passing", "Configured"])
@OPTIONS
def test_an_old_environment_of_gym_renders(name: str, options: dict[str, Any]) -> None:
    """It is told the mode with each frame, and its constructor is told nothing."""
    made = make(f"gym:RenderModes/{name}-v0", **options)
    assert made.render_mode == "rgb_array"
    made.reset()
    assert made.render().shape == FRAME


@pytest.mark.parametrize(
    "name", ["gym:RenderModes/Transitional", "gym:RenderModes/Accepting", "RenderModes/NewWithMode"]
)
@OPTIONS
def test_a_constructor_that_takes_the_mode_is_told(name: str, options: dict[str, Any]) -> None:
    """Although its class has a method that takes one, too."""
    made = make(f"{name}-v0", **options)
    assert getattr(made, "original", made.unwrapped).render_mode == made.render_mode == "rgb_array"


def test_an_old_environment_of_gym_is_not_asked_for_other_modes() -> None:
    """There is nobody who would look at a window; the constructor takes no mode, which is said."""
    with pytest.raises(UnknownKwarg, match='RenderModes/Frames-v0 takes no kwarg "render_mode"'):
        make("gym:RenderModes/Frames-v0", render_mode="human")


def test_old_environments_of_gym_render_together() -> None:
    """Each returns its frame."""
    made = make("gym:RenderModes/Frames-v0", render_mode="rgb_array", num_envs=2)
    made.reset()
    assert [each.shape for each in made.render()] == [FRAME] * 2
    made.close()


class Declared(Plain):
    """Declares that it takes nothing, and is strict about what it is given."""

    __signature__ = inspect.Signature()

    def __init__(self, **kwargs: Any) -> None:
        """Look for unknown arguments."""
        if kwargs:
            raise KeyError(f"unknown options {kwargs}")
        super().__init__()


def test_a_constructor_is_looked_at_before_it_is_offered_a_mode() -> None:
    """What it raises for an argument that it does not know need not be a TypeError."""
    gymnasium.register("RenderModes/Declared-v0", entry_point=cast(EnvCreator, Declared))
    assert make("RenderModes/Declared-v0").render_mode is None


def test_a_type_error_of_its_own_is_told_and_makes_an_environment_once() -> None:
    """It has nothing to do with the mode."""
    modes: list[str | None] = []

    class Failing(NewGym):
        """Takes the mode, and fails for another reason."""

        metadata = {"render_modes": ["rgb_array"]}

        def __init__(self, render_mode: str | None = None) -> None:
            """Note the mode."""
            modes.append(render_mode)
            raise TypeError("object of type 'int' has no len()")

    gym.register("RenderModes/Failing-v0", entry_point=Failing)
    with pytest.raises(EnvironmentFault, match="has no len"):
        make("gym:RenderModes/Failing-v0")
    assert modes == ["rgb_array"]
