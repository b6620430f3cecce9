"""Generated functions do what the codecs of the parts of a value do."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NoReturn

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.spaces.descriptions import layout_of
from gymtwist.spaces.gymnasium_spaces import codec_context, describe, value_codec
from gymtwist.spaces.layout import SMALL
from gymtwist.spaces.space_codecs import Form, SpaceCodec
from gymtwist.spaces.space_kind import codec_of
from gymtwist.spaces.value_plan import NestPlan, compile_plan
from tests.support.nested_spaces import ANYTHING, FIXED
from tests.support.space_samples import PAIR, keyed, relaxed, sample
from tests.support.space_strategies import SPACES

OPTIONS = st.fixed_dictionaries({name: st.booleans() for name in ("checked", "owned", "plain", "exact")})
NESTED = (FIXED | SPACES).filter(lambda space: isinstance(space, (spaces.Tuple, spaces.Dict)))
WITH_BATCHES = NESTED | NESTED.map(lambda space: batch_space(space, 2))


class Left(Exception):
    """A value was left to the codecs of its parts."""


def leave(value: Any) -> NoReturn:
    """Leaves a value to them."""
    raise Left


class Functions:
    """The functions of a space: those of its parts, and the generated ones, which are None if there are none."""

    def __init__(self, space: spaces.Space[Any], **options: bool) -> None:
        """Compiles them."""
        layout = layout_of(describe(space))
        assert layout is not None
        self.size = layout.size
        offsets = {leaf.path: leaf.offset for leaf in layout.leaves}
        codec: SpaceCodec = codec_of(space, codec_context(Form.BINARY, "it", offsets=offsets, **options))
        assert codec.append is not None
        assert codec.unpack_from is not None
        self._append, self.unpack = codec.append, codec.unpack_from
        self.is_planned = isinstance(codec.plan, NestPlan)
        self.planned = compile_plan(codec.plan, self.size, leave, leave) if isinstance(codec.plan, NestPlan) else None

    def pack(self, value: Any) -> bytes:
        """Packs a value as its parts are."""
        parts: list[Any] = []
        self._append(parts, value)
        return b"".join(parts)


def outcome(function: Any, argument: Any) -> Any:
    """Returns all that there is to see of a result, or of an error."""
    try:
        return described(function(argument))
    except ValueError as error:
        return type(error), str(error)


def described(value: Any) -> Any:
    """Describes a value to the last bit, with types and the flags of arrays."""
    if isinstance(value, dict):
        return dict, [(key, described(each)) for key, each in value.items()]
    if isinstance(value, tuple):
        return tuple, [described(each) for each in value]
    if isinstance(value, np.ndarray):
        flags = value.flags
        return (
            *(value.dtype, value.dtype is np.dtype(value.dtype.name), value.shape, value.tobytes()),
            *(flags.owndata, flags.writeable, flags.aligned, flags.c_contiguous),
        )
    return type(value), value


def is_planned(space: Any) -> bool:
    """Tells whether functions are to be generated: arrays of nothing are not in a message."""
    inner = list(leaves(space))
    return bool(inner) and all(0 not in (each.shape or ()) for each in inner)


def leaves(space: Any) -> Any:
    """Yields the spaces without others in them."""
    if isinstance(space, (spaces.Tuple, spaces.Dict)):
        for each in space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces:
            yield from leaves(each)
    else:
        yield space


FIXED_NESTED = WITH_BATCHES.filter(lambda space: layout_of(describe(space)) is not None)


@relaxed
@given(FIXED_NESTED, OPTIONS)
def test_a_value_of_the_space(space: spaces.Space[Any], options: dict[str, bool]) -> None:
    """Is packed and unpacked alike; only numbers where arrays of shape ``()`` should be are left to the codecs."""
    functions = Functions(space, **options)
    assert (functions.planned is not None) == is_planned(space)
    if functions.planned is None:
        return
    value = sample(space)
    pack, unpack = functions.planned
    packed = functions.pack(value)
    try:
        planned = pack(value)
    except Left:
        assert any(each.shape == () and not isinstance(each, spaces.Discrete) for each in leaves(space))
    else:
        assert type(planned) is bytes
        assert planned == packed
    for buffer in (packed, bytearray(packed), memoryview(packed), memoryview(bytearray(packed))):
        assert outcome(unpack, buffer) == outcome(functions.unpack, buffer)
    for other in (packed + b"\0", memoryview(packed)[1:], memoryview(packed * 4).cast("f"), "text", None):
        with pytest.raises(Left):
            unpack(other)


@relaxed
@given(FIXED_NESTED, OPTIONS, st.data())
def test_any_bytes(space: spaces.Space[Any], options: dict[str, bool], data: st.DataObject) -> None:
    """Are the same value, or the same error."""
    functions = Functions(space, **options)
    if functions.planned is not None:
        buffer = data.draw(st.binary(min_size=functions.size, max_size=functions.size))
        assert outcome(functions.planned[1], buffer) == outcome(functions.unpack, buffer)


@relaxed
@given(FIXED_NESTED, OPTIONS, st.data())
def test_a_value_with_an_odd_part(space: spaces.Space[Any], options: dict[str, bool], data: st.DataObject) -> None:
    """Is packed alike, or left to the codecs of its parts."""
    functions = Functions(space, **options)
    if functions.planned is None:
        return
    odd = data.draw(ANYTHING | st.sampled_from(ODD))
    value = replaced(sample(space), odd, data)
    try:
        packed = functions.planned[0](value)
    except Left:
        return
    assert packed == functions.pack(value)


ODD = [
    np.zeros(2, np.float32).view(np.recarray),
    np.ma.masked_array(np.zeros(2, np.float32)),
    np.zeros(2, ">f4"),
    np.zeros((2, 2), np.float32).T,
    np.zeros(4, np.float32)[::2],
    *(np.int64(1), np.bool_(True), np.array(1), [np.zeros(2)], OrderedDict(), iter(())),
]


def replaced(value: Any, odd: Any, data: st.DataObject) -> Any:
    """Replaces a part of a value, or the whole."""
    if isinstance(value, (tuple, dict)) and value and data.draw(st.booleans()):
        keys: Any = list(value) if isinstance(value, dict) else range(len(value))
        chosen = data.draw(st.sampled_from(keys))
        if isinstance(value, dict):
            return {**value, chosen: replaced(value[chosen], odd, data)}
        return tuple(replaced(each, odd, data) if at == chosen else each for at, each in enumerate(value))
    return odd


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.array([1, 2], np.float32), "b": np.int64(1), "more": 1},
        {"a": np.array([1, 0, 2], np.float32)[::2], "b": 1},
        {"a": np.array([1, 2], np.float32), "b": True},
    ],
)
def test_what_is_packed_at_once(value: Any) -> None:
    """Are also arrays with gaps, integers of all types, and dictionaries with more keys."""
    functions = Functions(keyed({"a": PAIR, "b": spaces.Discrete(3)}))
    assert functions.planned is not None
    assert functions.planned[0](value) == functions.pack(value)


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict({"a": np.array([1, 2], np.float32), "b": 1}),
        {"a": np.array([1, 2], np.float64), "b": 1},
        {"a": [1, 2], "b": np.array(1)},
        {"a": (1, 2), "b": 1.0},
    ],
)
def test_what_is_converted(value: Any) -> None:
    """Is what the codecs of the parts convert."""
    space = keyed({"a": PAIR, "b": spaces.Discrete(3)})
    planned = Functions(space).planned
    assert planned is not None
    with pytest.raises(Left):
        planned[0](value)
    expected = np.array([1, 2], np.float32).tobytes() + np.array(1).tobytes()
    assert value_codec(space, name="it").pack(value) == expected


def test_large_arrays() -> None:
    """Are packed from their memory, with gaps or without."""
    large = spaces.Box(-1, 1, (SMALL,), np.float32)
    functions = Functions(spaces.Tuple([large, PAIR]))
    assert functions.planned is not None
    whole, pair = np.arange(2 * SMALL, dtype=np.float32), np.zeros(2, np.float32)
    assert functions.planned[0]((whole[:SMALL], pair)) == functions.pack((whole[:SMALL], pair))
    with pytest.raises(Left):
        functions.planned[0]((whole[::2], pair))
    codec = value_codec(spaces.Tuple([large, PAIR]), name="it")
    assert codec.pack((whole[::2], pair)) == whole[::2].tobytes() + pair.tobytes()


def test_a_value_of_very_many_arrays() -> None:
    """Is left to the codecs of its parts: it would take long to compile."""
    space = spaces.Tuple([PAIR] * 1000)
    functions = Functions(space)
    assert functions.is_planned
    assert functions.planned is None
    codec = value_codec(space, name="it", checked=False)
    packed = codec.pack(sample(space))
    assert codec.pack(codec.unpack(packed)) == packed
