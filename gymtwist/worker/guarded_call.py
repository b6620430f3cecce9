"""Calls into an environment's code: the session status shows them, and exceptions become faults."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator

from gymtwist.envs import environment_results
from gymtwist.envs.environment_results import message_of
from gymtwist.errors import EnvironmentFault, GymtwistError
from gymtwist.spaces.value_mismatch import ValueMismatch
from gymtwist.worker.session_status import LIMIT_MET, OUT_OF_MEMORY, Operation, SessionStatus

#: Stands for the result of a call that raised an exception.
NOTHING = object()


@contextlib.contextmanager
def guarded_call(status: SessionStatus, operation: Operation) -> Iterator[None]:
    """Guard the calls into an environment within the context.

    Args:
        status: The session status that records the call.
        operation: The operation that the environment performs.

    Raises:
        EnvironmentFault: The environment raised an exception; its traceback is in the log.
    """
    status.begin(operation)
    try:
        yield
    except GymtwistError as error:
        if error.__cause__ is not None:
            print_traceback(error.__cause__)
        raise
    except BaseException as error:  # sys.exit() must not end the session either
        raise fault(operation, error) from error
    finally:
        status.end()


def fault(operation: Operation, error: BaseException) -> EnvironmentFault:
    """Return the fault for an exception that a call of the environment raised, and log the traceback."""
    if isinstance(error, EnvironmentFault):
        return error
    print_traceback(error)
    return environment_results.fault(operation.name.lower(), error)


@contextlib.contextmanager
def logging_faults() -> Iterator[None]:
    """Log an EnvironmentFault that is raised within the context: the environment returned an unexpected result."""
    try:
        yield
    except EnvironmentFault as error:
        with contextlib.suppress(Exception):
            print(error, file=sys.stderr)
        raise


def fault_of_value(operation: str, error: BaseException) -> EnvironmentFault:
    """Return the fault for a value that is not in the environment's space."""
    what = str(error) if isinstance(error, ValueMismatch) else f"{type(error).__name__}{message_of(error)}"
    return EnvironmentFault(operation, f"the environment returned a value outside its space from {operation}: {what}")


def ran_out_of_memory(error: BaseException, status: SessionStatus) -> bool:
    """Return whether a memory limit caused a fault, and if so, record it in the session status."""
    if status.out_of_memory or isinstance(error.__cause__, MemoryError):
        status.words[OUT_OF_MEMORY] = LIMIT_MET
    return status.out_of_memory


def print_cut(text: str) -> None:
    """Print a sentence about the first number of an observation that its space cannot hold."""
    with contextlib.suppress(Exception):
        print(f"warning: {text}; the session's other numbers that do not fit are cut as well", file=sys.stderr)


def print_traceback(error: BaseException) -> None:
    """Print an exception to the log, unless the environment has closed standard error."""
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
