"""Infos of several environments, made of what came: of the kinds that Gymnasium has, whatever a server put in."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from gymtwist.client import vector_infos
from gymtwist.spaces.gymnasium_spaces import info_restorer
from tests.support.client_equivalence import assert_same

RESTORE = info_restorer(spaces.Discrete(5))


def restored(told: dict[str, Any], *, is_json: bool = False) -> dict[str, Any]:
    """Return the infos of two environments."""
    return vector_infos.restored(told, 2, RESTORE, is_json=is_json)


def test_lists_of_environments_stay_lists() -> None:
    """In an array of objects, as Gymnasium has it; JSON does not say that they were not arrays."""
    told = {"legal": [[0, 1], [1, 2]], "_legal": [True, True]}
    legal = restored(told)["legal"]
    assert (legal.dtype, legal.shape, legal.tolist()) == (np.dtype(object), (2,), [[0, 1], [1, 2]])
    assert_same(restored(told, is_json=True)["legal"], np.array([[0, 1], [1, 2]]))


def test_an_invalid_mask_is_unchanged() -> None:
    """It is an entry like others."""
    told = {"a": [1, 2], "_a": [[], {}]}
    assert restored(told)["_a"] == [[], {}]


def test_infos_are_looked_at_to_a_certain_depth() -> None:
    """What lies deeper stays as it came."""
    told: dict[str, Any] = {}
    for _ in range(5_000):
        told = {"deeper": told}
    assert list(restored(told)) == ["deeper"]


def test_entries_of_different_kinds_are_joined_as_objects() -> None:
    """Of an array that the others do not fit into."""
    joined = vector_infos.joined([{"x": np.array([1, 2])}, {"x": np.array(["a", None], object)}], [2, 2])
    assert joined["x"].tolist() == [1, 2, "a", None]
    joined = vector_infos.joined([{"x": np.zeros((1, 2))}, {"x": np.zeros((1, 3))}], [1, 1])
    assert [each.shape for each in joined["x"]] == [(2,), (3,)]


def test_nothing_is_cut_where_groups_have_different_types() -> None:
    """An integer of one process beside a float of another, or None, or a mapping."""
    mask = np.array([True, False])
    parts = [{"x": np.array([2, 0]), "_x": mask}, {"x": np.array([0.0, 2.7]), "_x": ~mask}]
    assert_same(vector_infos.joined(parts, [2, 2])["x"], np.array([2.0, 0.0, 0.0, 2.7]))
    parts = [{"x": np.array([2, 0]), "_x": mask}, {}, {"x": np.array([None, "a"], object), "_x": ~mask}]
    assert vector_infos.joined(parts, [2, 1, 2])["x"].tolist() == [2, None, None, None, "a"]
    deep = {"x": {"y": np.array([1, 2]), "_y": ~mask}, "_x": ~mask}
    assert vector_infos.joined([parts[0], deep], [2, 2])["x"].tolist() == [2, None, None, {"y": 2}]


def test_a_flag_beside_numbers_stays_a_flag() -> None:
    """In a list of JSON, which NumPy would make an array of numbers of."""
    assert restored({"x": [True, 2], "_x": [True, True]}, is_json=True)["x"].tolist() == [True, 2]
    assert restored({"x": [1, 2.5], "_x": [True, True]}, is_json=True)["x"].dtype == np.float64
