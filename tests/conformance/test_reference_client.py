"""The reference client against the golden vectors: it reads and writes what they say, and refuses what they refuse."""

from __future__ import annotations

import ast
import json
import math
import socket
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

import gymtwist_conformance
from gymtwist.protocol import all_messages
from gymtwist_conformance.reference_client import (
    INT32,
    NETSTRING,
    ClassicClient,
    ElementCodec,
    FramedClient,
    Violation,
    encode,
    frame,
    strict_json,
)
from gymtwist_conformance.reference_client.framed_client import REPLIES, check_reply
from gymtwist_conformance.reference_client.frames import decode, find_payload

VECTORS = Path(__file__).parents[2] / "docs" / "reference" / "protocol" / "vectors"
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def vectors(name: str, key: str) -> list[Any]:
    """Return the vectors of a list in a file, as parameters of a test."""
    entries = json.loads((VECTORS / f"{name}.json").read_text())[key]
    kinds = ("framing", "encoding", "form")
    return [
        pytest.param(each, id=" ".join([each["name"], *(each[kind] or "none" for kind in kinds if kind in each)]))
        for each in entries
    ]


def meaning(value: Any) -> Any:
    """Read a meaning: bytes in hexadecimal, and the names of numbers that JSON has no token for."""
    if isinstance(value, dict):
        if value.keys() == {"hex"}:
            return bytes.fromhex(value["hex"])
        if value.keys() == {"float"}:
            return _NOT_FINITE[value["float"]]
        return {key: meaning(each) for key, each in value.items()}
    return [meaning(each) for each in value] if isinstance(value, list) else value


SPACES = {each.values[0]["name"]: each.values[0] for each in vectors("spaces", "spaces")}
FORMS: dict[str, Any] = {
    "nested": {"text": True},
    "base64": {"text": True, "base64": True},
    "messagepack": {"text": False},
}


def test_the_replies_have_the_fields_of_the_messages() -> None:
    """The reference client knows every field of every reply, and which of them may be missing."""
    for each in get_args(all_messages.Reply):
        fields = {field.encode_name + "?" * (not field.required) for field in msgspec.structs.fields(each)}
        assert REPLIES[each.__struct_config__.tag].keys() == fields
    assert len(REPLIES) == len(get_args(all_messages.Reply))


def codec(space: str, form: str) -> ElementCodec:
    """Return the codec of a space of the vectors."""
    return ElementCodec(meaning(SPACES[space]["meaning"]), checked=True, **FORMS[form])


@pytest.mark.parametrize("entry", vectors("spaces", "spaces"))
def test_the_layout_of_a_space(entry: dict[str, Any]) -> None:
    """The layout follows from the description."""
    assert ElementCodec(meaning(entry["meaning"]), text=entry["encoding"] == "json").layout == entry["layout"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("entry", vectors("values", "values"))
def test_an_element_in_both_directions(entry: dict[str, Any], form: str) -> None:
    """What is written back is what was read, to the last bit."""
    carried, elements = meaning(entry[form]), codec(entry["space"], form)
    assert repr(elements.dump(elements.load(carried))) == repr(carried)


@pytest.mark.parametrize("entry", vectors("values", "refused"))
def test_an_element_that_is_refused(entry: dict[str, Any]) -> None:
    """The client refuses what a server must refuse."""
    with pytest.raises(Violation):
        codec(entry["space"], entry["form"]).load(meaning(entry["value"]))


@pytest.mark.parametrize("entry", vectors("framing", "whole"))
def test_whole_frames(entry: dict[str, Any]) -> None:
    """The payloads are found, and what is left is kept."""
    data, payloads = bytes.fromhex(entry["bytes"]), []
    while found := find_payload(entry["framing"], data):
        start, stop, end = found
        payloads.append(data[start:stop].hex())
        data = data[end:]
    assert (payloads, len(data)) == (entry["payloads"], entry["left"])


@pytest.mark.parametrize("entry", vectors("framing", "broken"))
def test_broken_frames(entry: dict[str, Any]) -> None:
    """The client refuses what a server must refuse, up to a limit of its own and to empty frames."""
    data = bytes.fromhex(entry["bytes"])
    if entry["name"] == "an empty payload":
        with pytest.raises(Violation):
            decode(entry["framing"], b"")
        return
    with pytest.raises(Violation):
        find_payload(entry["framing"], data, 1 << 24)


@pytest.mark.parametrize("entry", [*vectors("replies", "canonical"), *vectors("replies", "ways")])
def test_a_reply(entry: dict[str, Any]) -> None:
    """Every reply of the vectors is read through a socket, with all its fields."""
    ours, theirs = socket.socketpair()
    with FramedClient(ours, entry["framing"]) as client, theirs:
        theirs.sendall(bytes.fromhex(entry["bytes"]))
        told = client.hear()
    expected = meaning(entry["meaning"]) if "meaning" in entry else told
    assert {key: repr(each) for key, each in told.items()} == {key: repr(each) for key, each in expected.items()}


def nested_objects(depth: int) -> Any:
    """Return objects in objects, around a number."""
    value: Any = 0
    for _ in range(depth):
        value = {"x": value}
    return value


def test_the_deepest_reply() -> None:
    """Data may be nested 64 deep."""
    assert check_reply({"op": "reset", "observation": 0, "info": nested_objects(64)})


@pytest.mark.parametrize(
    "told",
    [
        {"op": "fly"},
        {"op": 7},
        {"op": "reset"},
        {"op": "step_many", "observations": 0, "rewards": [], "terminated": True, "truncated": True, "count": 1.0},
        {"op": "error", "code": "x", "message": "y", "fault": "nobody"},
        {"op": "share", "address": 7},
        {"op": "reset", "observation": 0, "info": nested_objects(65)},
        ["op"],
    ],
)
@pytest.mark.parametrize("encoding", [NETSTRING, INT32])
def test_an_invalid_reply(told: Any, encoding: str) -> None:
    """Unknown operations, missing fields and wrong types are violations."""
    ours, theirs = socket.socketpair()
    with FramedClient(ours, encoding) as client, theirs:
        theirs.sendall(frame(encoding, encode(encoding, told)))
        with pytest.raises(Violation):
            client.hear()


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1e999", "{", '{"a":1}x', "'a'"])
def test_invalid_json(text: str) -> None:
    """Tokens that only Python reads are refused as well."""
    with pytest.raises(Violation):
        strict_json(text)


@pytest.mark.parametrize("reply", [b"\2\0\0\0\0", b"\0\3\0\0\0NaN", b"\0\0\0\0\0"])
def test_an_invalid_classic_reply(reply: bytes) -> None:
    """An unknown kind of observation, or one that is not JSON, is a violation."""
    ours, theirs = socket.socketpair()
    with ClassicClient(ours) as client, theirs:
        theirs.sendall(reply)
        with pytest.raises(Violation):
            client.read_observation()


MODULES = sorted(Path(gymtwist_conformance.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_distribution_is_independent_of_gymtwist(module: Path) -> None:
    """It imports NumPy, msgspec and pytest, and reads and writes the bytes by itself."""
    allowed = {"numpy", "msgspec", "pytest", "gymtwist_conformance", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in allowed
