"""Spaces to descriptions and back."""

from __future__ import annotations

import enum
import warnings
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given

from gymtwist.errors import EnvironmentFault
from gymtwist.spaces import descriptions as wire
from gymtwist.spaces.descriptions import Description, for_json
from gymtwist.spaces.gymnasium_spaces import build, describe, value_codec
from gymtwist.spaces.multi_binary_space import MultiBinary
from tests.support.nested_spaces import NESTED
from tests.support.registry_cases import GYMNASIUM, registered
from tests.support.space_strategies import equal

_from_json = msgspec.json.Decoder(Description).decode
_from_messagepack = msgspec.msgpack.Decoder(Description).decode


def by_json(description: Description) -> Description:
    """Send a description as JSON."""
    received: Description = _from_json(msgspec.json.encode(for_json(description)))
    return received


def by_messagepack(description: Description) -> Description:
    """Send a description as MessagePack."""
    received: Description = _from_messagepack(msgspec.msgpack.encode(description))
    return received


def identical(one: spaces.Space[Any], other: spaces.Space[Any]) -> bool:
    """Compare spaces more strictly than ``==``, which allows bounds to be close and keys in any order."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, spaces.Box) and isinstance(other, spaces.Box):
        return all(
            getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ("low", "high", "bounded_below")
        )
    if isinstance(one, spaces.Dict) and isinstance(other, spaces.Dict):
        return list(one.spaces) == list(other.spaces) and all(
            identical(*each) for each in zip(one.spaces.values(), other.spaces.values(), strict=True)
        )
    if isinstance(one, (spaces.Tuple, spaces.OneOf)) and isinstance(other, (spaces.Tuple, spaces.OneOf)):
        return all(identical(*each) for each in zip(one.spaces, other.spaces, strict=True))
    if isinstance(one, spaces.Text) and isinstance(other, spaces.Text):
        return one.character_list == other.character_list
    return True


@given(NESTED)
def test_a_space_comes_back_equal(space: spaces.Space[Any]) -> None:
    """Whatever it is, in both encodings; to the last bit of its bounds."""
    description = describe(space)
    assert build(description) == space
    for sent in (by_json(description), by_messagepack(description)):
        assert identical(build(sent), space)
        assert describe(build(sent)) == description


@given(NESTED)
def test_a_space_that_comes_back_draws_the_same(space: spaces.Space[Any]) -> None:
    """From the same seed: a client can sample by itself."""
    if any(isinstance(each, spaces.Graph) for each in every(space)):
        return  # Gymnasium's draw nodes of Discrete spaces from an own generator
    again = build(by_messagepack(describe(space)))
    space.seed(3)
    again.seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert equal(space.sample(), again.sample())


def every(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    """Lists a space and those in it."""
    inner: list[Any] = []
    if isinstance(space, (spaces.Tuple, spaces.OneOf)):
        inner = list(space.spaces)
    elif isinstance(space, spaces.Dict):
        inner = list(space.spaces.values())
    elif isinstance(space, spaces.Sequence):
        inner = [space.feature_space]
    return [space, *(each for part in inner for each in every(part))]


@pytest.mark.parametrize("environment", [each.name for each in registered() if each.library == GYMNASIUM])
def test_the_spaces_of_every_environment_of_gymnasium_come_back(environment: str) -> None:
    """Of those that can be made here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = gymnasium.make(environment)
        except Exception as error:
            pytest.skip(f"cannot be made here: {type(error).__name__}")
        for space in (made.action_space, made.observation_space):
            assert build(by_json(describe(space))) == space
            assert build(by_messagepack(describe(space))) == space
        codec = value_codec(made.observation_space, name="observation")
        observation, _ = made.reset(seed=1)
        assert equal(codec.unpack(codec.pack(observation)), codec.from_json(codec.to_json(observation)))
        made.close()


def test_a_uniform_bound_is_one_number() -> None:
    """A picture's Box has 100,800 of them."""
    description = describe(spaces.Box(0, 255, (210, 160, 3), np.uint8))
    assert description == wire.Box((210, 160, 3), "uint8", 0, 255)
    assert len(msgspec.json.encode(for_json(description))) < 100


def test_a_bound_that_is_not_uniform_is_bytes_or_a_list() -> None:
    """As the encoding has it."""
    description = describe(spaces.Box(np.array([0, -np.inf]), np.array([0.1, 1]), dtype=np.float64))
    assert isinstance(description, wire.Box)
    assert description.low == np.array([0, -np.inf]).tobytes()
    assert msgspec.to_builtins(for_json(description))["low"] == [0.0, "-Infinity"]


class OwnBox(spaces.Box):
    """A Box by another name."""


class Loaded(spaces.Discrete):
    """A Discrete with a weight, without which it is not itself."""

    def __eq__(self, other: object) -> bool:
        """Tell whether the other has a weight too."""
        return isinstance(other, Loaded) and super().__eq__(other)


class Partial(spaces.Discrete):
    """A Discrete that was never made one."""

    def __init__(self) -> None:
        """Leave everything to be done."""


class Unknown(spaces.Space[int]):
    """A kind of space that nobody has heard of."""


def graph_of(space: spaces.Space[Any]) -> spaces.Graph:
    """A Graph with nodes of a space that the constructors of some versions refuse."""
    graph = spaces.Graph(spaces.Discrete(2), None)
    graph.node_space = space  # type: ignore[assignment]
    return graph


class Key(str, enum.Enum):
    """A key that is equal to a string."""

    LEFT = "left"


class Odd(str):
    """A key that is equal to a string, with a hash of its own."""

    __slots__ = ()

    def __hash__(self) -> int:
        """Is not the string's."""
        return 3


def keyed(fields: dict[Any, spaces.Space[Any]]) -> spaces.Dict[Any]:
    """A Dict whose keys need not be strings."""
    return spaces.Dict(fields)


def test_a_subclass_is_described_as_its_kind() -> None:
    """Whether or not that is equal to it."""
    space = OwnBox(-1, 1, (2,), np.float32)
    assert build(describe(space)) == space
    assert build(describe(spaces.Tuple([Loaded(2)]))) == spaces.Tuple([spaces.Discrete(2)])


@pytest.mark.parametrize("key", ["a", 1, -(2**63), 2**64 - 1, True, None, 0.5, (1, ("a", None)), np.int8(3), Key.LEFT])
def test_a_key_of_a_dict(key: Any) -> None:
    """Need not be a string, as long as messages can carry what is equal to it."""
    space = keyed({key: spaces.Discrete(2)})
    assert build(by_json(describe(space))) == space
    assert build(by_messagepack(describe(space))) == space


def deep() -> spaces.Space[Any]:
    """A space nested too deep."""
    space: spaces.Space[Any] = spaces.Discrete(2)
    for _ in range(wire.MAX_DEPTH):
        space = spaces.Tuple([space])
    return space


def in_itself() -> spaces.Space[Any]:
    """A space that is in itself."""
    space = keyed({})
    space["again"] = space
    return space


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (Unknown(), r"space: a Unknown \(of tests.*\) is not one of Gymnasium's kinds of spaces.* register_space\(\)"),
        (keyed({"a": spaces.Sequence(spaces.Tuple([Unknown()]))}), r'space\["a"\]\.feature_space\[0\]: a Unknown '),
        (graph_of(Unknown()), r"space\.node_space: a Unknown "),
        (spaces.OneOf([spaces.Tuple([Partial()])]), r"space\[0\]\[0\]: .*Partial"),
        (keyed({1: spaces.Discrete(2), "1": spaces.Discrete(2)}), "keys that are the same"),
        (keyed({frozenset(): spaces.Discrete(2)}), "a key that no message can carry"),
        (keyed({2**70: spaces.Discrete(2)}), "a key that no message can carry"),
        (keyed({Odd(): spaces.Discrete(2)}), "a key that no message can carry"),
        (keyed({"\ud800": spaces.Discrete(2)}), "surrogates not allowed"),
        (spaces.Text(3, charset="\ud800"), "surrogates not allowed"),
        (spaces.Box(-1, 1, (2,), np.longdouble), "a dtype that is not one of"),
        (spaces.Box(-1, 1, (2,), np.dtype(">f4")), "a dtype that is not one of"),
        (spaces.Tuple([spaces.Discrete(2)] * (wire.MAX_LEAVES + 1)), "more than 10000 leaves"),
        (deep(), "more than 32 deep"),
        (in_itself(), "more than 32 deep"),
    ],
)
def test_what_cannot_be_described(space: spaces.Space[Any], says: str) -> None:
    """Is the environment's fault, and says what it is."""
    with pytest.raises(EnvironmentFault, match=says):
        describe(space)


@pytest.mark.parametrize(
    "description",
    [
        wire.Box((2,), "float32", "NaN", 1),
        wire.Box((2,), "float32", 2, 1),
        wire.Box((2,), "float32", 1e39, "Infinity"),
        wire.OneOf(()),
        wire.Text(3, 2, "a"),
    ],
)
def test_a_description_of_no_space(description: Description) -> None:
    """Builds none."""
    with pytest.raises(ValueError):
        build(description)


def test_a_kind_that_an_older_gymnasium_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The description of another's space is refused as any other that is of no space."""
    monkeypatch.delattr(spaces, "MultiBinary")
    with pytest.raises(ValueError, match="MultiBinary"):
        build(MultiBinary(2))
