"""The kinds of spaces that messages describe, and the operations on any description.

A description contains everything that makes two spaces equal. Server and client use the same structs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias, Union

from gymtwist.spaces.box_space import Box as Box
from gymtwist.spaces.dict_space import Dict as Dict
from gymtwist.spaces.discrete_space import Discrete as Discrete
from gymtwist.spaces.graph_space import Graph as Graph
from gymtwist.spaces.layout import MAX_SIZE, Layout, lay_out
from gymtwist.spaces.multi_binary_space import MultiBinary as MultiBinary
from gymtwist.spaces.multi_discrete_space import MultiDiscrete as MultiDiscrete
from gymtwist.spaces.one_of_space import OneOf as OneOf
from gymtwist.spaces.sequence_space import Sequence as Sequence
from gymtwist.spaces.space_kind import MAX_DEPTH as MAX_DEPTH
from gymtwist.spaces.space_kind import SpaceKind, register
from gymtwist.spaces.space_kind import kind_of as kind_of
from gymtwist.spaces.text_space import Text as Text
from gymtwist.spaces.tuple_space import Tuple as Tuple
from gymtwist.spaces.value_mismatch import Path

#: The registry: every kind that messages can carry. To add a kind, write its module, import it above, and list it here.
KINDS = register(
    Box,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Text,
    Tuple,
    Dict,
    Sequence,
    Graph,
    OneOf,
)
#: A description as carried by messages, of any kind. msgspec needs the union of all kinds; for the type checker, it is
#: their base class.
if TYPE_CHECKING:
    Description: TypeAlias = SpaceKind
else:
    Description = Union[KINDS]  # noqa: UP007

#: The maximum number of leaves in a space, which hold no other spaces.
MAX_LEAVES = 10_000


def check(description: Description) -> int:
    """Check that a description is valid and within the limits, before anything is made from it.

    Returns:
        The approximate bytes of an element's arrays: a size of zero counts as one.

    Raises:
        ValueError: It is not valid, or not within the limits.
    """
    leaves = size = 0
    ahead = [(description, 1)]
    while ahead:
        each, depth = ahead.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"a space nested more than {MAX_DEPTH} deep")
        within = [(space, depth + 1) for _, space in each.inner()]
        leaves += not within
        if leaves > MAX_LEAVES:
            raise ValueError(f"a space of more than {MAX_LEAVES} leaves")
        ahead += within
        # Each alone is within the limit, but a short description must not ask for many of them.
        size += each.check()
        if size > MAX_SIZE:
            raise ValueError(f"a space whose arrays have more than {MAX_SIZE} bytes in all")
    return size


def layout_of(description: Description) -> Layout | None:
    """Lay out the elements of a space.

    Returns:
        The layout; None if the space contains a Text, Sequence, Graph or OneOf, which have no fixed layout.

    Raises:
        ValueError: The description is not valid, or not within the limits.
    """
    check(description)
    return lay_out(_arrays(description, ())) if _is_fixed(description) else None


def _is_fixed(description: Description) -> bool:
    return description.is_fixed and all(_is_fixed(each) for _, each in description.inner())


def _arrays(description: Description, path: Path) -> Iterator[tuple[Path, str, tuple[int, ...]]]:
    array = description.array()
    if array is not None:
        yield (path, *array)
    for key, each in description.inner():
        yield from _arrays(each, (*path, key))


def for_json(description: Description) -> Description:
    """Return a description that JSON can carry, with lists for bounds that are bytes."""
    return description.for_json()
