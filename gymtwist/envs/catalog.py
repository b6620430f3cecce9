"""The environments there are: from an id to an environment."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from gymtwist.envs import legacy
from gymtwist.errors import EnvironmentFault, UnknownEnvironment

_VERSION = re.compile(r"-v(\d+)$")
_LIBRARIES = ("gymnasium", "gym")


def make(environment: str) -> gymnasium.Env[Any, Any]:
    """Make an environment; without its library's passive checker, which a server has no use for on every step.

    Args:
        environment: An id such as ``CartPole-v1``. One that Gymnasium has is Gymnasium's, otherwise it is Gym's;
            ``gym:ID`` and ``gymnasium:ID`` choose, ``module:ID`` imports a module first. Without a version it is
            the latest.

    Raises:
        UnknownEnvironment: There is none of that id; the message has the nearest there are.
        EnvironmentFault: The environment's constructor raised.
    """
    library, bare = _split(environment)
    if library != "gym" and (found := _latest(bare, gymnasium.registry)):
        return _make_gymnasium(gymnasium.registry[found])
    if library != "gymnasium" and (found := _latest(bare, legacy.registry())):
        return _guarded(lambda: legacy.make(found))
    raise UnknownEnvironment(_unknown(environment, library, bare))


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
        known.update(legacy.registry())
    message = f'unknown environment "{environment}"'
    if near := difflib.get_close_matches(bare, sorted(known), n=3):
        return f"{message}; did you mean {' or '.join(_quoted(id_) for id_ in near)}?"
    if bare.startswith("ALE/") and not any(id_.startswith("ALE/") for id_ in known):
        return f'{message}; the Atari games need ale-py on the server: pip install "gymtwist[atari]"'
    return f"{message}; the server can register more with --preload or --setup"


def _quoted(text: str) -> str:
    """Quote an id for a message."""
    return f'"{text}"'


def _make_gymnasium(spec: EnvSpec) -> gymnasium.Env[Any, Any]:
    def make_it() -> gymnasium.Env[Any, Any]:
        return gymnasium.make(spec, disable_env_checker=True, **_render_kwargs(spec))

    return _guarded(make_it)


def _render_kwargs(spec: EnvSpec) -> dict[str, Any]:
    """Choose the render mode that lets a session record and show frames; it costs nothing until a frame is wanted."""
    if spec.entry_point is None or "render_mode" in spec.kwargs:
        return {}
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(spec.entry_point)
    metadata = getattr(creator, "metadata", None)
    modes = metadata.get("render_modes", ()) if isinstance(metadata, dict) else ()
    return {"render_mode": "rgb_array"} if "rgb_array" in modes else {}


def _guarded(make_it: Callable[[], gymnasium.Env[Any, Any]]) -> gymnasium.Env[Any, Any]:
    """Make an environment; whatever its constructor raises becomes a fault."""
    try:
        return make_it()
    except EnvironmentFault:
        raise
    except BaseException as error:  # sys.exit() among them
        raise EnvironmentFault("make", f"the environment raised {type(error).__name__} in make: {error}") from error
