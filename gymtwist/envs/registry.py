"""The registry of environments: Gymnasium's and Gym's ids, and the nearest ones if an id is unknown."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import re
from typing import Any, NamedTuple

import gymnasium
from gymnasium.envs.registration import load_env_creator

from gymtwist.envs import gym_compatibility
from gymtwist.errors import UnknownEnvironment

_VERSION = re.compile(r"-v(\d+)$")
_LIBRARIES = ("gymnasium", "gym")


class RegisteredEnvironment(NamedTuple):
    """A registered environment.

    Attributes:
        spec: Its specification: Gymnasium's, or Gym's with the same attributes.
        of_gym: Whether it is Gym's.
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
            the latest one.

    Raises:
        UnknownEnvironment: The id is not registered; the message names the nearest ids.
    """
    library, bare = _split(environment)
    known: set[str] = set()
    # Gym is not imported for an environment of Gymnasium.
    for name, registry in (("gymnasium", lambda: gymnasium.registry), ("gym", gym_compatibility.registry)):
        if library in (None, name):
            specs: dict[str, Any] = registry()
            if found := _latest(bare, specs):
                return RegisteredEnvironment(specs[found], of_gym=name == "gym")
            known.update(specs)
    raise UnknownEnvironment(_unknown(environment, bare, known))


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
                f'unknown environment "{environment}": importing {module} failed: {type(error).__name__}: {error}'
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
    if near := difflib.get_close_matches(bare, sorted(known), n=3):
        suggestions = " or ".join(f'"{id_}"' for id_ in near)
        return f"{message}; did you mean {suggestions}?"
    if bare.startswith("ALE/") and not any(id_.startswith("ALE/") for id_ in known):
        return f'{message}; the Atari games need ale-py on the server: pip install "gymtwist[atari]"'
    return f"{message}; the server can register more with --preload or --setup"
