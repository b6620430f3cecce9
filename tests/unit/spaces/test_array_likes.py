"""Arrays of other libraries: what NumPy can read, and what it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gymtwist.spaces.array_likes import array_of


class Dlpack:
    """Offers its numbers by DLPack alone."""

    def __init__(self) -> None:
        self.numbers = np.arange(3, dtype=np.int16)

    def __dlpack__(self, **arguments: Any) -> Any:
        """Offers them."""
        return self.numbers.__dlpack__(**arguments)

    def __dlpack_device__(self) -> Any:
        """Says where they are."""
        return self.numbers.__dlpack_device__()


class Elsewhere:
    """Has an array that cannot be had."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Raise."""
        raise TypeError("it is on a GPU")


def test_an_array_that_offers_dlpack() -> None:
    """Keeps its dtype and shape."""
    array = array_of(Dlpack())
    assert (array.dtype, array.tolist()) == (np.dtype(np.int16), [0, 1, 2])


@pytest.mark.parametrize("value", [Elsewhere(), object(), "text", np.ndarray, None])
def test_anything_else_makes_no_array(value: object) -> None:
    """The error names its type."""
    with pytest.raises(TypeError, match=f"no message can carry a {type(value).__name__}"):
        array_of(value)


def test_tensors_of_pytorch() -> None:
    """Also those that NumPy cannot read by itself: with a gradient, or of bfloat16."""
    torch = pytest.importorskip("torch")
    for tensor, expected in (
        (torch.arange(3, dtype=torch.int8), np.arange(3, dtype=np.int8)),
        (torch.ones(2, requires_grad=True) * 2, np.full(2, 2, np.float32)),
        (torch.tensor([1.5, 2.5], dtype=torch.bfloat16), np.array([1.5, 2.5], np.float32)),
        (torch.tensor(True), np.array(True)),
    ):
        array = array_of(tensor)
        assert (array.dtype, array.shape, array.tolist()) == (expected.dtype, expected.shape, expected.tolist())
