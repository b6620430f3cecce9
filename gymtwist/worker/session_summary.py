"""What is told of a session when it has ended."""

from __future__ import annotations

import msgspec

from gymtwist.errors import GymtwistError, NoEnvironment, ProtocolError
from gymtwist.worker.guarded_call import print_traceback

CLIENT_LEFT = "the client left"
#: How much of a reason goes into the summary; tracebacks are in the log anyway.
_REASON_LENGTH = 1000


class Summary(msgspec.Struct, frozen=True):
    """The summary of a session.

    Attributes:
        reason: Why it ended, as a clause for the log.
        steps: How many steps were taken.
        episodes: How many episodes came to their end.
    """

    reason: str
    steps: int
    episodes: int


def reason_of(error: Exception) -> str:
    """Say why a session ended by an error; an error of gymtwist itself goes to the log."""
    if isinstance(error, ConnectionError):
        return CLIENT_LEFT
    if isinstance(error, OSError):  # the environment's own come as faults; TCP keepalive's ends here
        return f"the client vanished ({error.strerror})"
    if isinstance(error, (ProtocolError, NoEnvironment)):
        return f"the client broke the protocol: {error}"[:_REASON_LENGTH]
    if isinstance(error, GymtwistError):
        return str(error)[:_REASON_LENGTH]
    print_traceback(error)
    return f"an error in gymtwist itself: {type(error).__name__}: {error}"[:_REASON_LENGTH]
