"""Layouts: where the numbers of a value lie in the bytes of a message."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from gymtwist.spaces.gymnasium_spaces import Codec, value_codec
from gymtwist.spaces.layout import DTYPES, MAX_SIZE, SMALL, Leaf, lay_out
from gymtwist.spaces.value_mismatch import ValueMismatch, path_text
from tests.support.space_samples import unbounded

ARRAYS = st.lists(
    stn.arrays(
        st.sampled_from([np.dtype(name) for name in DTYPES]),
        stn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    ),
    max_size=4,
)


def codec_of(*arrays: np.ndarray[Any, Any]) -> Codec:
    """Return the codec of tuples of such arrays, as a client reads them."""
    space = spaces.Tuple([spaces.Box(0, 1, each.shape, each.dtype.type) for each in arrays])
    return value_codec(space, name="value", checked=False)


FOUR, TWO = (value_codec(unbounded(shape), name="value", checked=False) for shape in ((2, 2), (2,)))


def test_leaves_are_packed_in_order() -> None:
    """Without gaps, in their order."""
    layout = lay_out([(("a",), "float32", (2,)), (("b", 0), "int8", ()), (("b", 1), "uint16", (0, 3))])
    assert layout.leaves == (
        Leaf(("a",), "float32", (2,), 0),
        Leaf(("b", 0), "int8", (), 8),
        Leaf(("b", 1), "uint16", (0, 3), 9),
    )
    assert layout.size == 9
    assert [leaf.size for leaf in layout.leaves] == [8, 1, 0]


def test_numbers_are_little_endian_and_in_c_order() -> None:
    """So that every language can read them."""
    codec = value_codec(spaces.Tuple([unbounded((2, 2)), spaces.Discrete(5, start=-2)]), name="value")
    packed = codec.pack([np.array([[1, 2], [3, 4]], np.float32), -2])
    assert packed == struct.pack("<ffffq", 1, 2, 3, 4, -2)


@given(ARRAYS)
def test_arrays_come_back_to_the_last_bit(arrays: list[np.ndarray[Any, Any]]) -> None:
    """NaN with its payload, and zeros of both signs."""
    codec = codec_of(*arrays)
    packed = codec.pack(tuple(arrays))
    assert codec.layout is not None
    assert len(packed) == codec.layout.size
    for one, other in zip(arrays, codec.unpack(packed), strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_a_large_array_is_not_copied() -> None:
    """It is sent from where it lies."""
    array = np.zeros((2, SMALL), np.uint8)
    packed = value_codec(spaces.Box(0, 255, (2, SMALL), np.uint8), name="value").pack(array)
    array[1, 2] = 1
    assert packed[SMALL + 2] == 1
    assert isinstance(packed, memoryview)
    assert (packed.format, packed.ndim) == ("B", 1)


def test_a_small_array_is_copied() -> None:
    """That takes less time."""
    array = np.zeros((2, 3), np.float32)
    packed = value_codec(unbounded((2, 3)), name="value").pack(array)
    assert packed == bytes(24)
    assert type(packed) is bytes


def test_unpacked_arrays_are_views() -> None:
    """The receiver needs no copy."""
    buffer = bytearray(8)
    array = TWO.unpack(buffer)
    struct.pack_into("<f", buffer, 4, 2.5)
    assert array.tolist() == [0, 2.5]


@pytest.mark.parametrize(
    "value",
    [
        np.array([[1, 2], [3, 4]], ">f4"),
        np.array([[1, 2], [3, 4]], np.float64),
        np.array([[1, 3], [2, 4]], np.float32).T,
        np.array([[1, 0, 2], [3, 0, 4]], np.float32)[:, ::2],
        np.array([[4, 3], [2, 1]], np.float32)[::-1, ::-1],
        [[1, 2], [3, 4]],
        np.ma.array([[1, 2], [3, 4]]),
    ],
    ids=["big-endian", "float64", "transposed", "strided", "backwards", "lists", "masked"],
)
def test_another_array_is_cast(value: Any) -> None:
    """As Gymnasium's shared memory does."""
    assert FOUR.pack(value) == struct.pack("<4f", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.zeros((2, 1), np.float32), r"shape \[2, 1\] where its space has \[2\]"),
        (np.float32(0), r"shape \[\] where its space has \[2\]"),
        ([1, [2]], "is a list that does not fit an array of float32"),
        ({"a": 1}, "is a dict that does not fit an array of float32"),
        (None, r"shape \[\]"),
        ("ab", "is a str that does not fit an array of float32"),
        ([10**400, 1], "is a list that does not fit an array of float32"),
    ],
)
def test_what_cannot_be_packed(value: Any, says: str) -> None:
    """Is said with what is there and what should be."""
    with pytest.raises(ValueMismatch, match=says):
        TWO.pack(value)


@pytest.mark.parametrize("buffer", [b"", bytes(7), bytes(9), bytearray(7), memoryview(bytes(16)), "12345678", None, 8])
def test_a_buffer_of_another_size(buffer: Any) -> None:
    """Is refused."""
    with pytest.raises(ValueError, match="send 8 bytes"):
        TWO.unpack(buffer)


def test_a_layout_has_a_greatest_size() -> None:
    """A few bytes can ask for any number of them."""
    half = ((0,), "uint8", (MAX_SIZE // 2,))
    assert lay_out([half, half]).size == MAX_SIZE
    with pytest.raises(ValueError, match=f"more than {MAX_SIZE} bytes"):
        lay_out([half, half, ((), "int8", ())])


def test_all_dtypes_are_little_endian() -> None:
    """By their names, which say nothing of that."""
    for name, dtype in DTYPES.items():
        assert dtype.name == name
        assert dtype.byteorder != ">"
        assert math.log2(dtype.itemsize) in range(4)


def test_a_path_is_written_as_in_code() -> None:
    """So that a message can name a part of an action."""
    assert path_text(("left", 2, "two words", "")) == '.left[2]["two words"][""]'
