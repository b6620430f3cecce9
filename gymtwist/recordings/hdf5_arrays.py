"""Writes small arrays into HDF5 files with the low-level functions of h5py.

A short episode consists of about eight small objects. ``Group.create_dataset`` takes twice as long for each, mostly to
work out options that never change here. The result is the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt


@cache
def _links() -> Any:
    """Return h5py's usual link properties: intermediate groups are created, and names are UTF-8."""
    properties = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    properties.set_create_intermediate_group(True)
    properties.set_char_encoding(h5py.h5t.CSET_UTF8)
    return properties


@cache
def _type(dtype: np.dtype[Any]) -> Any:
    return h5py.h5t.py_create(dtype, logical=True)


@cache
def _scalar() -> Any:
    return h5py.h5s.create(h5py.h5s.SCALAR)


def _creation(chunks: tuple[int, ...] | None, compression: int, shuffles: bool) -> Any:
    """Return the creation properties of an array, without timestamps, so that equal data gives equal files."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    if chunks is not None:
        properties.set_chunk(chunks)
        if shuffles:
            properties.set_shuffle()
        properties.set_deflate(compression)
    return properties


_plain = cache(lambda: _creation(None, 0, False))


def write_array(
    group: Any, name: str, array: npt.NDArray[Any], chunks: tuple[int, ...] | None = None, compression: int = 0
) -> None:
    """Write an array of numbers or booleans.

    Args:
        group: The ``h5py.Group``.
        name: The name in the group; intermediate groups are created.
        array: The array.
        chunks: The shape of a chunk, to compress the array; None to store it contiguously.
        compression: The gzip level.
    """
    creation = _plain() if chunks is None else _creation(chunks, compression, array.dtype.itemsize > 1)
    space = h5py.h5s.create_simple(array.shape)
    dataset = h5py.h5d.create(group.id, name.encode(), _type(array.dtype), space, creation, _links())
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(array))


def write_integer(group: Any, name: str, value: int | np.integer[Any]) -> None:
    """Write an integer attribute, as int64 or with its own dtype.

    Args:
        group: The ``h5py.Group``, which must not have the attribute yet.
        name: The name of the attribute.
        value: The value.
    """
    array = np.asarray(value)
    h5py.h5a.create(group.id, name.encode(), _type(array.dtype), _scalar()).write(array)
