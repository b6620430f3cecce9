"""Calls into an environment's code: the session status shows them, and each exception becomes a fault."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from gymtwist.errors import EnvironmentFault, GymtwistError
from gymtwist.spaces.value_mismatch import ValueMismatch
from gymtwist.worker.session_status import Operation, SessionStatus


@contextlib.contextmanager
def guarded_call(status: SessionStatus, operation: Operation) -> Iterator[None]:
    """Call into an environment within the context.

    Args:
        status: Where to show it.
        operation: What the environment is asked for.

    Raises:
        EnvironmentFault: The environment raised something; its traceback is in the log.
    """
    status.begin(operation)
    try:
        yield
    except GymtwistError as error:
        if error.__cause__ is not None:
            print_traceback(error.__cause__)
        raise
    except BaseException as error:  # sys.exit() is no way to end a session either
        raise fault(operation, error) from error
    finally:
        status.end()


def fault(operation: Operation, error: BaseException) -> EnvironmentFault:
    """Make the fault of an environment that raised something, and log the traceback."""
    print_traceback(error)
    name = operation.name.lower()
    told = f"the environment raised {type(error).__name__} in {name}{message_of(error)}"
    return EnvironmentFault(name, told.rstrip(": "))


def message_of(error: BaseException) -> str:
    """Return what an exception says, behind a colon; nothing if it cannot say it."""
    try:
        return f": {error}"
    except Exception:  # an environment's exception may be of its own making
        return ""


def fault_of_value(operation: str, error: BaseException) -> EnvironmentFault:
    """Make the fault of an environment that returned what its space does not have."""
    what = str(error) if isinstance(error, ValueMismatch) else f"{type(error).__name__}{message_of(error)}"
    return EnvironmentFault(operation, f"the environment returned from {operation} what is not in its space: {what}")


def print_traceback(error: BaseException) -> None:
    """Print an exception into the log, unless the environment has closed the way there."""
    with contextlib.suppress(Exception):
        traceback.print_exception(error)
