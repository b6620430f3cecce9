"""Finds out which environments of a vector environment an error concerns, because Gymnasium does not say."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
from typing import Any

from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from gymtwist.error_texts import RESET_TO_CONTINUE, how_ended, indices_text, process_ended
from gymtwist.errors import EnvironmentFault, GymtwistError
from gymtwist.spaces.gymnasium_spaces import environment_of
from gymtwist.spaces.value_mismatch import ValueMismatch

#: How long after the end of a process's pipe its own end may become visible, in seconds.
_UNTIL_REAPED = 1.0


def locate(error: GymtwistError, vector: Any) -> None:
    """Make an error name the environments that it concerns, if they can be determined.

    Args:
        error: An error about a request, whose cause is the original exception.
        vector: The vector environment.
    """
    cause = error if isinstance(error, ValueMismatch) else error.__cause__
    with contextlib.suppress(Exception):  # what an environment raised may be of any kind
        if isinstance(cause, ValueMismatch):
            _locate_mismatch(error, cause, vector)
        elif isinstance(error, EnvironmentFault) and isinstance(cause, BaseException) and not error.environments:
            _locate_fault(error, cause, vector.unwrapped)


def _locate_mismatch(error: Any, mismatch: ValueMismatch, vector: Any) -> None:
    is_action = mismatch.path[0] == "action"
    found = environment_of(mismatch.path, vector.single_action_space if is_action else vector.single_observation_space)
    if found is None:
        return
    before = str(mismatch)
    index, path = found
    if mismatch is error:
        mismatch.path = (f"environment {index}: {path[0]}", *path[1:])
    else:
        mismatch.path = path
        name_environments(error, (index,), str(error).replace(before, str(mismatch)))
    error.environments = (index,)


def _locate_fault(error: EnvironmentFault, cause: BaseException, vector: Any) -> None:
    if isinstance(vector, SyncVectorEnv):
        index = _index_in_traceback(cause, vector.envs)
        if index is not None:
            name_environments(error, (index,), str(error))
    elif isinstance(vector, AsyncVectorEnv):
        if isinstance(cause, (EOFError, OSError)):
            _locate_ended_process(error, vector.processes)
        else:
            failed = tuple(index for index, pipe in enumerate(vector.parent_pipes) if pipe is None)
            name_environments(error, failed, str(error))


def _index_in_traceback(cause: BaseException, environments: Any) -> int | None:
    """Return the index of the environment whose method was called on the way to an exception."""
    place = cause.__traceback__
    while place is not None:
        called = place.tb_frame.f_locals.get("self")
        for index, environment in enumerate(environments):
            if called is environment:
                return index
        place = place.tb_next
    return None


def _locate_ended_process(error: EnvironmentFault, processes: Any) -> None:
    """Name the environments whose processes have ended, and how they ended."""
    ending = multiprocessing.connection.wait([process.sentinel for process in processes], _UNTIL_REAPED)
    ended: dict[int, int] = {}
    for index, process in enumerate(processes):
        if process.sentinel in ending:
            process.join(_UNTIL_REAPED)
            ended[index] = process.exitcode
    if ended:
        how = how_ended(next(iter(ended.values())))
        name_environments(error, tuple(ended), f"{process_ended(how, error.operation)}: {RESET_TO_CONTINUE}")


def name_environments(error: GymtwistError, indices: tuple[int, ...], text: str) -> None:
    """Record the environments that an error concerns, and begin its message with them; without any, do nothing."""
    if indices:
        error.environments = indices
        error.args = (f"environment{'s' * (len(indices) > 1)} {indices_text(indices)}: {text}",)
