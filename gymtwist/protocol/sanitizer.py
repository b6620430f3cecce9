"""Copies of values that hold only what an encoding can carry.

An environment may put anything into an ``info``; this is the slow way, for what does not encode as it stands.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import msgspec
import numpy as np

#: How deep a value may be nested before the rest is left out; far below Python's own recursion limit.
MAX_DEPTH = 64
_LARGEST = sys.float_info.max


class Omitted(Exception):
    """A part of a value has no form in the encoding."""


def plain_numbers(value: np.ndarray[Any, Any] | np.generic) -> Any:
    """Turn NumPy's numbers into Python's, arrays into lists."""
    plain = value.tolist()
    # Python has no type for a longdouble.
    return float(plain) if isinstance(plain, np.longdouble) else plain


class Sanitizer:
    """Copies values, with the parts replaced that an encoding cannot carry.

    Args:
        number: What a number is carried as that is not finite.
        array: What a NumPy array or scalar is carried as.
        strict: Whether a part without a form makes the whole fail, or is left out.
        kept: Types that the encoding has, besides those of JSON.
    """

    def __init__(
        self,
        number: Callable[[float], Any],
        array: Callable[[Any], Any] = plain_numbers,
        *,
        strict: bool,
        kept: tuple[type, ...] = (),
    ) -> None:
        self._number = number
        self._array = array
        self._strict = strict
        self._kept = kept

    def copy(self, value: Any, path: tuple[int, ...] = ()) -> Any:
        """Copy a value.

        Args:
            value: Anything.
            path: The identities of the containers that the value lies in: it may lie in itself.

        Raises:
            Omitted: The value has no form, and the copier is not strict.
            TypeError: It has none, and the copier is strict.
        """
        try:
            return self._copy(value, path)
        except Omitted:
            raise
        except Exception as error:
            if self._strict:
                raise
            raise Omitted from error

    def _copy(self, value: Any, path: tuple[int, ...]) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            value = self._array(value)
        if value is None or isinstance(value, (bool, *self._kept)):
            return value
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, int):
            # Beyond 64 bits neither msgspec nor most clients have an integer; a float64 is the nearest they can read.
            return int(value) if -(2**63) <= value < 2**64 else _nearest(value)
        if isinstance(value, float):
            number = float(value)
            return number if math.isfinite(number) else self._number(number)
        if len(path) >= MAX_DEPTH or id(value) in path:
            raise TypeError("no message can carry what lies in itself, or too deep")
        path = (*path, id(value))
        if isinstance(value, Mapping):
            return self._copy_mapping(value, path)
        if isinstance(value, (list, tuple, Set)):
            return self._copy_list(value, path)
        # What is left is msgspec's to know (dates, dataclasses, ...) or to refuse.
        return self._copy(
            msgspec.to_builtins(value, str_keys=True, builtin_types=self._kept, enc_hook=self._unknown), path
        )

    def _unknown(self, value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(value)
        raise TypeError(f"no message can carry a {type(value).__name__}")

    def _copy_list(self, value: Iterable[Any], path: tuple[int, ...]) -> list[Any]:
        kept = []
        for item in value:
            with contextlib.suppress(Omitted):
                kept.append(self.copy(item, path))
        return kept

    def _copy_mapping(self, value: Mapping[Any, Any], path: tuple[int, ...]) -> dict[str, Any]:
        kept = {}
        for key, item in value.items():
            with contextlib.suppress(Omitted):
                kept[self._key(key)] = self.copy(item, path)
        return kept

    def _key(self, key: Any) -> str:
        try:
            return _text(key if isinstance(key, str) else str(key))
        except Exception as error:
            if self._strict:
                raise
            raise Omitted from error


def _text(value: str) -> str:
    """Copy a string as what it is, whatever subclass it is of, without what UTF-8 cannot carry (lone surrogates)."""
    return str.encode(value, "utf-8", "replace").decode()


def _nearest(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
