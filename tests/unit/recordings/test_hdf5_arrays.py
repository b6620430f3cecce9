"""Arrays that are written by the low-level functions of h5py are what its usual ones write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from gymtwist.recordings import hdf5_arrays  # noqa: E402

ARRAYS = [
    np.array([True, False, True]),
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.arange(5, dtype=np.int64),
    np.array([1.5, np.nan], np.float16),
    np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3)[:, ::2],
    np.zeros((3, 0), np.float64),
]


def facts(file: Any, name: str) -> tuple[object, ...]:
    """Return what a reader, or a tool that copies the file, can see of an array."""
    dataset = file[name]
    storage = dataset.chunks, dataset.compression, dataset.compression_opts, dataset.shuffle
    return dataset.dtype, dataset.shape, storage, h5py.h5g.get_objinfo(dataset.id).mtime


@pytest.mark.parametrize("level", [0, 4])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array(tmp_path: Path, array: Any, level: int) -> None:
    """With its type, its compression and the groups in between."""
    chunks = (1, *array.shape[1:]) if level and array.size else None
    options = {"compression": "gzip", "compression_opts": level, "shuffle": array.itemsize > 1} if chunks else {}
    with h5py.File(tmp_path / "arrays.hdf5", "w") as file:
        hdf5_arrays.write_array(file, "ours/über", array, chunks, level)
        file.create_dataset("theirs/über", data=array, chunks=chunks, **options)
        assert facts(file, "ours/über") == facts(file, "theirs/über")
        np.testing.assert_array_equal(file["ours/über"][()], array)


@pytest.mark.parametrize("value", [7, np.uint64(2**63 + 1)])
def test_an_integer(tmp_path: Path, value: Any) -> None:
    """As an attribute, with its type."""
    with h5py.File(tmp_path / "attributes.hdf5", "w") as file:
        hdf5_arrays.write_integer(file, "ours", value)
        file.attrs["theirs"] = value
        ours, theirs = (file.attrs.get_id(name) for name in ("ours", "theirs"))
        assert (ours.dtype, ours.shape, file.attrs["ours"]) == (theirs.dtype, theirs.shape, file.attrs["theirs"])
