"""Fork safety: a forked process leaves connections, and shared memory in use, to its parent.

While one thread forks, others continue. By the counts of forks, they detect whether the child may share memory that
they have just claimed.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from gymtwist.client.client_errors import ConnectionLost, RemoteError


class Inherited(Protocol):
    """An object that a forked process inherits."""

    name: str

    def close(self, reason: RemoteError | None = None) -> None:
        """Close the object in this process, without a message to the other side."""

    def before_fork(self) -> None:
        """Never reuse shared memory that is now in use: the child may use it as well."""


_inherited: WeakSet[Inherited] = WeakSet()
#: The numbers of forks that have started and finished. They differ while a fork is in progress in any thread.
_started = _finished = 0


def register(connection: Inherited) -> None:
    """Prepare a connection for forks."""
    _inherited.add(connection)


def finished_forks() -> int:
    """Return the number of finished forks, for :func:`no_fork_since`."""
    return _finished


def no_fork_since(finished: int) -> bool:
    """Return True if no fork has been in progress since :func:`finished_forks` returned this number."""
    return _started == _finished == finished


def _before_fork() -> None:
    global _started
    _started += 1
    try:
        _prepare_all()
    except BaseException:
        # An interrupt (Ctrl-C) does not prevent the fork: Python only reports errors in this function.
        _prepare_all()
        raise


def _prepare_all() -> None:
    for each in list(_inherited):
        each.before_fork()


def _after_fork_in_parent() -> None:
    global _finished
    _finished += 1


def _after_fork_in_child() -> None:
    global _finished
    _finished = _started
    # Both processes would read each other's replies, and the server would not see the parent close its connection.
    for each in list(_inherited):
        each.close(
            ConnectionLost(f"the connection to {each.name} belongs to the process that this one was forked from")
        )


if hasattr(os, "register_at_fork"):  # not on every system
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
