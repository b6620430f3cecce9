"""Infos of several environments in one: as Gymnasium has them where they are of one type, and complete where not."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from gymtwist.spaces.info_merging import add_info
from tests.support.client_equivalence import assert_same


def merged(*infos: dict[str, Any], add: Any = None) -> dict[str, Any]:
    """Merges the infos of environments."""
    whole: dict[str, Any] = {}
    for index, info in enumerate(infos):
        whole = (add or partial(add_info, len(infos)))(whole, info, index)
    return whole


@pytest.mark.parametrize(
    "infos",
    [
        [{"x": 1, "y": 2.5, "z": True}, {"x": 2}, {"z": False, "w": "text"}],
        [{"x": np.float32(1.5)}, {"x": np.float32(2.5)}],
        [{"x": np.arange(3)}, {}, {"x": np.arange(3)}],
        [{"x": {"y": 1, "z": {"w": [1]}}}, {"x": {"y": 2}}],
        [{"x": None}, {"x": np.True_}, {"x": "text"}],
        [{"final_obs": np.zeros(2), "final_info": {"x": 1}}, {}],
        [{"final_obs": {"a": 1}}, {"final_obs": {"a": 2}}],
    ],
)
def test_infos_of_one_type_are_as_gymnasium_has_them(infos: list[dict[str, Any]]) -> None:
    """With the same arrays, masks and order."""
    vector: Any = VectorEnv()
    vector.num_envs = len(infos)
    assert_same(merged(*infos), merged(*infos, add=vector._add_info))


def objects(*values: Any) -> Any:
    """Return an array of objects."""
    array = np.full(len(values), None, object)
    for index, value in enumerate(values):
        array[index] = value
    return array


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2, 2.7], np.array([2.0, 2.7])),
        ([2.7, 2], np.array([2.7, 2.0])),
        ([np.int8(3), np.int16(300)], np.array([3, 300], np.int16)),
        ([np.float32(0.5), 0.1], np.array([0.5, 0.1])),
        ([np.array(["ab"]), np.array(["abcd"])], np.array([["ab"], ["abcd"]])),
        ([2**62 + 1, 0.5], objects(2**62 + 1, 0.5)),
        ([1, 2**70], objects(1, 2**70)),
        ([1, None], objects(1, None)),
        ([1.5, None], objects(1.5, None)),
        ([None, 1], objects(None, 1)),
        ([True, 3], objects(True, 3)),
        ([3, True], objects(3, True)),
        ([1, "3"], objects(1, "3")),
        ([{"y": 1}, 5], objects({"y": 1}, 5)),
        ([5, {"y": 1}], objects(5, {"y": 1})),
        ([{"y": {"z": 1}}, "text"], objects({"y": {"z": 1}}, "text")),
    ],
)
def test_nothing_is_cut_of_values_of_different_types(values: list[Any], expected: Any) -> None:
    """They are in an array of a type that holds them all, or of objects."""
    infos = merged(*({"x": value} for value in values))
    assert (infos["x"].dtype, infos["x"].tolist()) == (expected.dtype, expected.tolist())
    assert infos["_x"].all()
    # A number that was one of an array may be NumPy's, but a flag is not a number.
    assert [isinstance(each, (bool, np.bool_)) for each in infos["x"]] == [isinstance(each, bool) for each in expected]


@pytest.mark.parametrize("shapes", [(3, 2), (3, 1), (1, 3)])
def test_arrays_of_different_shapes_are_objects(shapes: tuple[int, ...]) -> None:
    """Gymnasium raises, or repeats the elements of the shorter one."""
    found = merged(*({"x": np.ones(shape)} for shape in shapes))["x"]
    assert [each.shape for each in found] == [(shape,) for shape in shapes]


def test_arrays_of_other_libraries_are_merged_like_those_of_numpy() -> None:
    """Action masks among them."""
    torch = pytest.importorskip("torch")
    found = merged({"mask": torch.tensor([1, 0])}, {}, {"mask": torch.tensor([0, 1])})
    assert_same(found["mask"], np.array([[1, 0], [0, 0], [0, 1]]))
    assert_same(found["_mask"], np.array([True, False, True]))
