"""Multi-agent environments of PettingZoo: found by their ids, and made in the form that a client asks for.

PettingZoo is imported only when a client asks for such an environment.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from gymtwist.envs import environment_results
from gymtwist.envs.installed import Listed, module_of
from gymtwist.errors import GymtwistError, InvalidField, UnknownEnvironment

_VERSION = re.compile(r"[-_]v(?=\d+$)")
#: The functions of PettingZoo's modules that make environments, in order of preference.
_FUNCTIONS = {"parallel": ("parallel_env", "env", "raw_env"), "aec": ("env", "raw_env", "parallel_env")}

#: The packages that PettingZoo's environments need, by namespace.
_PACKAGES = {"atari": "multi_agent_ale_py", "butterfly": "pygame", "classic": "pygame", "sisl": "Box2D"}


class AgentEnvironment(NamedTuple):
    """A multi-agent environment that can be made.

    Attributes:
        id: The environment's id.
        creator: The function or class that makes it.
        api: How the client wants its agents to act.
    """

    id: str
    creator: Callable[..., Any]
    api: str

    def make(self, kwargs: dict[str, Any]) -> Any:
        """Make the environment, and convert it if its agents act in the other way.

        Args:
            kwargs: The keyword arguments of the environment.

        Raises:
            InvalidField: Its agents cannot act in this way.
            EnvironmentFault: The environment cannot be made.
        """
        try:
            return self._converted(self.creator(**kwargs))
        except GymtwistError:
            raise
        except BaseException as error:  # including SystemExit
            raise environment_results.fault("make", error) from error

    def _converted(self, environment: Any) -> Any:
        from pettingzoo.utils import conversions
        from pettingzoo.utils.env import AECEnv, ParallelEnv

        if not isinstance(environment, (AECEnv, ParallelEnv)):
            raise TypeError(f"{self.id} made a {type(environment).__name__}, no environment of PettingZoo")
        is_parallel = isinstance(environment, ParallelEnv)
        if is_parallel == (self.api == "parallel"):
            return environment
        if is_parallel:
            return conversions.parallel_to_aec(environment)
        if not environment.metadata.get("is_parallelizable", False):
            environment.close()
            raise InvalidField(f'api "parallel": in {self.id} the agents take turns; ask for the api "aec"')
        return conversions.aec_to_parallel(environment)


def find(environment: str, api: str) -> AgentEnvironment:
    """Find an environment by its id.

    Args:
        environment: An id of PettingZoo's registry, such as ``butterfly/pistonball_v6``, or ``module:name``: a module
            like PettingZoo's inside another, such as ``mpe2:simple_spread_v3``, or a function or class in it.
        api: ``parallel`` or ``aec``.

    Raises:
        UnknownEnvironment: There is no such environment.
    """
    module, colon, name = environment.rpartition(":")
    if not colon:
        return _registered(environment, api)
    try:
        found = _named(importlib.import_module(module), name)
    except Exception as error:
        raise UnknownEnvironment(
            f'unknown environment "{environment}": importing {module} failed: {type(error).__name__}: {error}'
        ) from error
    creator = _creator(found, name, api)
    if creator is None:
        raise UnknownEnvironment(
            f'unknown environment "{environment}": {module} has no module {name} with a function env or parallel_env, '
            f"and {name} is neither such a function there nor a class of PettingZoo's environments"
        )
    return AgentEnvironment(environment, creator, api)


def _registered(environment: str, api: str) -> AgentEnvironment:
    try:
        import pettingzoo
        from pettingzoo.env_registry.exceptions import PettingZooRegistryError
    except ImportError as error:
        raise UnknownEnvironment(
            f'unknown environment "{environment}": multi-agent environments need PettingZoo 1.27 or later on the '
            f'server: pip install "gymtwist[multi-agent]" ({error})'
        ) from error
    # An environment that is registered only for the other API can be converted.
    for kind in dict.fromkeys((api, "aec", "parallel")):
        try:
            spec = pettingzoo.spec(kind, environment)
        except PettingZooRegistryError:
            continue
        return AgentEnvironment(spec.id, partial(pettingzoo.make, kind, spec), api)
    known = sorted({*pettingzoo.aec_registry, *pettingzoo.parallel_registry})
    near = difflib.get_close_matches(_VERSION.sub("-v", environment), known, 3)
    remedy = f"did you mean {' or '.join(near)}?" if near else "the server can register more with --preload or --setup"
    raise UnknownEnvironment(f'unknown multi-agent environment "{environment}"; {remedy}')


def find_listed(api: str, allows: Callable[[str], bool] = lambda _: True) -> list[Listed]:
    """Return the environments of PettingZoo's registry, in the order of the ids; none if it is not installed.

    Args:
        api: ``parallel`` or ``aec``.
        allows: Returns whether clients may request an id.
    """
    try:
        import pettingzoo
    except ImportError:
        return []
    registry = pettingzoo.parallel_registry if api == "parallel" else pettingzoo.aec_registry
    listed = []
    for name, spec in registry.items():
        module = module_of(spec.entry_point)
        package = _PACKAGES.get(spec.namespace) if module.startswith("pettingzoo.") else None
        if allows(name) and (package is None or importlib.util.find_spec(package) is not None):
            listed.append(Listed(name, module.split(".")[0], None, None, False))
    return sorted(listed)


def is_same_id(one: str, other: str) -> bool:
    """Return whether two ids of PettingZoo's registry differ at most in spelling."""
    return _VERSION.sub("-v", one) == _VERSION.sub("-v", other)


def _named(module: ModuleType, name: str) -> Any:
    path = f"{module.__name__}.{name}"
    if not hasattr(module, name) and hasattr(module, "__path__") and importlib.util.find_spec(path) is not None:
        return importlib.import_module(path)
    return getattr(module, name, None)


def _creator(found: Any, name: str, api: str) -> Callable[..., Any] | None:
    """Return what makes the environment; no other code of a module can be called by name."""
    from pettingzoo.utils.env import AECEnv, ParallelEnv

    if isinstance(found, ModuleType):
        functions = [getattr(found, name) for name in _FUNCTIONS[api] if callable(getattr(found, name, None))]
        return functions[0] if functions else None
    if inspect.isclass(found) and issubclass(found, (AECEnv, ParallelEnv)):
        return found
    return found if name in _FUNCTIONS[api] and callable(found) else None
