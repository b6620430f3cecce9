"""The golden vectors of spaces and their elements: true in both directions."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from gymtwist.errors import GymtwistError
from gymtwist.protocol.handshake import error_message
from gymtwist.spaces.descriptions import Description, layout_of
from gymtwist.spaces.gymnasium_spaces import build, describe, value_codec
from tests.support.golden_vectors import entries, in_order, load, same
from tests.support.words_of_languages import words_of_python
from tools.vectors.notation import Entry, read, write
from tools.vectors.spaces import SPACES, said

#: How `struct` names the dtypes of a layout.
_CODES = {
    **{"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "float16": "e", "float32": "f"},
    **{"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q", "float64": "d"},
}


@pytest.mark.parametrize("entry", entries("spaces.json", "spaces"))
def test_a_description_builds_the_space_it_is_of(entry: Entry) -> None:
    """Equal to the one that is stated; and the layout is that of its elements."""
    raw, meaning = bytes.fromhex(entry["bytes"]), read(entry["meaning"])
    plain = json.loads(raw) if entry["encoding"] == "json" else msgspec.msgpack.decode(raw)
    assert same(in_order(plain), in_order(meaning))
    described: Any = msgspec.convert(meaning, Description)
    assert build(described) == said(entry["gymnasium"])
    assert describe(build(described)) == describe(said(entry["gymnasium"]))
    assert write(msgspec.to_builtins(layout_of(described))) == entry["layout"]


def leaves(value: Any, path: list[Any]) -> Any:
    """Return what is at a path in nested lists and objects."""
    for key in path:
        value = value[key]
    return value


def flat(value: Any) -> Iterator[Any]:
    """Go through the numbers of nested lists, the last index first."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, list):
            yield from flat(each)
        else:
            yield float(each) if isinstance(each, str) else each


def layout(entry: Entry) -> Any:
    """Return the layout of a value's space; None if it fixes none."""
    return next(each["layout"] for each in load("spaces.json")["spaces"] if each["name"] == entry["space"])


@pytest.mark.parametrize("entry", [each for each in entries("values.json", "values") if layout(each.values[0])])
def test_the_layout_packs_a_value_without_a_line_of_gymtwist(entry: Entry) -> None:
    """Of the nested lists, by Python's own `struct`; base64 is of the same bytes."""
    laid_out = layout(entry)
    packed = bytearray(laid_out["size"])
    for leaf in laid_out["leaves"]:
        numbers = list(flat(leaves(entry["nested"], leaf["path"])))
        struct.pack_into(f"<{len(numbers)}{_CODES[leaf['dtype']]}", packed, leaf["offset"], *numbers)
    assert bytes(packed) == read(entry["messagepack"])
    assert base64.b64decode(entry["base64"]) == packed


def alike(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, to the last bit and with their types."""
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in other)
    if isinstance(other, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(other, (np.ndarray, np.generic)):
        found = np.asarray(one)
        return (found.dtype, found.shape, found.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return bool(one == other)


@pytest.mark.parametrize("form", ["nested", "base64", "messagepack"])
@pytest.mark.parametrize("entry", entries("values.json", "values"))
def test_a_value_travels_in_both_directions(entry: Entry, form: str) -> None:
    """The bytes are those of the form, and make the value that is stated."""
    space, value, raw = said(SPACES[entry["space"]]), said(entry["gymnasium"]), bytes.fromhex(entry["bytes"][form])
    codec = value_codec(space, name="value", base64=form == "base64", checked=False)
    binary = form == "messagepack"
    told = msgspec.msgpack.decode(raw) if binary else json.loads(raw)
    assert same(in_order(told), in_order(read(entry[form])))
    assert alike((codec.unpack if binary else codec.from_json)(told), value)
    out = (codec.pack if binary else codec.to_json)(value)
    encode = msgspec.msgpack.encode if binary else msgspec.json.encode
    assert encode(bytes(out) if isinstance(out, memoryview) else out) == raw


@pytest.mark.parametrize("entry", entries("values.json", "taken"))
def test_an_action_in_another_form_is_taken(entry: Entry) -> None:
    """As the element that is meant."""
    codec = value_codec(said(SPACES[entry["space"]]), name="action")
    load_action = codec.unpack if entry["form"] == "messagepack" else codec.from_json
    assert alike(load_action(read(entry["value"])), said(entry["gymnasium"]))


@pytest.mark.parametrize("entry", entries("values.json", "refused"))
def test_an_action_outside_its_space_is_refused_with_the_code(entry: Entry) -> None:
    """In each form, and in words of no language."""
    codec = value_codec(said(SPACES[entry["space"]]), name="action", base64=entry["form"] == "base64")
    load_action = codec.unpack if entry["form"] == "messagepack" else codec.from_json
    with pytest.raises(GymtwistError) as refusal:
        load_action(read(entry["value"]))
    error = error_message(refusal.value)
    assert error.code == entry["code"]
    assert not words_of_python(error.message), error.message
