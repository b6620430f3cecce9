"""Where an exception comes from: the environment, or Gymnasium while it handles what the environment returned."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, NamedTuple

#: The modules of Gymnasium and Gym that make environments and handle their results; other modules contain environments.
_HANDLING = (
    *("gymnasium.core", "gymnasium.wrappers", "gymnasium.vector", "gymnasium.envs.registration"),
    *("gym.core", "gym.wrappers", "gym.envs.registration"),
    "gymtwist.spaces.info_merging",  # in place of Gymnasium's own
)
#: The Gymnasium function that re-raises what an environment raised in another process.
_RAISING_AGAIN = "_raise_if_errors"
_FRAME = re.compile(r'^  File "(.+)\.py", line \d+, in (\S+)$', re.MULTILINE)
_PACKAGE = re.compile(r".*/((?:gymnasium|gym|numpy)/.+)")


class Origin(NamedTuple):
    """A place in Gymnasium's code where an exception was raised.

    Attributes:
        module: The module.
        function: The function.
        variables: The function's local variables; empty if it ran in another process.
    """

    module: str
    function: str
    variables: dict[str, Any]


class RaisedInProcess(Exception):
    """An exception that Gymnasium raised in an environment's own process.

    Args:
        kind: The class of the exception.
        origin: Where it was raised.
        text: The exception's message.
    """

    def __init__(self, kind: type[BaseException], origin: Origin, text: Any) -> None:
        super().__init__(text)
        self.kind = kind
        self.origin = origin


class ErrorQueue:
    """Wraps the exception queue of an ``AsyncVectorEnv``, to tell Gymnasium's exceptions from the environments'.

    Args:
        queue: The queue itself.
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def get(self) -> tuple[int, Any, Any, str]:
        """Return an environment's index, a callable that makes the exception, its message and its traceback."""
        index, kind, text, trace = self._queue.get()
        places = [Origin(_module(path), function, {}) for path, function in _FRAME.findall(trace)]
        origin = _innermost(places)
        return index, kind if origin is None else partial(RaisedInProcess, kind, origin), text, trace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def origin_in_gymnasium(error: BaseException) -> Origin | None:
    """Return where Gymnasium raised an exception; None if an environment did."""
    if isinstance(error, RaisedInProcess):
        return error.origin
    cause = error.__cause__  # Gymnasium adds the arguments to a constructor's TypeError
    place = error.__traceback__ if cause is None or cause.__traceback__ is None else cause.__traceback__
    places = []
    while place is not None:
        frame = place.tb_frame
        places.append(Origin(str(frame.f_globals.get("__name__")), frame.f_code.co_name, frame.f_locals))
        place = place.tb_next
    return _innermost(places)


def _innermost(places: list[Origin]) -> Origin | None:
    # NumPy acts on behalf of its caller.
    while places and _is_in(places[-1].module, ("numpy",)):
        places.pop()
    if not places or places[-1].function == _RAISING_AGAIN or not _is_in(places[-1].module, _HANDLING):
        return None
    return places[-1]


def _is_in(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in packages)


def _module(path: str) -> str:
    """Return the name of a module of Gymnasium, Gym or NumPy by its path without suffix; other paths unchanged."""
    found = _PACKAGE.fullmatch(path)
    return found[1].replace("/", ".") if found else path
