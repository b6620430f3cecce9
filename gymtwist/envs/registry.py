"""The environments there are: from an id to an environment."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from gymtwist.envs import gym_compatibility
from gymtwist.envs.environment_options import EnvironmentOptions, check, render_modes
from gymtwist.errors import EnvironmentFault, GymtwistError, UnknownEnvironment

Made = TypeVar("Made")

_VERSION = re.compile(r"-v(\d+)$")
_LIBRARIES = ("gymnasium", "gym")


class Found(NamedTuple):
    """An environment of the catalog.

    Attributes:
        spec: Its specification: Gymnasium's, or Gym's under the same names.
        of_gym: Whether it is Gym's.
    """

    spec: Any
    of_gym: bool


def find(environment: str) -> Found:
    """Find an environment.

    Args:
        environment: An id such as ``CartPole-v1``. One that Gymnasium has is Gymnasium's, otherwise it is Gym's;
            ``gym:ID`` and ``gymnasium:ID`` choose, ``module:ID`` imports a module first. Without a version it is
            the latest.

    Raises:
        UnknownEnvironment: There is none of that id; the message has the nearest there are.
    """
    library, bare = _split(environment)
    if library != "gym" and (found := _latest(bare, gymnasium.registry)):
        return Found(gymnasium.registry[found], of_gym=False)
    if library != "gymnasium" and (found := _latest(bare, gym_compatibility.registry())):
        return Found(gym_compatibility.registry()[found], of_gym=True)
    raise UnknownEnvironment(_unknown(environment, library, bare))


def make(environment: str, environment_options: EnvironmentOptions | None = None) -> gymnasium.Env[Any, Any]:
    """Make an environment; without its library's passive checker, which a server has no use for on every step.

    Args:
        environment: An id, as for :func:`find`.
        environment_options: Options of the client. None if its protocol has none: the environment then renders
            RGB frames if it can, which costs nothing until one is wanted.

    Raises:
        UnknownEnvironment: There is none of that id.
        InvalidField: The environment cannot be had as chosen.
        EnvironmentFault: The environment's constructor raised.
    """
    found = find(environment)
    if environment_options is not None:
        check(environment_options, found.spec.id, creator(found))
    return guarded(lambda: make_found(found, environment_options))


def make_found(found: Found, environment_options: EnvironmentOptions | None) -> gymnasium.Env[Any, Any]:
    """Make an environment that was found, of choices that were checked.

    Raises:
        Exception: Whatever the environment's constructor raises.
    """
    if found.of_gym:
        return gym_compatibility.make(found.spec.id, environment_options)
    kwargs = _render_kwargs(found.spec) if environment_options is None else environment_options.for_constructor()
    limit = None if environment_options is None else environment_options.max_episode_steps
    return gymnasium.make(found.spec, max_episode_steps=limit, disable_env_checker=True, **kwargs)


def creator(found: Found) -> Any:
    """Return the class or function that makes an environment; None if there is none, or it cannot be imported."""
    entry_point = found.spec.entry_point
    with contextlib.suppress(Exception):  # it will be raised again where it is told as what it is
        return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    return None


def _split(environment: str) -> tuple[str | None, str]:
    """Part an id from the library it chooses, and import the module it names."""
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
    """Find an id in a registry; one without a version means its latest."""
    if environment in registry:
        return environment
    if _VERSION.search(environment):
        return None
    versions = [(int(match[1]), id_) for id_ in registry if (match := _VERSION.search(id_))]
    return max(((number, id_) for number, id_ in versions if id_ == f"{environment}-v{number}"), default=(0, None))[1]


def _unknown(environment: str, library: str | None, bare: str) -> str:
    known: set[str] = set()
    if library != "gym":
        known.update(gymnasium.registry)
    if library != "gymnasium":
        known.update(gym_compatibility.registry())
    message = f'unknown environment "{environment}"'
    if near := difflib.get_close_matches(bare, sorted(known), n=3):
        return f"{message}; did you mean {' or '.join(_quoted(id_) for id_ in near)}?"
    if bare.startswith("ALE/") and not any(id_.startswith("ALE/") for id_ in known):
        return f'{message}; the Atari games need ale-py on the server: pip install "gymtwist[atari]"'
    return f"{message}; the server can register more with --preload or --setup"


def _quoted(text: str) -> str:
    """Quote an id for a message."""
    return f'"{text}"'


def _render_kwargs(spec: EnvSpec) -> dict[str, Any]:
    """Choose the render mode that lets a session record and show frames; it costs nothing until a frame is wanted."""
    if spec.entry_point is None or "render_mode" in spec.kwargs:
        return {}
    made_by = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    return {"render_mode": "rgb_array"} if "rgb_array" in render_modes(made_by) else {}


def guarded(make_it: Callable[[], Made]) -> Made:
    """Make an environment, and make a fault of whatever its constructor raises.

    Raises:
        EnvironmentFault: It raised.
    """
    try:
        return make_it()
    except GymtwistError:
        raise
    except BaseException as error:  # sys.exit() among them
        raise EnvironmentFault("make", f"the environment raised {type(error).__name__} in make: {error}") from error
