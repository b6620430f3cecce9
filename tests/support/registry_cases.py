"""The environments that Gymnasium, Gym and ale-py register, as these libraries themselves make them."""

from __future__ import annotations

import importlib.util
import re
from collections import defaultdict
from typing import Any, NamedTuple

import gym
import gymnasium

if importlib.util.find_spec("ale_py") is not None:
    import ale_py

    gymnasium.register_envs(ale_py)

GYMNASIUM, GYM, ALE = "gymnasium", "gym", "ale_py"

#: Why an environment may not be had: what its library says of it, and what that means. What is not here is a fault.
_REASONS = {
    r"moved to the gymnasium-robotics": "is a name only, which refers to gymnasium-robotics",
    r"gym compatibility environments": "is not one by itself: wraps one that is named in its kwargs, by shimmy",
    r"No module named 'mujoco_py'": "needs mujoco-py, and a MuJoCo 2.1 that no package brings along",
    r"MuJoCo is not installed|No module named 'mujoco'": "needs MuJoCo: gymnasium[mujoco]",
    r"(?i)box2d is not installed": "needs Box2D: gymnasium[box2d]",
    r"No module named '(jax|flax)'": "needs JAX: gymnasium[jax]",
    r"only supported on `mujoco<3`|^XML Error": "needs an older MuJoCo: mujoco<2.3.3",
    r"removed in the NumPy 2.0|expected int/float arguments|of type 'float32'": "needs an older NumPy: numpy<2",
}

#: Environments that take more than ten seconds to play over three protocols.
_EXPENSIVE = {"CarRacing"}
#: Environments that do not repeat an episode in one process, whatever the seed: their Box2D world is never a new one.
_UNREPEATABLE = {"BipedalWalker", "BipedalWalkerHardcore"}


class Registered(NamedTuple):
    """An environment of a registry.

    Attributes:
        library: Whose it is.
        spec: What its library knows of it.
        is_chosen: True if it is played in every run of the tests, not by `make registry` alone.
    """

    library: str
    spec: Any
    is_chosen: bool

    @property
    def name(self) -> str:
        """What a client asks for."""
        return f"gym:{self.spec.id}" if self.library == GYM else str(self.spec.id)

    @property
    def repeats(self) -> bool:
        """Whether it plays the same episode again if it gets the same seed and the same actions."""
        return self.spec.name not in _UNREPEATABLE

    def make(self) -> Any:
        """Make it as its library does: with Gym's own wrappers, if it is Gym's."""
        make: Any = gym.make if self.library == GYM else gymnasium.make
        return make(self.spec, disable_env_checker=True)


def registered() -> list[Registered]:
    """Lists what the three libraries register, and nothing that somebody else did."""
    known = [_library(spec) for spec in gymnasium.registry.values()]
    ours = [(library, spec) for library, spec in known if library in (GYMNASIUM, ALE)]
    gyms = [(GYM, spec) for spec in gym.envs.registry.values() if _library(spec)[0] == GYM]  # type: ignore[attr-defined]
    # Gym's are made and played by the same code, whichever it is: every third has one of each kind of space.
    newest = [*_some_of_mujoco(_newest(ours)), *_some_of_mujoco(_sorted(_newest(gyms))[1::3])]
    chosen = {(library, spec.id) for library, spec in newest}
    chosen |= {(ALE, name) for name in _one_id_per_game([spec for library, spec in ours if library == ALE])}
    return [
        Registered(library, spec, (library, spec.id) in chosen)
        for library, spec in sorted(ours + gyms, key=lambda each: (each[0], each[1].id))
    ]


def reason(error: Exception) -> str | None:
    """Tell why an environment cannot be had here, by what its library raised; None if that is not a reason."""
    return next((means for says, means in _REASONS.items() if re.search(says, str(error))), None)


def _library(spec: Any) -> tuple[str, Any]:
    """Return the library whose code makes an environment, and its specification."""
    entry_point = spec.entry_point
    module = entry_point if isinstance(entry_point, str) else getattr(entry_point, "__module__", "")
    return str(module).split(".")[0].split(":")[0], spec


def _newest(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the newest version of each environment of Gymnasium and Gym, except those that take long to play."""
    newest: dict[tuple[str, str], Any] = {}
    for library, spec in entries:
        key = library, str(spec.name)
        if (
            library != ALE
            and spec.name not in _EXPENSIVE
            and (key not in newest or (spec.version or 0) > (newest[key].version or 0))
        ):
            newest[key] = spec
    return [(library, spec) for (library, _), spec in newest.items()]


def _sorted(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Sort them by their ids."""
    return sorted(entries, key=lambda each: str(each[1].id))


def _some_of_mujoco(entries: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Leave out most of those that are played by MuJoCo.

    Their spaces are of one kind, and differ in their shapes only.
    """
    by_mujoco = [each for each in _sorted(entries) if "mujoco" in str(each[1].entry_point)]
    left_out = {spec.id for number, (_, spec) in enumerate(by_mujoco) if number % 8 != 1}
    return [(library, spec) for library, spec in entries if spec.id not in left_out]


def _one_id_per_game(specs: list[Any]) -> set[str]:
    """Return one id of every twenty-first Atari game; the ways to name a game take turns.

    Apart from the time it takes to load a game, the games differ little.
    """
    games = defaultdict(list)
    for spec in sorted(specs, key=lambda spec: str(spec.id)):
        games[spec.kwargs["game"]].append(spec.id)
    return {ids[index % len(ids)] for index, (_, ids) in enumerate(sorted(games.items())[::21])}
