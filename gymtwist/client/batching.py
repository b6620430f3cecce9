"""Batches of actions and observations, divided among groups of environments and joined again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium import spaces

from gymtwist.client.user_values import own
from gymtwist.spaces.descriptions import kind_of


def shares(total: int, groups: int) -> list[int]:
    """Divide environments among groups as evenly as possible."""
    few, more = divmod(total, groups)
    return [few + (index < more) for index in range(groups)]


def part(single: spaces.Space[Any], batch: Any, start: int, stop: int) -> Any:
    """Take the elements of some environments out of a batch.

    Args:
        single: The space of one environment's element.
        batch: A batch of such elements, as Gymnasium batches them.
        start: The first environment.
        stop: The index after the last environment.

    Raises:
        ValueError: The value is not a batch of such elements.
    """
    return kind_of(single).take(single, batch, start, stop)


def chosen(single: spaces.Space[Any], batch: Any, places: Sequence[int]) -> Any:
    """Return a batch of the elements at some places of a batch, in the order of the places.

    Args:
        single: The space of one environment's element.
        batch: A batch of such elements.
        places: The places.
    """
    kind = kind_of(single)
    return kind.batch_of(single, [kind.element(single, batch, place) for place in places])


def element(single: spaces.Space[Any], batch: Any, place: int) -> Any:
    """Return a copy of one element of a batch."""
    return own(kind_of(single).element(single, batch, place))


def length(single: spaces.Space[Any], batch: Any) -> int:
    """Return the number of elements in a batch, or in its first part; -1 if it is not a batch."""
    try:
        return next(kind_of(single).lengths(single, batch), len(batch))
    except (TypeError, LookupError):
        return -1


def whole(single: spaces.Space[Any], parts: Sequence[Any]) -> Any:
    """Join batches into one with new arrays.

    Args:
        single: The space of one environment's element.
        parts: The batches, in order.
    """
    return kind_of(single).join(single, parts)
