"""Requests to several sessions, written once for callers that block and for callers in an event loop."""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """What a caller in an event loop must wait for; blocking callers wait when they receive the replies.

    Attributes:
        indices: The sessions.
        least: How many of them must have a reply.
        taken: Whether their replies no longer count as outstanding.
    """

    indices: list[int]
    least: int
    taken: bool = True


#: A request that yields what to wait for, and returns its result.
Waiting: TypeAlias = Generator[Wait, None, T]


def finished(waiting: Waiting[T]) -> T:
    """Return the result of a request whose sessions block until their replies come."""
    try:
        while True:
            next(waiting)
    except StopIteration as stop:
        value: T = stop.value
        return value
