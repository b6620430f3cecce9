"""Results and exceptions of environments: unusual results are converted if possible, and become faults otherwise."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv

from gymtwist.envs.error_locations import name_environments
from gymtwist.envs.error_origins import RaisedInProcess, origin_in_gymnasium
from gymtwist.envs.missing_packages import with_remedy
from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.layout import DTYPES
from gymtwist.spaces.value_mismatch import shape_text, shown

#: A space of rewards that are arrays.
RewardSpace: TypeAlias = spaces.Box

_EXPECTED = {
    "reset": "2 values: observation and info",
    "step": "5 values: observation, reward, terminated, truncated and info",
}
_OLD_STEP = " (4 are those of Gym before 0.26: register such an environment with Gym, then it is served, too)"
_ARRAYS = (
    " (an array is sent if the environment has a reward_space and the client has sent vector_rewards, which the "
    "classic protocol does not have; a wrapper can make a number of it)"
)
#: The functions that merge the infos of several environments.
_OF_INFOS = ("_add_info", "add_info")
_COUNT = re.compile(r"got (\d+)")


# Results as the environment returned them


def reset_result(returned: Any) -> tuple[Any, Any]:
    """Return the observation and the info of a reset.

    Raises:
        EnvironmentFault: The environment returned something else.
    """
    # An array of two numbers could be unpacked, too.
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise _unexpected_result("reset", returned)
    observation, info = returned
    return observation, info


def step_result(returned: Any, reward_space: RewardSpace | None = None) -> tuple[Any, Any, bool, bool, Any]:
    """Return the five values of an unusual step.

    Args:
        returned: What the environment returned.
        reward_space: The space of rewards that are arrays; None if they must be numbers.

    Returns:
        The values, with a reward that is a number, or a float array of the shape of ``reward_space``.

    Raises:
        EnvironmentFault: The environment returned something else.
    """
    if not isinstance(returned, (tuple, list)) or len(returned) != 5:
        raise _unexpected_result("step", returned)
    observation, reward, terminated, truncated, info = returned
    return (
        observation,
        number(reward) if reward_space is None else reward_of_space(reward, reward_space),
        _flag("terminated", terminated),
        _flag("truncated", truncated),
        info,
    )


def vector_step_result(returned: Any, num_envs: int, reward_space: RewardSpace | None = None) -> tuple[Any, ...]:
    """Return the five values of an unusual step of a vector environment.

    Args:
        returned: What the vector environment returned.
        num_envs: The number of environments.
        reward_space: The space of each environment's rewards that are arrays; None if they must be numbers.

    Returns:
        The values; rewards are float64 of shape (num_envs,), or have the shape of ``reward_space`` for each
        environment; flags are bool of shape (num_envs,).

    Raises:
        EnvironmentFault: The environment returned something else.
    """
    if not isinstance(returned, (tuple, list)) or len(returned) != 5:
        raise _unexpected_result("step", returned)
    observations, rewards, terminated, truncated, info = returned
    each = _listed("rewards", rewards, num_envs)
    flags = [
        np.array(_each(partial(_flag, name), _listed(name, told, num_envs)))
        for name, told in (("terminated", terminated), ("truncated", truncated))
    ]
    return observations, _stacked(each, reward_space), *flags, info


def _listed(name: str, values: Any, num_envs: int) -> list[Any]:
    listed: list[Any] | None = None
    with contextlib.suppress(Exception):
        listed = list(values)
    if listed is None or len(listed) != num_envs:
        raise EnvironmentFault(
            "step",
            f"the environment returned {shown(values)} for `{name}` from step; Gymnasium expects {num_envs} of them",
        )
    return listed


def _each(convert: Callable[[Any], Any], rewards: Iterable[Any]) -> list[Any]:
    """Convert the rewards of several environments; an error names the environment that it concerns."""
    converted: list[Any] = []
    try:
        for reward in rewards:
            converted.append(convert(reward))  # a loop, because the error needs the index
    except EnvironmentFault as error:
        name_environments(error, (len(converted),), str(error))
        raise
    return converted


def _stacked(rewards: list[Any], space: RewardSpace | None) -> Any:
    if space is None:
        return np.array(_each(number, rewards), np.float64)
    arrays = _each(partial(reward_of_space, space=space), rewards)
    if not any(isinstance(each, np.ndarray) for each in arrays):
        return np.array(arrays, np.float64)
    return array_rewards(arrays, space)


def array_rewards(rewards: Iterable[Any], space: Any) -> Any:
    """Stack rewards into one array, filling an array for each number, such as the 0 of an autoreset.

    Args:
        rewards: Numbers, or arrays of the space.
        space: The space of each environment's reward.
    """
    return np.stack(
        [each if isinstance(each, np.ndarray) else np.full(space.shape, each, space.dtype) for each in rewards]
    )


def reward_space_of(environment: Any) -> RewardSpace | None:
    """Return the space of an environment's array rewards, as in MO-Gymnasium; None if there is none.

    Args:
        environment: An environment; or a vector environment, for the space of each of its environments.
    """
    found: Any = None
    with contextlib.suppress(Exception):  # most have none, and those that have one may raise anything
        if isinstance(environment, VectorEnv):
            inner: Any = environment.unwrapped
            found = reward_space_of(inner.envs[0]) if isinstance(inner, SyncVectorEnv) else inner.reward_space
        else:
            found = environment.get_wrapper_attr("reward_space")
    return found if isinstance(found, spaces.Box) and found.shape and found.dtype.kind in "biuf" else None


def reward_type(returned: Any) -> str | None:
    """Return the type of the reward that a step returned.

    Returns:
        ``int``, or the name of a NumPy dtype; None for a Python float, and for anything else.
    """
    reward = returned[1] if isinstance(returned, (tuple, list)) and len(returned) == 5 else None
    if isinstance(reward, np.generic):
        return reward.dtype.name if reward.dtype.name in DTYPES else None
    return "int" if type(reward) is int else None


def number(reward: Any) -> float:
    """Return a reward as a number, even if it is an array with one element.

    Raises:
        EnvironmentFault: It is neither a number nor such an array.
    """
    with contextlib.suppress(Exception):
        return float(reward)
    with contextlib.suppress(Exception):
        array = np.asarray(reward)  # with a dtype, null would become NaN
        if array.dtype.kind in "biuf":
            return float(array.item())
    raise EnvironmentFault(
        "step", f"the environment returned {shown(reward)} as the reward from step; Gymnasium expects a number{_ARRAYS}"
    )


def reward_of_space(reward: Any, space: RewardSpace) -> Any:
    """Return a reward as an array of the space's shape; a number stays one, as wrappers may reduce arrays to numbers.

    Raises:
        EnvironmentFault: It is neither such an array nor a number.
    """
    array = None
    with contextlib.suppress(Exception):
        array = np.asarray(reward)
    if array is not None and array.shape == space.shape and array.dtype.kind in "biuf":
        return array if isinstance(reward, np.ndarray) else array.astype(space.dtype)
    if array is not None and array.ndim == 0:
        return number(reward)
    raise EnvironmentFault(
        "step",
        f"the environment returned {shown(reward)} as the reward from step; its reward_space has the shape "
        f"{shape_text(space.shape)}",
    )


def _flag(name: str, flag: Any) -> bool:
    with contextlib.suppress(Exception):
        if not isinstance(flag, (str, bytes, list, tuple, dict)):
            return bool(flag)
    raise EnvironmentFault(
        "step", f"the environment returned {shown(flag)} for `{name}` from step; Gymnasium expects true or false"
    )


def _unexpected_result(operation: str, returned: Any) -> EnvironmentFault:
    what = f"{len(returned)} values" if isinstance(returned, (tuple, list)) else shown(returned)
    return _unexpected(operation, what)


def _unexpected(operation: str, what: str) -> EnvironmentFault:
    remedy = _OLD_STEP if (operation, what) == ("step", "4 values") else ""
    return EnvironmentFault(
        operation,
        f"the environment returned {what} from {operation}; Gymnasium expects {_EXPECTED[operation]}{remedy}",
    )


# Exceptions


def _built_in(kind: type[BaseException]) -> str:
    """Return the name of the built-in exception that an exception is; empty if it is only an ``Exception``."""
    found = next(each for each in kind.__mro__ if each.__module__ == "builtins")
    return "" if found in (Exception, BaseException) else found.__name__


def fault(operation: str, error: BaseException) -> EnvironmentFault:
    """Return the fault for an exception that a call of an environment raised.

    Gymnasium's wrappers and vector environments unpack the environment's results, so they may raise exceptions, too.

    Args:
        operation: The operation: ``make``, ``reset``, ``step``, ...
        error: The exception.
    """
    origin, message = origin_in_gymnasium(error), message_of(error)
    kind = error.kind if isinstance(error, RaisedInProcess) else type(error)
    who = "the environment" if origin is None else "Gymnasium"
    text = f"{who} raised {kind.__name__} in {operation}{with_remedy(kind, message)}".rstrip(": ")
    made = EnvironmentFault(operation, text)
    made.exception = _built_in(kind)
    if origin is None or operation not in _EXPECTED:
        return made
    try:
        # A vector environment accepts whatever its processes send.
        _each(number, origin.variables.get("rewards", ()))
    except EnvironmentFault as found:
        return found
    if "unpack" in message:
        count = _COUNT.search(message)  # Python states the count only if there were too few
        made = _unexpected(operation, f"{count[1]} values" if count else "other values")
    elif origin.function in _OF_INFOS:
        made = EnvironmentFault(operation, f"the environment returned no info from {operation}, but something else")
    elif origin.module.startswith("gymnasium.vector.utils."):
        which = "the" if isinstance(error, RaisedInProcess) else "an"
        text = f"{which} environment returned a value outside its space from {operation}{message}"
        return EnvironmentFault(operation, text)
    elif "element with a sequence" in message or "truth value of an array" in message:
        text = f"the environment returned an array as the reward or as a flag from {operation}"
        made = EnvironmentFault(operation, text)
    # A vector environment uses `i` to loop over its environments, and the other names when it merges their infos.
    if origin.module.startswith("gymnasium.vector.") or origin.function in _OF_INFOS:
        indices = [origin.variables[name] for name in ("i", "index", "env_num") if name in origin.variables]
        name_environments(made, tuple(indices[:1]), str(made))
    return made


def message_of(error: BaseException) -> str:
    """Return an exception's message after a colon; an empty string if the message cannot be read."""
    try:
        return f": {error}"
    except Exception:  # the ``__str__`` of an environment's exception may fail
        return ""
