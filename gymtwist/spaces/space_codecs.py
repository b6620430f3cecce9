"""The elements of spaces as trees: a node for each space, which knows those of the spaces in it.

A node packs its part of a value as bytes of a layout, or makes lists, objects, numbers and strings of it, and back.
What it does not find as it should be, it tells by :class:`~gymtwist.spaces.layout.ValueMismatch`.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gymtwist.spaces.arrays import ArrayForm, shown
from gymtwist.spaces.bounds import Bounds
from gymtwist.spaces.layout import DTYPES, Array, Buffer, ValueMismatch, array_at, array_packer, cast

# The codes of Python's module struct, behind ``<``.
_FORMATS = {
    **{"int8": "<b", "int16": "<h", "int32": "<i", "int64": "<q"},
    **{"uint8": "<B", "uint16": "<H", "uint32": "<I", "uint64": "<Q"},
}


class Node(ABC):
    """How the elements of one space travel."""

    #: Packs a value as the bytes of the layout, if one array or number is all there is.
    packed: Callable[[Any], bytes | memoryview] | None = None

    def pack_into(self, parts: list[bytes | memoryview], value: Any) -> None:
        """Append the bytes of a value; only of a node whose space fixes a layout."""
        raise NotImplementedError

    def unpack_from(self, buffer: Buffer) -> Any:
        """Read a value from its place in a buffer of the right size; only where the space fixes a layout."""
        raise NotImplementedError

    @abstractmethod
    def to_tree(self, value: Any) -> Any:
        """Turn a value into lists, objects, numbers, strings and arrays."""

    @abstractmethod
    def from_tree(self, tree: Any) -> Any:
        """Turn what came in a message into a value."""

    def lengths(self, value: Any) -> Iterator[int]:
        """Go through the lengths of the parts of a batch: they must be one."""
        yield len(value)


def is_listed(value: Any) -> bool:
    """Tell whether a value has parts in an order."""
    return isinstance(value, (tuple, list)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def inner(key: str | int, function: Callable[[Any], Any], value: Any) -> Any:
    """Call the function of a node in another, and note where it was if it finds something wrong."""
    try:
        return function(value)
    except ValueMismatch as error:
        raise error.within(key) from error.__cause__


class ArrayNode(Node):
    """An array, or a batch of them: an array with one more dimension."""

    def __init__(self, form: ArrayForm, limits: Bounds | None, place: tuple[str, tuple[int, ...], int], owned: bool):
        dtype, self._shape, self._offset = place
        self._dtype = DTYPES[dtype]
        self._form = form
        self._limits = limits
        self._owned = owned
        self.packed: Callable[[Any], bytes | memoryview] = array_packer(self._dtype, self._shape)

    def pack_into(self, parts: list[bytes | memoryview], value: Any) -> None:
        """Append the bytes of a value."""
        parts.append(self.packed(value))

    def unpack_from(self, buffer: Buffer) -> Array:
        """Read a value from its place in a buffer."""
        return self._checked(array_at(buffer, self._dtype, self._shape, self._offset))

    def to_tree(self, value: Any) -> Any:
        """Turn a value into a tree."""
        array = cast(value, self._dtype, None)
        if not self._form.fits(array.shape):
            raise ValueMismatch(f"is an array of shape {array.shape} where its space has {self._form.wanted}")
        return self._form.write(array)

    def from_tree(self, tree: Any) -> Array:
        """Turn a tree into a value."""
        return self._checked(self._form.read(tree))

    def _checked(self, array: Array) -> Array:
        if self._limits is not None:
            self._limits.check(array)
        return array.copy() if self._owned else array


class IntegerNode(Node):
    """One integer."""

    def __init__(self, dtype: str, first: int, last: int, offset: int) -> None:
        self._dtype = DTYPES[dtype]
        self._scalar = self._dtype.type
        self._first, self._last = first, last
        self._offset = offset
        self._struct = struct.Struct(_FORMATS[dtype])
        self.packed: Callable[[Any], bytes | memoryview] = self._packer()

    def _packer(self) -> Callable[[Any], bytes]:
        plain, dtype = self._struct.pack, self._dtype

        def pack(value: Any) -> bytes:
            try:
                return plain(value)
            except (struct.error, TypeError):  # no integer, or none that fits
                data: bytes = cast(value, dtype, ()).tobytes()
                return data

        return pack

    def pack_into(self, parts: list[bytes | memoryview], value: Any) -> None:
        """Append the bytes of a value."""
        parts.append(self.packed(value))

    def unpack_from(self, buffer: Buffer) -> Any:
        """Read a value from its place in a buffer."""
        (number,) = self._struct.unpack_from(buffer, self._offset)
        if self._first <= number <= self._last:
            return self._scalar(number)
        raise self._refusal(number)

    def to_tree(self, value: Any) -> int:
        """Turn a value into a tree."""
        return int(cast(value, self._dtype, ()))

    def from_tree(self, tree: Any) -> Any:
        """Turn a tree into a value."""
        # bool is a subclass of int, but no client means true for 1.
        if type(tree) is int and self._first <= tree <= self._last:
            return self._scalar(tree)
        raise self._refusal(tree)

    def _refusal(self, value: Any) -> ValueMismatch:
        return ValueMismatch(f"is {shown(value)}: send an integer from {self._first} to {self._last}")


class TupleNode(Node):
    """A value of each of several spaces."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes

    def _parts(self, value: Any) -> Iterator[tuple[int, Node, Any]]:
        if not is_listed(value):
            raise ValueMismatch(f"is a {type(value).__name__}: its space is of tuples with {len(self._nodes)} parts")
        if len(value) != len(self._nodes):
            raise ValueMismatch(f"has {len(value)} parts: its space is of tuples with {len(self._nodes)}")
        return zip(range(len(value)), self._nodes, value, strict=True)

    def pack_into(self, parts: list[bytes | memoryview], value: Any) -> None:
        """Append the bytes of a value."""
        for index, node, part in self._parts(value):
            try:
                node.pack_into(parts, part)
            except ValueMismatch as error:
                raise error.within(index) from error.__cause__

    def unpack_from(self, buffer: Buffer) -> tuple[Any, ...]:
        """Read a value from its place in a buffer."""
        return tuple(inner(index, node.unpack_from, buffer) for index, node in enumerate(self._nodes))

    def to_tree(self, value: Any) -> list[Any]:
        """Turn a value into a tree."""
        return [inner(index, node.to_tree, part) for index, node, part in self._parts(value)]

    def from_tree(self, tree: Any) -> tuple[Any, ...]:
        """Turn a tree into a value."""
        if not isinstance(tree, (list, tuple)) or len(tree) != len(self._nodes):
            raise ValueMismatch(f"is {shown(tree)}: send a list of {len(self._nodes)} parts")
        return tuple(inner(index, node.from_tree, part) for index, node, part in self._parts(tree))

    def lengths(self, value: Any) -> Iterator[int]:
        """Go through the lengths of the parts of a batch."""
        for _, node, part in self._parts(value):
            yield from node.lengths(part)


class DictNode(Node):
    """A value of each of several spaces, under a key; given as name in messages, key and node."""

    def __init__(self, fields: list[tuple[str, Any, Node]]) -> None:
        self._fields = fields
        self._names = {name for name, _, _ in fields}

    def _parts(self, value: Any) -> Iterator[tuple[str, Node, Any]]:
        if not isinstance(value, Mapping):
            raise ValueMismatch(f"is a {type(value).__name__}: its space is of dictionaries with {sorted(self._names)}")
        for name, key, node in self._fields:
            if key not in value:
                raise ValueMismatch(f"has no {key!r}: its space is of dictionaries with {sorted(self._names)}")
            yield name, node, value[key]

    def pack_into(self, parts: list[bytes | memoryview], value: Any) -> None:
        """Append the bytes of a value."""
        for name, node, part in self._parts(value):
            try:
                node.pack_into(parts, part)
            except ValueMismatch as error:
                raise error.within(name) from error.__cause__

    def unpack_from(self, buffer: Buffer) -> dict[Any, Any]:
        """Read a value from its place in a buffer."""
        return {key: inner(name, node.unpack_from, buffer) for name, key, node in self._fields}

    def to_tree(self, value: Any) -> dict[str, Any]:
        """Turn a value into a tree."""
        return {name: inner(name, node.to_tree, part) for name, node, part in self._parts(value)}

    def from_tree(self, tree: Any) -> dict[Any, Any]:
        """Turn a tree into a value."""
        if not isinstance(tree, dict) or tree.keys() != self._names:
            raise ValueMismatch(f"is {shown(tree)}: send an object with {sorted(self._names)}")
        return {key: inner(name, node.from_tree, tree[name]) for name, key, node in self._fields}

    def lengths(self, value: Any) -> Iterator[int]:
        """Go through the lengths of the parts of a batch."""
        for _, node, part in self._parts(value):
            yield from node.lengths(part)
