"""What goes wrong with a remote environment: one tree, told apart by whose fault it was."""

from __future__ import annotations

from gymnasium.error import ResetNeeded as GymnasiumResetNeeded

from gymtwist.errors import GymtwistError
from gymtwist.protocol import messages
from gymtwist.protocol.messages import Fault


class RemoteError(GymtwistError):
    """The root of every error of a remote environment.

    Args:
        message: What was wrong, what was expected and what to do.
        code: What went wrong, in kebab-case: it stays the same, for programs. None for the class's own.
        reset_needed: Whether the environment must be reset before it can be stepped again.

    Attributes:
        fault: Whose fault it was: ``request`` (the caller's), ``environment``, ``protocol`` or ``server``.
    """

    fault: Fault = "server"

    def __init__(self, message: str, *, code: str | None = None, reset_needed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code  # type: ignore[misc]  # what the server says is more precise than the class
        self.reset_needed = reset_needed


class RequestRefused(RemoteError):
    """What was asked for cannot be had; the environment goes on as if it had not been asked for."""

    code = "bad-request"
    fault = "request"


class UnknownKwarg(RequestRefused, TypeError):
    """The environment takes no such keyword argument: a constructor here would raise a TypeError, too."""

    code = "unknown-kwarg"


class ResetNeeded(RequestRefused, GymnasiumResetNeeded):
    """There is no episode to step: reset first."""

    code = "reset-needed"


class EnvironmentFailed(RemoteError):
    """The environment's own code failed, died or took too long; after a reset it can be used again."""

    code = "environment-fault"
    fault = "environment"


class ProtocolBroken(RemoteError):
    """One side does not speak the protocol as the other understands it; the connection is closed."""

    code = "protocol-error"
    fault = "protocol"


class ServerFailed(RemoteError):
    """The server could not begin or go on with a session; the connection is closed."""

    code = "server-error"
    fault = "server"


class ConnectionLost(RemoteError, ConnectionError):
    """There is no connection to the server, or none any more."""

    code = "connection-lost"


class TimedOut(RemoteError, TimeoutError):
    """The server did not answer in time; the connection is closed, as the answer might still come."""

    code = "timed-out"


class Closed(RemoteError):
    """The environment was closed on this side; connect again to go on."""

    code = "closed"
    fault = "request"


_BY_CODE: dict[str, type[RemoteError]] = {kind.code: kind for kind in (ResetNeeded, UnknownKwarg)}
_BY_FAULT: dict[Fault, type[RemoteError]] = {
    "request": RequestRefused,
    "environment": EnvironmentFailed,
    "protocol": ProtocolBroken,
    "server": ServerFailed,
}


def of_reply(reply: messages.Error) -> RemoteError:
    """Make the error that a server replied."""
    kind = _BY_CODE.get(reply.code) or _BY_FAULT[reply.fault]
    return kind(reply.message, code=reply.code, reset_needed=reply.reset_needed)
