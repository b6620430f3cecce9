"""The environments that clients can ask for, by library."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium

from gymtwist.envs import gym_compatibility
from gymtwist.envs.missing_packages import EXTRAS

#: The packages that Gymnasium's and Gym's environments need, by submodule of ``gymnasium.envs`` or ``gym.envs``.
_PACKAGES = {"box2d": "Box2D", "mujoco": "mujoco", "phys2d": "jax", "tabular": "jax"}


class Listed(NamedTuple):
    """A registry's data about an environment.

    Attributes:
        id: The id; Gym's ids begin with ``gym:``.
        library: The package that it comes from.
        max_episode_steps: The number of steps after which an episode is truncated; None for no limit.
        reward_threshold: The return at which the environment counts as solved; None if there is none.
        nondeterministic: Whether seeds do not determine the episodes.
    """

    id: str
    library: str
    max_episode_steps: int | None
    reward_threshold: float | None
    nondeterministic: bool


class Installed(NamedTuple):
    """The environments that can be made here.

    Attributes:
        ids: The ids, by the package that they come from. Gym's ids begin with ``gym:``.
        missing: The extras of gymtwist that would add environments.
    """

    ids: dict[str, list[str]]
    missing: list[str]


def find_installed(allows: Callable[[str], bool] = lambda _: True) -> Installed:
    """Search the registries of Gymnasium and Gym without importing anything.

    Args:
        allows: Returns whether clients may request an id.
    """
    ids: dict[str, list[str]] = {}
    missing: set[str] = set()
    for prefix, registry in (("", gymnasium.registry), ("gym:", gym_compatibility.registry())):
        for name, spec in registry.items():
            module = module_of(spec.entry_point)
            library, *parts = module.split(".")
            of_gym = library in ("gymnasium", "gym")
            if not allows(prefix + name) or not module or (of_gym and len(parts) < 2):
                continue  # Gymnasium keeps the ids of environments that it has dropped, so as to say so
            package = _package(library, parts) if of_gym else None
            if package is not None and importlib.util.find_spec(package) is None:
                missing.add(package)
            else:
                ids.setdefault(library, []).append(prefix + name)
    return Installed(ids, sorted(EXTRAS[each] for each in map(str.lower, missing) if each in EXTRAS))


def _package(library: str, parts: Sequence[str]) -> str | None:
    """Return the package that an environment of Gymnasium or Gym needs; None if it needs none.

    Args:
        library: The library.
        parts: The path of the entry point's module within the library.
    """
    if library == "gym" and parts[1] == "mujoco" and not parts[-1].endswith("_v4"):
        return "mujoco_py"
    return _PACKAGES.get(parts[1])


def find_listed(allows: Callable[[str], bool] = lambda _: True) -> list[Listed]:
    """Return what :func:`find_installed` finds, with the registries' data, in the order of the ids."""
    listed = []
    for library, ids in find_installed(allows).ids.items():
        for name in ids:
            of_gym = name.startswith("gym:")
            spec = gym_compatibility.registry()[name[4:]] if of_gym else gymnasium.registry[name]
            limit, threshold = _number(spec.max_episode_steps), _number(spec.reward_threshold)
            steps = None if limit is None or limit < 1 else int(limit)
            listed.append(Listed(name, library, steps, threshold, bool(spec.nondeterministic)))
    return sorted(listed)


def _number(value: Any) -> float | None:
    """Return a finite number in a registration as a Python number; None for anything else."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        return number if math.isfinite(number) else None
    return None


def registered() -> frozenset[str]:
    """Return every id of Gymnasium and Gym; Gym's ids begin with ``gym:``."""
    return frozenset([*gymnasium.registry, *(f"gym:{name}" for name in gym_compatibility.registry())])


def with_loaded_package() -> frozenset[str]:
    """Return the ids of Gymnasium's environments that need another package which has been imported."""
    return frozenset(
        name
        for name, spec in gymnasium.registry.items()
        if (parts := module_of(spec.entry_point).split("."))[:2] == ["gymnasium", "envs"]
        and _PACKAGES.get("".join(parts[2:3])) in sys.modules
    )


def module_of(entry_point: Any) -> str:
    """Return the name of an entry point's module; empty if there is no entry point."""
    if isinstance(entry_point, str):
        return entry_point.partition(":")[0]
    return getattr(entry_point, "__module__", "") or ""
