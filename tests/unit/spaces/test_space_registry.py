"""Spaces of classes that Gymnasium does not have: as Text, as what they are derived from, as what is registered."""

from __future__ import annotations

import json
from typing import Any

import gym
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.errors import EnvironmentFault, InvalidAction
from gymtwist.protocol.dynamic_values import encode_value
from gymtwist.spaces import descriptions as wire
from gymtwist.spaces.classic_codecs import classic_description, decoder, encoder
from gymtwist.spaces.gymnasium_spaces import build, convert, describe, value_codec
from gymtwist.spaces.space_registry import register_space
from tests.support.space_samples import PAIR, keyed, sent, sent_in_json
from tests.support.space_strategies import equal


class Mission(spaces.Space[str]):
    """Strings, as its dtype says; like MiniGrid's."""

    def __init__(self) -> None:
        """Is of strings."""
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return the one that there is."""
        return "go to the größte door"

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them."""
        return isinstance(x, str) and x.startswith("go ")


class Word(spaces.Space[str]):
    """Strings, as its type parameter says, and of which characters."""

    min_length, max_length, characters = 1, 3, "ab"

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them."""
        return isinstance(x, str) and len(x) < 4


class Even(spaces.Discrete):
    """Every second number of a Discrete."""

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them."""
        return bool(x % 2 == 0) and super().contains(x)


class Colors(spaces.Space[Any]):
    """Names of colors, as any object; the order is that of the bytes that clients get."""

    names: tuple[str, ...] = ("red", "green", "blue")

    def contains(self, x: Any) -> bool:
        """Tell whether it is one of them."""
        return isinstance(x, Color) and x.name != "blue"


class Color:
    """One of the names."""

    def __init__(self, name: str) -> None:
        """Take the name."""
        self.name = name

    def __eq__(self, other: object) -> bool:
        """Compare the names."""
        return isinstance(other, Color) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


class Shades(Colors):
    """More of them."""


class Die:
    """No space of any library."""

    sides = 6


register_space(
    Colors,
    lambda space: spaces.Discrete(len(space.names)),
    encode=lambda space, color: space.names.index(color.name),
    decode=lambda space, number: Color(space.names[number]),
)
register_space(Die, lambda die: spaces.Discrete(die.sides, start=1))

EACH_WAY = pytest.mark.parametrize("binary", [False, True])


def carried(space: Any, value: Any, binary: bool, **options: Any) -> Any:
    """Send a value in a message of the framed protocol."""
    codec = value_codec(space, name="action", **options)
    return codec.unpack(sent(codec.pack(value))) if binary else codec.from_json(sent_in_json(codec.to_json(value)))


@pytest.mark.parametrize("space", [Mission(), keyed({"mission": Mission()}), spaces.Sequence(Word())])
def test_a_space_of_strings_is_a_text(space: spaces.Space[Any]) -> None:
    """Wherever it is; with what it says of its characters, or else with any that are printable."""
    found = describe(space)
    while not isinstance(found, wire.Text):
        ((_, found),) = found.inner()
    assert found in (wire.Text(0, 4096, found.characters), wire.Text(1, 3, "ab"))
    assert build(describe(space)) is not None
    assert '"type": "Text"' in json.dumps(classic_description(space))


@EACH_WAY
def test_a_string_of_a_space_of_strings_comes_back(binary: bool) -> None:
    """Whichever characters it has, and the space itself says which action it contains."""
    observed = Mission().sample()
    assert carried(keyed({"mission": Mission()}), {"mission": observed}, binary) == {"mission": observed}
    for space, wrong in ((Mission(), "stay"), (Word(), "abab")):
        with pytest.raises(InvalidAction, match=f'action is "{wrong}", which is not in'):
            carried(space, wrong, binary)
        assert carried(space, wrong, binary, checked=False) == wrong
        with pytest.raises(InvalidAction, match="which is not in"):
            decoder(space)(wrong)
    assert decoder(Mission())("go é") == "go é"


@EACH_WAY
def test_a_space_of_a_subclass_checks_actions_itself(binary: bool) -> None:
    """It may contain less than what it is derived from."""
    space = spaces.Tuple([Even(5), PAIR])
    assert carried(space, (2, np.zeros(2, np.float32)), binary)[0] == 2
    with pytest.raises(InvalidAction, match=r"action\[0\] is (np.int64\()?3\)?, which is not in Discrete\(5\)"):
        carried(space, (3, np.zeros(2, np.float32)), binary)


@EACH_WAY
@pytest.mark.parametrize("space", [Colors(), Shades()])
def test_a_space_of_a_registered_class_is_what_it_is_registered_as(space: Colors, binary: bool) -> None:
    """Alone and in others; its elements are converted both ways."""
    assert describe(space) == wire.Discrete(3)
    assert classic_description(space) == {"type": "Discrete", "n": 3, "start": 0}
    whole = keyed({"color": space, "pair": PAIR})
    value = {"color": Color("green"), "pair": np.ones(2, np.float32)}
    assert value_codec(whole, name="it").pack(value) == b"\1" + bytes(7) + np.ones(2, "<f4").tobytes()
    for held, element in ((space, Color("green")), (whole, value), (spaces.Sequence(space), (Color("red"),))):
        assert equal(carried(held, element, binary), element)
        assert equal(decoder(held)(json.loads(encode_value(encoder(held)(element)))), element)


@EACH_WAY
def test_an_action_that_a_registered_space_does_not_contain(binary: bool) -> None:
    """Is refused: by what reads it, or by the space."""
    unchecked = value_codec(spaces.Discrete(3), name="action")
    checked = value_codec(Colors(), name="action")
    with pytest.raises(InvalidAction, match="which is not in"):
        if binary:
            checked.unpack(sent(unchecked.pack(2)))
        else:
            checked.from_json(unchecked.to_json(2))
    Colors.names = ("red", "green")
    try:
        with pytest.raises(InvalidAction, match=r"action is .*2.*, which is not in .*: tuple index out of range"):
            checked.from_json(2)
    finally:
        Colors.names = ("red", "green", "blue")


def test_a_registered_class_need_not_be_of_a_library() -> None:
    """Nor need one of Gym's that holds it, which stays as it is."""
    die: Any = Die()
    assert describe(die) == wire.Discrete(6, 1)
    assert convert(die) is die
    assert carried(die, 6, True) == 6
    held: Any = gym.spaces.Tuple([gym.spaces.MultiDiscrete([2, 3])])
    held.spaces = (*held.spaces, die)
    assert convert(held) is held
    assert equal(carried(held, (np.array([1, 2]), 6), True), (np.array([1, 2]), np.int64(6)))


def test_what_a_registered_function_raises() -> None:
    """Is the environment's fault, with the place of the space."""

    class Broken(spaces.Space[Any]):
        """Cannot be told."""

    register_space(Broken, lambda space: space.unheard_of)
    with pytest.raises(EnvironmentFault, match=r'observation_space\["a"\]: .*unheard_of'):
        describe(keyed({"a": Broken()}), "observation_space")


def test_what_is_converted_is_not_packed_as_it_is() -> None:
    """Even if it looks like an element of the space that clients get."""

    class Doubled(spaces.Space[Any]):
        """Integers of which clients get the double."""

    register_space(
        Doubled, lambda space: spaces.Discrete(9), encode=lambda space, one: 2 * one, decode=lambda space, two: two // 2
    )
    values = value_codec(spaces.Tuple([Doubled(), PAIR]), name="it", checked=False)
    value = (np.int64(3), np.ones(2, np.float32))
    packed = values.pack(value)
    assert packed == b"\6" + bytes(7) + np.ones(2, "<f4").tobytes()
    assert equal(values.unpack(packed), value)
