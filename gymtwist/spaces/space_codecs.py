"""Codecs of values, compiled for each space and direction, so that a step needs no look-ups.

The codec of a space is composed of those of the spaces inside it. MessagePack carries a value as the bytes of its
layout. If the space does not fix a layout, and in JSON, a value is a *tree* of lists, objects, numbers, strings and
arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from gymtwist.spaces.equivalent_forms import listed, raw
from gymtwist.spaces.layout import size_text
from gymtwist.spaces.value_mismatch import Path, ValueMismatch, shown
from gymtwist.spaces.value_plan import Plan


class Form(Enum):
    """How a tree carries arrays and numbers."""

    #: ``{"dtype", "shape", "data"}``, where data is bytes.
    BINARY = "binary"
    #: The same, where data is base64 text.
    BASE64 = "base64"
    #: Nested lists of numbers.
    LISTS = "lists"
    #: Nested lists as in the classic protocol: a value is sent as the environment made it, whatever its dtype, and the
    #: bounds of a Box are left to the environment, because many agents draw from a Gaussian and rely on it to clip.
    CLASSIC = "classic"
    #: Nested lists and arrays, in the form that an element of a space has in an info: without dtypes, with graphs as
    #: lists.
    INFO = "info"


class SpaceCodec(NamedTuple):
    """The functions that convert the elements of one space. All raise :class:`ValueMismatch`.

    Attributes:
        to_tree: Converts a value to a tree.
        from_tree: Converts a tree to a value.
        pack: Converts a value to its bytes, which may be the value's own memory; only for a single array or number.
        append: Appends the bytes of a value to a list; only for a value with several parts.
        unpack_from: Reads a value from its place in a buffer of the layout's size.
        unpack: Reads a value from a buffer that may have another size; None if checking the size first is as fast.
        is_array: Whether a value is a single array.
        plan: How to pack and unpack a value together with its siblings; None if only its own functions can do so.

    The four functions after the first two are None if the space does not fix a layout.
    """

    to_tree: Callable[[Any], Any]
    from_tree: Callable[[Any], Any]
    pack: Callable[[Any], bytes | memoryview] | None = None
    append: Callable[[list[bytes | memoryview], Any], None] | None = None
    unpack_from: Callable[[Any], Any] | None = None
    unpack: Callable[[Any], Any] | None = None
    is_array: bool = False
    plan: Plan | None = None


@dataclass
class CutReport:
    """Reports the first number in a session's observations that does not fit the integers of its space.

    Attributes:
        write: Called once, with a sentence.
        is_done: Whether it was called.
    """

    write: Callable[[str], None]
    is_done: bool = False

    def __call__(self, mismatch: ValueMismatch) -> None:
        """Report the number, if it is the first."""
        if not self.is_done:
            self.is_done = True
            self.write(str(mismatch))


@dataclass(frozen=True)
class CodecContext:
    """How to compile the codec of a space, possibly inside another.

    Attributes:
        path: The name of the value, followed by the place of the space's element in it.
        form: How trees carry arrays.
        spaces: The module ``gymnasium.spaces``.
        checked: Whether incoming values must be in the space; otherwise, they must only have the form of its elements.
        bounded: Whether checked values must be within the bounds of a Box.
        owned: Whether the arrays of incoming values are the caller's own, rather than views of the message.
        exact: Whether outgoing values are refused if their numbers would change, such as 0.5 for an integer.
        on_cut: Called if a number in an outgoing value is changed; None to not report it.
        error: The class of errors.
        offsets: The place of each array in the layout, in bytes.
        batch: Whether values are any number of elements, stacked as Gymnasium stacks them.
        plain: Whether incoming elements of Discrete spaces are Python integers, rather than NumPy's.
        deadline: The time at which to give up compiling with a :class:`TimeoutError`, by ``time.monotonic``.
    """

    path: Path
    form: Form
    spaces: Any
    checked: bool = False
    bounded: bool = True
    owned: bool = False
    exact: bool = False
    on_cut: CutReport | None = None
    error: type[ValueMismatch] = ValueMismatch
    offsets: Mapping[Path, int] = field(default_factory=dict)
    batch: bool = False
    plain: bool = False
    deadline: float = math.inf

    def within(self, *keys: str | int, batch: bool | None = None) -> CodecContext:
        """Return the context of a space inside this one."""
        check_deadline(self.deadline)
        return replace(self, path=(*self.path, *keys), batch=self.batch if batch is None else batch)

    def mismatch(self, text: str, *index: str | int) -> ValueMismatch:
        """Make the error for a value at this place."""
        return self.error(text, (*self.path, *index))

    def outside(self, value: Any, space: Any, error: Exception | None = None) -> ValueMismatch:
        """Make the error for a value that is not in its space, or for which the space raised an error."""
        reason = "" if error is None else f": {error}"
        return self.mismatch(f"is {shown(value)}, which is not in {shown(space)}{reason}")

    @property
    def offset(self) -> int:
        """The offset in the layout of the array at this place in the value."""
        return self.offsets.get(self.path[1:], 0)


def check_deadline(deadline: float) -> None:
    """Check that there is time left for more spaces, of which a description may contain thousands.

    Raises:
        TimeoutError: The deadline has passed.
    """
    if monotonic() > deadline:
        raise TimeoutError("its spaces take too long")


def is_listed(value: Any) -> bool:
    """Return whether a value is a sequence."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def other_reader(
    size: int, unpack_from: Callable[[Any], Any], reader: Callable[[], Callable[[Any], Any]], context: CodecContext
) -> Callable[[Any], Any]:
    """Make the function that reads a value with a layout, if it is not ``bytes`` of the layout's size.

    A server accepts other forms with only one possible meaning: bytes that a library wrote as text, and the tree used
    in JSON.

    Args:
        size: The size of the layout.
        unpack_from: Reads the value from its bytes.
        reader: Makes the function that reads the value from a tree, on demand, because few clients need it.
        context: The context of the value.
    """

    def read_other(value: Any) -> Any:
        value = raw(value) if context.checked else value
        if context.checked and isinstance(value, (list, dict, int, float)):
            return reader()(value)
        problem = size_text(value, size)
        if problem is not None:
            raise context.mismatch(problem)
        return unpack_from(value)

    return read_other


def items_codec(element: SpaceCodec, context: CodecContext) -> SpaceCodec:
    """Compile the codec of tuples of any length, which travel as lists.

    Args:
        element: The codec of each element, whose path is the tuple's.
        context: The context of the tuple.
    """
    depth = len(context.path)

    def each_of(function: Callable[[Any], Any], items: Any) -> list[Any]:
        made: list[Any] = []
        try:
            for item in items:
                made.append(function(item))  # a loop, because the error needs the index
        except ValueMismatch as error:
            raise error.insert(depth, len(made)) from error.__cause__
        return made

    def to_tree(value: Any) -> list[Any]:
        if not is_listed(value):
            raise context.mismatch(f"is a {type(value).__name__}: its space is of tuples of any length")
        return each_of(element.to_tree, value)

    def from_tree(tree: Any) -> tuple[Any, ...]:
        items = listed(tree)
        if not isinstance(items, (list, tuple)):
            raise context.mismatch(f"is {shown(tree)}: send a list")
        return tuple(each_of(element.from_tree, items))

    return SpaceCodec(to_tree, from_tree)
