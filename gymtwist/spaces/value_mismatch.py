"""Errors about a value: the path to the wrong part, what it is, and what to send instead."""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any, TypeAlias

import numpy as np

from gymtwist.errors import InvalidAction

#: A place in a value: the keys of Dicts and the indices of Tuples and arrays, from the outside in.
Path: TypeAlias = "tuple[str | int, ...]"


#: The maximum number of characters of a value shown in an error.
_MOST = 80


class ValueMismatch(ValueError):
    """A value is not an element of its space.

    Args:
        text: What is wrong and what is expected, to follow the path: ``is 7: send ...``.
        path: The name of the value, followed by the place in it.
    """

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text, path)
        self.text = text
        self.path = path

    def __str__(self) -> str:
        return f"{self.path[0]}{path_text(self.path[1:])} {self.text}"

    def insert(self, depth: int, key: str | int) -> ValueMismatch:
        """Insert a key at a depth of the path, if it was unknown when the codec was compiled."""
        self.path = (*self.path[:depth], key, *self.path[depth:])
        return self


class ActionMismatch(ValueMismatch, InvalidAction):
    """An action from a client is not an element of the action space."""


def path_text(path: Path) -> str:
    """Write a path as code would: ``.left[2]``, with keys that are not identifiers in brackets."""
    return "".join(_key_text(key) for key in path)


def _key_text(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() else f"[{quoted(key, 40)}]"


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Write a shape as in descriptions of spaces, with ``n`` for any size."""
    return f"[{', '.join('n' if size is None else str(size) for size in shape)}]"


def quoted(text: str, most: int = _MOST) -> str:
    """Quote text as in JSON, showing at most this many characters."""
    return json.dumps(text if len(text) <= most else f"{text[:most]}...", ensure_ascii=False)


class _Shortened(reprlib.Repr):
    """Writes values as in JSON, which people know from every language."""

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802 - the name of the type
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"

    def repr_float(self, value: float, level: int) -> str:
        return repr(value) if math.isfinite(value) else number_text(value)

    def repr_str(self, value: str, level: int) -> str:
        return quoted(value)

    def repr_tuple(self, value: tuple[Any, ...], level: int) -> str:
        return self.repr_list(list(value), level)

    def repr_Extension(self, value: Any, level: int) -> str:  # noqa: N802 - the name of the type
        return f"a value of the extension type {value.code}"

    def repr_datetime(self, value: object, level: int) -> str:
        return "a timestamp (extension type -1)"

    def repr_instance(self, value: Any, level: int) -> str:
        if isinstance(value, np.ndarray):
            return f"an array of shape {shape_text(value.shape)}"
        if isinstance(value, np.generic) and not isinstance(number := value.item(), np.generic):
            return self.repr1(number, level)
        try:
            return super().repr_instance(value, level)
        except BaseException:  # the ``__repr__`` of an environment's class may exit
            return f"an object of class {type(value).__name__}"

    # Otherwise, these would be written out before they are cut; Python refuses to write very long integers at all.
    def repr_bytes(self, value: bytes, level: int) -> str:
        return f"{len(value)} bytes"

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if value.bit_length() <= 256 else f"an integer of {value.bit_length()} bits"


_shortened = _Shortened()
_shortened.maxlist = _shortened.maxdict = _shortened.maxtuple = 20
_shortened.maxother = _MOST


def shown(value: object) -> str:
    """Return at most 80 characters of a value in JSON notation, however large and deep the value is."""
    text = _shortened.repr(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def number_text(number: float) -> str:
    """Return the name in JSON of a number that is not finite."""
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
