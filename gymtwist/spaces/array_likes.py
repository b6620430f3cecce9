"""Arrays of other libraries, such as JAX and PyTorch, as NumPy arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.spaces.layout import Array

_INTERFACES = ("__array__", "__array_interface__", "__dlpack__")
_CONVERSIONS: tuple[Callable[[Any], Array], ...] = (
    np.asarray,
    np.from_dlpack,
    # PyTorch tensors that NumPy cannot read: with a gradient, on a GPU, or of bfloat16.
    lambda tensor: np.asarray(tensor.detach().cpu()),
    lambda tensor: np.asarray(tensor.detach().cpu().float()),
)


def is_array_like(value: object) -> bool:
    """Return True if a value can be read as numbers by NumPy."""
    # Look at the type: a proxy may claim to have any attribute.
    kind = type(value)
    return any(hasattr(kind, name) for name in _INTERFACES)


def array_of(value: Any) -> Array:
    """Convert an array-like to an array, of shape ``()`` if it is a number.

    Raises:
        TypeError: It is not an array-like, or cannot be converted.
    """
    if is_array_like(value):
        for convert in _CONVERSIONS:
            with contextlib.suppress(Exception):  # another library's code may raise anything
                array = convert(value)
                # NumPy wraps values that it cannot read in an array of objects.
                if array.dtype != object or array.shape:
                    return standard(array)
    raise TypeError(f"no message can carry a {type(value).__name__}")


def standard(array: Array) -> Array:
    """Return an array without another library's dtype (such as bfloat16), which is converted to float32."""
    return array.astype(np.float32) if array.dtype.isbuiltin == 2 else array
