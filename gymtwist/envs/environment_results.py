"""Results and exceptions of environments: unusual results are converted if possible; others become faults."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv, VectorEnv

from gymtwist.errors import EnvironmentFault
from gymtwist.spaces.nested_lists import shape_text
from gymtwist.spaces.value_mismatch import shown

#: A space of rewards that are arrays.
RewardSpace: TypeAlias = spaces.Box

_EXPECTED = {
    "reset": "2 values: observation and info",
    "step": "5 values: observation, reward, terminated, truncated and info",
}
_OLD_STEP = " (4 are those of Gym before 0.26: register such an environment with Gym, then it is served, too)"
_ARRAYS = (
    " (an array is sent if the environment has a reward_space and the client has sent vector_rewards, which neither "
    'the classic protocol nor the vectorization_mode "async" has; a wrapper can make a number of it)'
)
#: The modules of Gymnasium and Gym that make environments and handle what they return; others contain environments.
_HANDLING = (
    *("gymnasium.core", "gymnasium.wrappers", "gymnasium.vector", "gymnasium.envs.registration"),
    *("gym.core", "gym.wrappers", "gym.envs.registration"),
)
#: The function of Gymnasium that raises again what an environment raised in another process.
_RAISING_AGAIN = "_raise_if_errors"
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
    """Return the five values of a step, which are unlike those of most environments.

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
    """Return the five values of a step of a vector environment, which are unlike those of most.

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
        np.array([_flag(name, flag) for flag in _listed(name, told, num_envs)])
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


def _stacked(rewards: list[Any], space: RewardSpace | None) -> Any:
    if space is None:
        return np.array([number(reward) for reward in rewards], np.float64)
    arrays = [reward_of_space(reward, space) for reward in rewards]
    if not any(isinstance(each, np.ndarray) for each in arrays):
        return np.array(arrays, np.float64)
    return array_rewards(arrays, space)


def array_rewards(rewards: Iterable[Any], space: Any) -> Any:
    """Stack rewards to one array, with an array for each number, such as the 0 of an autoreset.

    Args:
        rewards: Numbers, or arrays of the space.
        space: The space of each environment's reward.
    """
    return np.stack(
        [each if isinstance(each, np.ndarray) else np.full(space.shape, each, space.dtype) for each in rewards]
    )


def reward_space_of(environment: Any) -> RewardSpace | None:
    """Return the space of an environment's rewards that are arrays, as MO-Gymnasium's have it; None without one.

    Args:
        environment: An environment, or a vector environment: the space is that of each environment.
    """
    found: Any = None
    with contextlib.suppress(Exception):  # most have none, and those that have one may raise anything
        if isinstance(environment, VectorEnv):
            inner: Any = environment.unwrapped
            found = reward_space_of(inner.envs[0]) if isinstance(inner, SyncVectorEnv) else inner.reward_space
        else:
            found = environment.get_wrapper_attr("reward_space")
    return found if isinstance(found, spaces.Box) and found.shape and found.dtype.kind in "biuf" else None


def number(reward: Any) -> float:
    """Return a reward as a number, even if it is an array of one.

    Raises:
        EnvironmentFault: It is neither.
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
    """Return a reward as an array of a space's shape; a number stays one, since wrappers may make one of an array.

    Raises:
        EnvironmentFault: It is neither.
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


def fault(operation: str, error: BaseException) -> EnvironmentFault:
    """Return the fault for an exception that a call of an environment has raised.

    Gymnasium's wrappers and vector environments unpack what an environment returns, so they may raise one, too.

    Args:
        operation: The operation: ``make``, ``reset``, ``step``, ...
        error: The exception.
    """
    by_gymnasium = _is_raised_by_gymnasium(error)
    message = message_of(error)
    if by_gymnasium and operation in _EXPECTED and "unpack" in message:
        count = _COUNT.search(message)  # Python says how many there were if they were too few
        return _unexpected(operation, f"{count[1]} values" if count else "other values")
    if by_gymnasium and operation == "step" and "array element with a sequence" in message:
        return EnvironmentFault(operation, "an environment returned an array as the reward or as a flag from step")
    who = "Gymnasium" if by_gymnasium else "the environment"
    return EnvironmentFault(operation, f"{who} raised {type(error).__name__} in {operation}{message}".rstrip(": "))


def message_of(error: BaseException) -> str:
    """Return an exception's message after a colon; an empty string if the message cannot be read."""
    try:
        return f": {error}"
    except Exception:  # the ``__str__`` of an environment's exception may fail
        return ""


def _is_raised_by_gymnasium(error: BaseException) -> bool:
    # Gymnasium adds the arguments to a constructor's TypeError.
    place = (error.__cause__ or error).__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or place.tb_frame.f_code.co_name == _RAISING_AGAIN:
        return False
    module = str(place.tb_frame.f_globals.get("__name__"))
    return any(module == each or module.startswith(f"{each}.") for each in _HANDLING)
