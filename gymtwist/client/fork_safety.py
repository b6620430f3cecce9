"""What becomes of connections when a process is forked: the new one leaves them to its parent.

What is in use of the memory that they share is left alone from then on. Other threads go on while a process prepares to
fork: what they begin to use meanwhile they find out by the count of forks.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from gymtwist.client.client_errors import ConnectionLost, RemoteError


class Inherited(Protocol):
    """What can be inherited."""

    name: str

    def close(self, reason: RemoteError | None = None) -> None:
        """Close it on this side, without a word to the other."""

    def before_fork(self) -> None:
        """Leave alone what is in use of memory that is shared: the new process may use it as well."""


_all: WeakSet[Inherited] = WeakSet()
#: How many forks have begun, and how many of them have ended.
_begun = _ended = 0


def ended() -> int:
    """Count the forks that have ended, for :func:`is_alone`."""
    return _ended


def is_alone(ended_before: int) -> bool:
    """Tell whether no process has been forked since, nor is being forked.

    Args:
        ended_before: What :func:`ended` has returned.
    """
    return _begun == _ended == ended_before


def close_in_children(connection: Inherited) -> None:
    """Let processes that are forked close a connection, as it is their parent's."""
    _all.add(connection)


def _leave_to_parent() -> None:
    # Either would take the other's replies for its own; and what the parent closes would stay open.
    for each in list(_all):
        each.close(
            ConnectionLost(f"the connection to {each.name} belongs to the process that this one was forked from")
        )


def _begin() -> None:
    global _begun
    _begun += 1
    try:
        _tell()
    except BaseException:
        # An interrupt (Ctrl-C) does not keep it from being forked: Python goes on.
        _tell()
        raise


def _tell() -> None:
    for each in list(_all):
        each.before_fork()


def _end() -> None:
    global _ended
    _ended += 1


def _begin_anew() -> None:
    global _ended
    _ended = _begun
    _leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on every system
    os.register_at_fork(before=_begin, after_in_parent=_end, after_in_child=_begin_anew)
