"""What a process that is forked does with the connections that it has inherited: it leaves them to its parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from gymtwist.client.errors import ConnectionLost, RemoteError


class Inherited(Protocol):
    """What can be inherited."""

    name: str

    def close(self, reason: RemoteError | None = None) -> None:
        """Close it on this side, without a word to the other."""

    def before_fork(self) -> None:
        """Prepare for being inherited."""


_all: WeakSet[Inherited] = WeakSet()


def close_in_children(connection: Inherited) -> None:
    """Let processes that are forked close a connection, as it is their parent's."""
    _all.add(connection)


def _leave_to_parent() -> None:
    # Either would take the other's replies for its own; and what the parent closes would stay open.
    for each in list(_all):
        each.close(
            ConnectionLost(f"the connection to {each.name} belongs to the process that this one was forked from")
        )


def _prepare() -> None:
    for each in list(_all):
        each.before_fork()


if hasattr(os, "register_at_fork"):  # not on every system
    os.register_at_fork(before=_prepare, after_in_child=_leave_to_parent)
