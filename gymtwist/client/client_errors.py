"""Errors of remote environments: one tree, divided by whose fault an error is."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from gymnasium.error import InvalidAction as GymnasiumInvalidAction
from gymnasium.error import ResetNeeded as GymnasiumResetNeeded

from gymtwist.error_texts import indices_text, printable
from gymtwist.errors import GymtwistError
from gymtwist.protocol import messages
from gymtwist.protocol.messages import Fault


class RemoteError(GymtwistError):
    """The root of every error of a remote environment.

    Args:
        message: What was wrong, what was expected and what to do.
        code: The stable code of the error, in kebab-case, for programs; None for the code of the class.
        reset_needed: Whether the environment must be reset before it can be stepped again.
        environments: In a vector environment, the indices of the environments that the error concerns.

    Attributes:
        fault: Whose fault the error is: ``request`` (the caller's), ``environment``, ``protocol`` or ``server``.
    """

    fault: Fault = "server"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        reset_needed: bool = False,
        environments: Sequence[int] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code  # type: ignore[misc]  # what the server says is more precise than the class
        self.reset_needed = reset_needed
        self.environments = tuple(environments)

    def renumber(self, first: int, count: int) -> None:
        """Renumber the environments of one session among those of all sessions.

        Args:
            first: The index of the session's first environment among those of all sessions.
            count: How many environments the session has.
        """
        local, self.environments = self.environments, tuple(first + index for index in self.environments)
        # The message of an error that names environments begins with their names.
        found = re.match(rf"environments? {re.escape(indices_text(local))}(?=[ :])", self.message) if local else None
        if found is None:
            text = f"environments {first} to {first + count - 1}" if count > 1 else f"environment {first}"
            # An error that is raised again was already renumbered.
            if not self.message.startswith(f"{text}: "):
                self.message = f"{text}: {self.message}"
        else:
            text = found[0].partition(" ")[0]
            self.message = f"{text} {indices_text(self.environments)}{self.message[found.end() :]}"
        self.args = (self.message,)


class RequestRefused(RemoteError):
    """The request was refused, and did not affect the environment."""

    code = "bad-request"
    fault = "request"


class UnknownKwarg(RequestRefused, TypeError):
    """The environment has no such keyword argument; a local constructor would raise a TypeError too."""

    code = "unknown-kwarg"


class InvalidAction(RequestRefused, GymnasiumInvalidAction):
    """The action is not in the action space."""

    code = "invalid-action"


class IllegalAction(InvalidAction, AssertionError, ValueError):
    """The action of an agent is not in its action space; environments of PettingZoo raise either of these errors."""


class ResetNeeded(RequestRefused, GymnasiumResetNeeded):
    """No episode is running; reset first."""

    code = "reset-needed"


class AttributeUnreachable(RequestRefused, AttributeError):
    """The remote environment has no such attribute, its value cannot be sent, or the operator does not allow it."""

    code = "unknown-attribute"


class EnvironmentFailed(RemoteError):
    """The environment's own code failed, crashed or took too long; reset makes it usable again.

    If the environment raised one of Python's exceptions, such as a ``ValueError``, this error is one, too.

    Attributes:
        exception: The name of the Python exception that this error also is; empty if there is none.
    """

    code = "environment-fault"
    fault = "environment"
    exception = ""

    def __str__(self) -> str:
        return self.message  # a KeyError would put it in quotes

    def __reduce__(self) -> tuple[Any, ...]:
        return _failed, (self.exception, self.message), vars(self)


class ProtocolBroken(RemoteError):
    """One side violated the protocol; the connection is closed."""

    code = "protocol-error"
    fault = "protocol"


class ServerFailed(RemoteError):
    """The server could not start or continue the session; the connection is closed."""

    code = "server-error"
    fault = "server"


class ConnectionLost(RemoteError, ConnectionError):
    """The connection to the server failed or has ended."""

    code = "connection-lost"


class TimedOut(RemoteError, TimeoutError):
    """The server did not reply in time; the connection is closed, because the reply might still come."""

    code = "timed-out"


class Closed(RemoteError):
    """The environment was closed by the user; connect again to continue."""

    code = "closed"
    fault = "request"


_BY_CODE: dict[str, type[RemoteError]] = {
    **{kind.code: kind for kind in (InvalidAction, ResetNeeded, UnknownKwarg, AttributeUnreachable)},
    **dict.fromkeys(("attribute-refused", "unsendable-value"), AttributeUnreachable),
}
_BY_FAULT: dict[Fault, type[RemoteError]] = {
    "request": RequestRefused,
    "environment": EnvironmentFailed,
    "protocol": ProtocolBroken,
    "server": ServerFailed,
}


#: Without OSErrors, which are errors of the connection.
_RAISED: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        *(ArithmeticError, FloatingPointError, OverflowError, ZeroDivisionError),
        *(LookupError, IndexError, KeyError, AttributeError, TypeError, ValueError),
        *(AssertionError, NotImplementedError, RuntimeError),
    )
}


@functools.cache
def _failure(exception: str) -> type[EnvironmentFailed]:
    """Return the error class for an environment that raised an exception."""
    if exception not in _RAISED:
        return EnvironmentFailed
    attributes = {"exception": exception, "__doc__": EnvironmentFailed.__doc__, "__module__": __name__}
    return type("EnvironmentFailed", (EnvironmentFailed, _RAISED[exception]), attributes)


def _failed(exception: str, message: str) -> EnvironmentFailed:
    """Recreate a pickled error."""
    return _failure(exception)(message)


def of_reply(reply: messages.Error) -> RemoteError:
    """Convert an error reply."""
    kind = _BY_CODE.get(reply.code) or _BY_FAULT[reply.fault]
    if kind is EnvironmentFailed:
        kind = _failure(reply.exception)
    return kind(
        printable(reply.message),
        code=printable(reply.code),
        reset_needed=reply.reset_needed,
        environments=reply.environments,
    )


def unknown_kwarg(error: UnknownKwarg, sent: Iterable[str]) -> UnknownKwarg:
    """Add Python's own wording to the error for an unknown keyword argument: libraries look for it, and retry.

    Args:
        error: The server's error.
        sent: The names of the keyword arguments that were sent. The error quotes the unknown one.
    """
    names = list(sent)
    name = next((each for each in names if f'"{each}"' in error.message), names[0] if names else "?")
    return UnknownKwarg(
        f"got an unexpected keyword argument {name!r}: {error.message}",
        code=error.code,
        environments=error.environments,
    )
