"""The registry of environments: Gymnasium's and Gym's ids, and the most similar ones if an id is unknown."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import re
import sys
from typing import Any, NamedTuple

import gymnasium
from gymnasium.envs.registration import load_env_creator

from gymtwist.envs import gym_compatibility
from gymtwist.envs.missing_packages import with_remedy
from gymtwist.errors import UnknownEnvironment

_VERSION = re.compile(r"-v(\d+)$")
_LIBRARIES = ("gymnasium", "gym")
#: Dropped ids with a successor of the same rules and spaces, and the kwargs that keep these the same. Other ids were
#: dropped because rules or spaces changed. Blackjack got the rule of Sutton and Barto that a natural beats a 21.
_SUCCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "Pendulum-v0": ("Pendulum-v1", {}),
    "FrozenLake-v0": ("FrozenLake-v1", {}),
    "FrozenLake8x8-v0": ("FrozenLake8x8-v1", {}),
    "Blackjack-v0": ("Blackjack-v1", {"sab": False}),
    "CliffWalking-v0": ("CliffWalking-v1", {}),
    "Taxi-v3": ("Taxi-v4", {}),
    "CartPoleJax-v0": ("phys2d/CartPole-v0", {}),
    "CartPoleJax-v1": ("phys2d/CartPole-v1", {}),
    "PendulumJax-v0": ("phys2d/Pendulum-v0", {}),
    "Jax-Blackjack-v0": ("tabular/Blackjack-v0", {}),
}
#: Atari ids that ale-py has dropped: those with RAM as observation, and those with a fixed frame skip.
_ATARI = re.compile(r"(?P<game>\w+?)(?P<ram>-ram)?(?P<skip>Deterministic|NoFrameskip)?-(?P<version>v[04])")
#: The game whose lasers blink every fourth frame, and would be missed.
_THREE_FRAMES = "SpaceInvaders"


class RegisteredEnvironment(NamedTuple):
    """A registered environment.

    Attributes:
        spec: The specification: Gymnasium's, or Gym's with the same attributes.
        of_gym: Whether the environment is Gym's.
    """

    spec: Any
    of_gym: bool

    def creator(self) -> Any:
        """Return the class or function that makes the environment; None if there is none or its import fails."""
        entry_point = self.spec.entry_point
        with contextlib.suppress(Exception):  # making the environment raises it again, and reports it
            return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
        return None


def find(environment: str) -> RegisteredEnvironment:
    """Find an environment by its id.

    Args:
        environment: An id such as ``CartPole-v1``. Gymnasium's environments take precedence over Gym's; ``gym:ID``
            and ``gymnasium:ID`` choose a library, ``module:ID`` imports a module first. An id without a version means
            the latest version. A dropped id means its successor, if rules and spaces are the same, which is logged.

    Raises:
        UnknownEnvironment: The id is not registered; the message names the most similar ids.
    """
    library, bare = _split(environment)
    if found := _find(library, bare):
        return found
    successor, kwargs = _successor(bare)
    # An environment that is not an Atari game may have such a name.
    if successor and (found := _find(library, successor)) and (bare in _SUCCESSORS or "game" in found.spec.kwargs):
        spec = copy.copy(found.spec)
        spec.kwargs = {**spec.kwargs, **kwargs}
        chosen = "".join(f", {name}={value!r}" for name, value in kwargs.items())
        print(
            f'"{environment}" is no longer registered and means "{spec.id}"{chosen}: its rules and spaces are the same',
            file=sys.stderr,
        )
        return found._replace(spec=spec)
    known = {id_ for name in _LIBRARIES if library in (None, name) for id_ in _registry(name)}
    raise UnknownEnvironment(_unknown(environment, bare, known))


def _registry(library: str) -> dict[str, Any]:
    return gymnasium.registry if library == "gymnasium" else gym_compatibility.registry()


def _find(library: str | None, bare: str) -> RegisteredEnvironment | None:
    # Gym is not imported for a Gymnasium environment.
    for name in _LIBRARIES:
        if library in (None, name) and (found := _latest(bare, _registry(name))):
            return RegisteredEnvironment(_registry(name)[found], of_gym=name == "gym")
    return None


def _successor(environment: str) -> tuple[str | None, dict[str, Any]]:
    """Return the successor of a dropped id, and the kwargs that make it the same; None if there is none."""
    if environment in _SUCCESSORS:
        return _SUCCESSORS[environment]
    atari = _ATARI.fullmatch(environment)
    if atari is None or not (atari["ram"] or atari["skip"] == "Deterministic"):
        return None, {}
    kwargs: dict[str, Any] = {"obs_type": "ram"} if atari["ram"] else {}
    if atari["skip"] == "Deterministic":
        kwargs["frameskip"] = 3 if atari["game"] == _THREE_FRAMES else 4
    return f"{atari['game']}{'NoFrameskip' if atari['skip'] == 'NoFrameskip' else ''}-{atari['version']}", kwargs


def _split(environment: str) -> tuple[str | None, str]:
    """Split an id into the library it chooses and the bare id, and import the module it names."""
    library: str | None = None
    module, _, bare = environment.rpartition(":")
    if module.split(":", 1)[0] in _LIBRARIES:
        library, _, module = module.partition(":")
    if module:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise UnknownEnvironment(
                f'unknown environment "{environment}": importing {module} failed: {type(error).__name__}: '
                f"{with_remedy(type(error), str(error))}"
            ) from error
    return library, bare


def _latest(environment: str, registry: dict[str, Any]) -> str | None:
    """Find an id in a registry; an id without a version means its latest version."""
    if environment in registry:
        return environment
    if _VERSION.search(environment):
        return None
    versions = [(int(match[1]), id_) for id_ in registry if (match := _VERSION.search(id_))]
    return max(((number, id_) for number, id_ in versions if id_ == f"{environment}-v{number}"), default=(0, None))[1]


def _unknown(environment: str, bare: str, known: set[str]) -> str:
    message = f'unknown environment "{environment}"'
    atari = _ATARI.fullmatch(bare)
    is_atari = bare.startswith("ALE/") or (atari is not None and (atari["ram"] or atari["skip"]))
    if is_atari and not any(id_.startswith("ALE/") for id_ in known):
        return f'{message}; the Atari games need ale-py on the server: pip install "gymtwist[atari]"'
    if near := difflib.get_close_matches(bare, sorted(known), n=3):
        suggestions = " or ".join(f'"{id_}"' for id_ in near)
        return f"{message}; did you mean {suggestions}?"
    return f"{message}; the server can register more with --preload or --setup"
