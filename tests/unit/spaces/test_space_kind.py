"""Kinds of spaces: which one a space is of, and what each must have."""

from __future__ import annotations

from typing import Any

import gym
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.spaces.descriptions import KINDS, kind_of
from gymtwist.spaces.gymnasium_spaces import info_restorer, value_codec
from gymtwist.spaces.space_kind import SpaceKind
from tests.support.space_samples import PAIR, keyed


class OwnBox(spaces.Box):
    """A Box by another name."""


class Box(spaces.Space[Any]):
    """A kind of space that has the name of another."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda each: each.__name__)
def test_a_kind_has_the_name_of_its_class(kind: type[SpaceKind]) -> None:
    """By which Gymnasium has it too."""
    assert issubclass(getattr(spaces, kind.__name__), spaces.Space)
    assert kind.__struct_config__.tag == kind.__name__


def test_a_space_is_of_the_kind_of_its_class() -> None:
    """Or of the class that it is derived from; of Gym's it is found by the same name."""
    box = kind_of(PAIR)
    assert box.__name__ == "Box"
    assert kind_of(OwnBox(-1, 1, (2,))) is box
    assert kind_of(gym.spaces.Box(-1, 1, (2,))) is box
    assert kind_of(Box()) is SpaceKind


@pytest.mark.parametrize(
    ("space", "value", "path"),
    [
        (spaces.Discrete(3), 0.5, "action is"),
        (spaces.Sequence(spaces.Discrete(3)), (1, 0.5), r"action\[1\] is"),
        (spaces.OneOf([spaces.MultiBinary(2)]), (0, [0, 300]), r"action\[1\] is"),
        (keyed({"a": spaces.MultiDiscrete([2, 2])}), {"a": [0.5, 1]}, "action.a is"),
    ],
)
def test_numbers_that_would_change_are_refused_on_the_way_out(space: spaces.Space[Any], value: Any, path: str) -> None:
    """Wherever they are, from a codec that is to be exact."""
    codec = value_codec(space, name="action", exact=True)
    for dump in (codec.pack, codec.to_json):
        with pytest.raises(ValueError, match=path):
            dump(value)


def test_an_element_in_an_info_gets_its_dtypes_back() -> None:
    """With fields that its space does not have left out; what cannot be an element stays."""
    restore = info_restorer(keyed({"a": PAIR, 1: spaces.Discrete(3)}))
    restored = restore({"a": [0, 1], "1": 2, "more": 3})
    assert restored.keys() == {"a", 1}
    assert restored["a"].dtype == np.float32
    assert type(restored[1]) is np.int64
    assert restore({"a": [0, 1]}) == {"a": [0, 1]}
