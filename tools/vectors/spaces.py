"""Spaces of all kinds and elements of them, as the server describes and writes them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from gymnasium import spaces

from gymtwist.spaces.descriptions import Description, for_json, layout_of
from gymtwist.spaces.gymnasium_spaces import describe, value_codec

from .notation import Entry, json_bytes, messagepack_bytes, write

#: Spaces, as Python says them with the names of `gymnasium.spaces`, `np` and `inf`.
SPACES: dict[str, str] = {
    "Box": "Box(-1.0, 1.0, (3,), np.float32)",
    "Box, an image": "Box(0, 255, (210, 160, 3), np.uint8)",
    "Box, one number": "Box(0.0, 1.0, (), np.float64)",
    "Box, bounds that differ": "Box(np.array([-1.0, -2.0], np.float32), np.array([1.0, 2.0], np.float32))",
    "Box, unbounded": "Box(-inf, inf, (2,), np.float64)",
    "Box, bounded above": "Box(-inf, 0.0, (2,), np.float64)",
    "Box, some bounds infinite": "Box(np.array([-inf, 0.0]), np.array([0.5, inf]), dtype=np.float64)",
    "Box, zeros of both signs": "Box(np.array([-0.0, 0.0]), np.array([1.0, 1.0]), dtype=np.float64)",
    "Box, a bound that float32 rounds": "Box(-0.1, 0.1, (1,), np.float32)",
    "Box, two dimensions": "Box(np.zeros((2, 2), np.int16), np.array([[1, 2], [3, 4]], np.int16), dtype=np.int16)",
    "Box, no elements": "Box(0.0, 1.0, (0, 3), np.float32)",
    "Box, float16": "Box(-0.5, 0.5, (2,), np.float16)",
    "Box, int8": "Box(-128, 127, (2,), np.int8)",
    "Box, int16": "Box(-300, 300, (2,), np.int16)",
    "Box, int32": "Box(-70000, 70000, (2,), np.int32)",
    "Box, int64": "Box(-9223372036854775808, 9223372036854775807, (1,), np.int64)",
    "Box, integers unbounded": "Box(-inf, inf, (2,), np.int64)",
    "Box, uint8": "Box(0, 255, (2,), np.uint8)",
    "Box, uint16": "Box(0, 65535, (2,), np.uint16)",
    "Box, uint32": "Box(0, 4294967295, (2,), np.uint32)",
    "Box, uint64": "Box(0, 18446744073709551615, (1,), np.uint64)",
    "Box, zero or one": "Box(0, 1, (2,), np.uint8)",
    "Box, bool": "Box(0, 1, (2,), np.bool_)",
    "Discrete": "Discrete(2)",
    "Discrete, start": "Discrete(5, start=-2)",
    "Discrete, int32": "Discrete(3, dtype=np.int32)",
    "Discrete, uint8": "Discrete(9, dtype=np.uint8)",
    "MultiBinary": "MultiBinary(4)",
    "MultiBinary, two dimensions": "MultiBinary([2, 3])",
    "MultiDiscrete": "MultiDiscrete([2, 3])",
    "MultiDiscrete, start": "MultiDiscrete([2, 3], start=[1, -1])",
    "MultiDiscrete, one": "MultiDiscrete([2])",
    "MultiDiscrete, two dimensions": "MultiDiscrete([[2, 3], [4, 5]], dtype=np.int32)",
    "MultiDiscrete, no elements": "MultiDiscrete(np.empty((2, 0), np.int64))",
    "Text": "Text(5, charset='abc')",
    "Text, of a least length": "Text(8, min_length=2, charset='zéß€')",
    "Tuple": "Tuple([Discrete(2), Box(0.0, 1.0, (2,), np.float32)])",
    "Tuple, empty": "Tuple([])",
    "Dict": "Dict([('position', Box(-1.0, 1.0, (2,), np.float32)), ('alive', Discrete(2))])",
    "Dict, empty": "Dict([])",
    "Dict, keys not in alphabetical order": "Dict([('b', Discrete(2)), ('a', Discrete(3))])",
    "Dict, keys that are not strings": "Dict([(1, Discrete(2)), ((0, 'x'), Discrete(3))])",
    "Sequence": "Sequence(Box(0.0, 1.0, (2,), np.float32))",
    "Sequence, stacked": "Sequence(Box(0.0, 1.0, (2,), np.float32), stack=True)",
    "Sequence of texts": "Sequence(Text(5, charset='abc'))",
    "Sequence, stacked Dict": "Sequence(Dict([('x', Box(0, 9, (2,), np.uint8)), ('y', Discrete(4))]), stack=True)",
    "Graph": "Graph(Box(-1.0, 1.0, (2,), np.float32), Discrete(3))",
    "Graph, no edges": "Graph(Discrete(4), None)",
    "OneOf": "OneOf([Discrete(2), Text(5, charset='abc')])",
    "nested": (
        "Dict([('eye', Tuple([Box(0, 255, (2, 2), np.uint8), Discrete(3)])), "
        "('hand', Dict([('open', MultiBinary(3)), ('at', Box(-inf, inf, (2,), np.float64))]))])"
    ),
    "nested without layout": (
        "Tuple([Dict([('said', Text(3, charset='ab')), ('at', Box(0.0, 1.0, (2,), np.float32))]), "
        "Sequence(OneOf([Discrete(2), Box(0, 9, (1,), np.uint8)]))])"
    ),
}
#: Elements of them, as Python says them.
VALUES: list[tuple[str, str, str]] = [
    ("Box", "Box", "np.array([0.1, -0.5, 1.0], np.float32)"),
    ("Box, not finite", "Box, unbounded", "np.array([-inf, inf])"),
    ("Box, one number", "Box, one number", "np.array(0.25)"),
    ("Box, two dimensions", "Box, two dimensions", "np.array([[1, 0], [3, 4]], np.int16)"),
    ("Box, no elements", "Box, no elements", "np.empty((0, 3), np.float32)"),
    ("Box, float16", "Box, float16", "np.array([0.1, -0.5], np.float16)"),
    ("Box, float64", "Box, unbounded", "np.array([0.1, 1e300])"),
    ("Box, the smallest float64", "Box, unbounded", "np.array([5e-324, -0.0])"),
    ("Box, int8", "Box, int8", "np.array([-128, 127], np.int8)"),
    ("Box, int16", "Box, int16", "np.array([-300, 300], np.int16)"),
    ("Box, int32", "Box, int32", "np.array([-70000, 1], np.int32)"),
    ("Box, int64", "Box, int64", "np.array([-9223372036854775808], np.int64)"),
    ("Box, uint8", "Box, uint8", "np.array([0, 255], np.uint8)"),
    ("Box, uint16", "Box, uint16", "np.array([1, 65535], np.uint16)"),
    ("Box, uint32", "Box, uint32", "np.array([1, 4294967295], np.uint32)"),
    ("Box, uint64", "Box, uint64", "np.array([18446744073709551615], np.uint64)"),
    ("Box, bool", "Box, bool", "np.array([True, False])"),
    ("Discrete", "Discrete", "np.int64(1)"),
    ("Discrete, negative", "Discrete, start", "np.int64(-2)"),
    ("Discrete, int32", "Discrete, int32", "np.int32(2)"),
    ("MultiBinary", "MultiBinary", "np.array([1, 0, 0, 1], np.int8)"),
    ("MultiBinary, two dimensions", "MultiBinary, two dimensions", "np.array([[1, 0, 0], [0, 1, 1]], np.int8)"),
    ("MultiDiscrete", "MultiDiscrete", "np.array([1, 2])"),
    ("MultiDiscrete, two dimensions", "MultiDiscrete, two dimensions", "np.array([[1, 2], [3, 4]], np.int32)"),
    ("Tuple", "Tuple", "(np.int64(1), np.array([0.5, 0.25], np.float32))"),
    ("Tuple, empty", "Tuple, empty", "()"),
    ("Dict", "Dict", "{'position': np.array([0.5, -0.5], np.float32), 'alive': np.int64(1)}"),
    ("Dict, not in alphabetical order", "Dict, keys not in alphabetical order", "{'b': np.int64(1), 'a': np.int64(2)}"),
    ("Dict, keys that are not strings", "Dict, keys that are not strings", "{1: np.int64(1), (0, 'x'): np.int64(2)}"),
    ("Text", "Text", "'abca'"),
    ("Text, beyond ASCII", "Text, of a least length", "'€é'"),
    ("Sequence", "Sequence", "(np.array([0.5, 1.0], np.float32), np.array([0.0, 0.25], np.float32))"),
    ("Sequence, empty", "Sequence", "()"),
    ("Sequence, stacked", "Sequence, stacked", "np.array([[0.5, 1.0], [0.0, 0.25]], np.float32)"),
    ("Sequence of texts", "Sequence of texts", "('a', 'cab')"),
    (
        *("Sequence, stacked Dict", "Sequence, stacked Dict"),
        "{'x': np.array([[1, 2], [3, 4], [5, 6]], np.uint8), 'y': np.array([0, 3, 1])}",
    ),
    (
        *("Graph", "Graph"),
        "GraphInstance(np.array([[0.5, -0.5], [1.0, 0.0]], np.float32), np.array([2]), np.array([[0, 1]], np.int32))",
    ),
    ("Graph, no edges", "Graph, no edges", "GraphInstance(np.array([3, 0]), None, None)"),
    ("OneOf, the first", "OneOf", "(np.int64(0), np.int64(1))"),
    ("OneOf, the second", "OneOf", "(np.int64(1), 'cab')"),
    (
        *("nested", "nested"),
        "{'eye': (np.array([[1, 2], [3, 4]], np.uint8), np.int64(2)), "
        "'hand': {'open': np.array([1, 0, 1], np.int8), 'at': np.array([inf, 0.1])}}",
    ),
    (
        *("nested without layout", "nested without layout"),
        "({'said': 'ab', 'at': np.array([0.5, 1.0], np.float32)}, "
        "((np.int64(0), np.int64(1)), (np.int64(1), np.array([7], np.uint8))))",
    ),
]
#: Actions that are not in their space: which space, the form, and what is sent.
REFUSED: list[tuple[str, str, str, Any]] = [
    ("an integer beyond the last", "Discrete", "nested", 2),
    ("an integer before the first", "Discrete, start", "nested", -3),
    ("a fraction for an integer", "Discrete", "nested", 0.5),
    ("a boolean for an integer", "Discrete", "nested", True),
    ("a string for an integer", "Discrete", "nested", "1"),
    ("null for an integer", "Discrete", "nested", None),
    ("a list for an integer", "Discrete", "nested", [1]),
    ("too few bytes", "Discrete", "messagepack", bytes(4)),
    ("too many bytes", "Discrete", "messagepack", bytes(16)),
    ("an integer beyond the last where bytes are due", "Discrete", "messagepack", 2),
    ("null where bytes are due", "Discrete", "messagepack", None),
    ("bytes of an integer beyond the last", "Discrete", "messagepack", bytes([2, *[0] * 7])),
    ("a number above its bound", "Box", "nested", [0.0, 1.5, 0.0]),
    ("NaN in a Box", "Box", "nested", ["NaN", 0.0, 0.0]),
    ("bytes of NaN in a Box", "Box", "messagepack", bytes.fromhex("0000c07f0000000000000000")),
    ("too few numbers", "Box", "nested", [0.0, 0.0]),
    ("too many numbers", "Box", "nested", [0.0] * 4),
    ("lists nested too deep", "Box", "nested", [[0.0, 0.0, 0.0]]),
    ("a number beyond float32", "Box", "nested", [1e39, 0.0, 0.0]),
    ("an unknown name of a number", "Box, unbounded", "nested", ["inf", 0.5]),
    ("a fraction for an integer in an array", "Box, int16", "nested", [1.5, 2]),
    ("a boolean for an integer that can be 2", "Box, int16", "nested", [True, 2]),
    ("a float beyond 2^53 for an integer", "Box, int64", "nested", [9_007_199_254_740_994.0]),
    ("a float beyond 2^53 for an integer", "Box, int64", "messagepack", [9_007_199_254_740_994.0]),
    ("a fraction for an integer", "Discrete", "messagepack", 0.5),
    ("a boolean for an integer of a list", "MultiDiscrete", "nested", [True, 0]),
    ("an object without the first index for a list", "Box, uint8", "nested", {"1": 0, "2": 1}),
    ("a string for a list", "Box, uint8", "nested", "AAE="),
    ("an empty object for a list of two", "Box, uint8", "nested", {}),
    ("an empty list for an object with keys", "Dict", "nested", []),
    ("an integer beyond its dtype", "Box, uint8", "nested", [256, 0]),
    ("a bit that is 2", "MultiBinary", "nested", [0, 1, 2, 0]),
    ("bytes of a bit that is 2", "MultiBinary", "messagepack", bytes([0, 1, 2, 0])),
    ("an integer beyond the last of its place", "MultiDiscrete", "nested", [2, 0]),
    ("a Tuple with a part too few", "Tuple", "nested", [1]),
    ("a Dict without a key", "Dict", "nested", {"alive": 1}),
    ("a Dict with a key too many", "Dict", "nested", {"alive": 1, "position": [0.0, 0.0], "x": 1}),
    ("text that is too long", "Text", "nested", "abcabc"),
    ("text of another character", "Text", "messagepack", "abd"),
    ("a choice that there is not", "OneOf", "nested", [2, 0]),
    ("a choice without a value", "OneOf", "messagepack", [0]),
    ("a graph without nodes", "Graph", "nested", {"edges": [0], "edge_links": [[0, 1]]}),
    ("a graph's edges without links", "Graph", "nested", {"nodes": [[0.0, 0.0]], "edges": [0]}),
    (
        *("a graph's link to a node that there is not", "Graph", "nested"),
        {"nodes": [[0.0, 0.0]], "edges": [0], "edge_links": [[0, 1]]},
    ),
    ("an array of another dtype", "Sequence", "messagepack", [{"dtype": "float64", "shape": [2], "data": bytes(16)}]),
    ("an array of another shape", "Sequence", "messagepack", [{"dtype": "float32", "shape": [3], "data": bytes(12)}]),
    ("an array with too few bytes", "Sequence", "messagepack", [{"dtype": "float32", "shape": [2], "data": bytes(4)}]),
    ("text that is not base64", "Box", "base64", "AAAA*AAA"),
    ("base64 of too few bytes", "Box", "base64", "AAAAAA=="),
    ("base64 without its padding", "Discrete", "base64", "AQAAAAAAAAA"),
]

#: Actions in other forms that can mean only one thing: which space, the form, what is sent, and what it means.
TAKEN: list[tuple[str, str, str, Any, str]] = [
    ("a whole number as a float", "Discrete", "nested", 1.0, "np.int64(1)"),
    ("whole numbers as floats", "MultiDiscrete", "nested", [1.0, 2.0], "np.array([1, 2])"),
    ("whole numbers as floats", "Box, int16", "nested", [1.0, 2], "np.array([1, 2], np.int16)"),
    ("a whole number as a float", "Discrete", "messagepack", 1.0, "np.int64(1)"),
    *(
        ("the largest whole number as a float", "Box, int64", form, [2.0**53], "np.array([2**53], np.int64)")
        for form in ("nested", "messagepack")
    ),
    ("a choice as a float", "OneOf", "nested", [0.0, 1], "(np.int64(0), np.int64(1))"),
    ("booleans for zeros and ones", "MultiBinary", "nested", [True, False, 0, 1], "np.array([1, 0, 0, 1], np.int8)"),
    (
        "booleans for zeros and ones",
        "MultiBinary",
        "messagepack",
        [True, False, 0, 1],
        "np.array([1, 0, 0, 1], np.int8)",
    ),
    *(
        ("booleans for zeros and ones", "Box, zero or one", form, [True, False], "np.array([1, 0], np.uint8)")
        for form in ("nested", "messagepack")
    ),
    *(
        ("the action of one for a list of one", "MultiDiscrete, one", form, 1, "np.array([1])")
        for form in ("nested", "messagepack")
    ),
    (
        "a lone number for a list of one",
        "Box, a bound that float32 rounds",
        "nested",
        0.0625,
        "np.array([0.0625], np.float32)",
    ),
    (
        "an object with indices for a list",
        "Box",
        "nested",
        {"0": 0.5, "1": 0, "2": 1},
        "np.array([0.5, 0, 1], np.float32)",
    ),
    *(
        ("an object with indices for a list", "Sequence", form, {"0": [0.5, 1]}, "(np.array([0.5, 1], np.float32),)")
        for form in ("nested", "messagepack")
    ),
    *(("an empty object for an empty list", "Sequence", form, {}, "()") for form in ("nested", "messagepack")),
    *(("an empty list for an empty object", "Dict, empty", form, [], "{}") for form in ("nested", "messagepack")),
    ("text where bytes are due", "Discrete", "messagepack", "\1" + "\0" * 7, "np.int64(1)"),
    ("a number where bytes are due", "Discrete", "messagepack", 1, "np.int64(1)"),
    ("a list where bytes are due", "Box", "messagepack", [0.5, 0, 1], "np.array([0.5, 0, 1], np.float32)"),
    (
        *("an object where bytes are due", "Dict", "messagepack", {"position": [0.5, -0.5], "alive": 1}),
        "{'position': np.array([0.5, -0.5], np.float32), 'alive': np.int64(1)}",
    ),
    ("bytes for text", "Text", "messagepack", b"abca", "'abca'"),
    ("lists for arrays", "Sequence", "messagepack", [[0.5, 1.0]], "(np.array([0.5, 1.0], np.float32),)"),
]

_NAMES = {**vars(spaces), "np": np, "inf": np.inf}


def said(text: str) -> Any:
    """Make what one of the texts above says."""
    return eval(text, {"__builtins__": {}}, _NAMES)


def description(name: str) -> Description:
    """Describe a space."""
    return describe(said(SPACES[name]))


def space_file() -> Entry:
    """Make the file of spaces: descriptions as they lie in messages, without a frame."""
    entries = []
    for name, text in SPACES.items():
        binary = description(name)
        layout = layout_of(binary)
        for encoding, each in (("json", for_json(binary)), ("messagepack", binary)):
            entries.append(
                {
                    **{"name": name, "encoding": encoding, "gymnasium": text},
                    "meaning": write(msgspec.to_builtins(each, builtin_types=(bytes,))),
                    "layout": msgspec.to_builtins(layout),
                    "bytes": (json_bytes if encoding == "json" else messagepack_bytes)(each).hex(),
                }
            )
    return {"spaces": entries}


def value_file() -> Entry:
    """Make the file of values: in each form that they can have in a message, without a frame."""
    entries = []
    for name, space_name, text in VALUES:
        space, value = said(SPACES[space_name]), said(text)
        listed = value_codec(space, name="value")
        in_base64 = value_codec(space, name="value", base64=True)
        packed = listed.pack(value)
        forms = {
            "nested": listed.to_json(value),
            "base64": in_base64.to_json(value),
            "messagepack": bytes(packed) if isinstance(packed, memoryview) else packed,
        }
        entries.append(
            {
                **{"name": name, "space": space_name, "gymnasium": text},
                **{form: write(each) for form, each in forms.items()},
                "bytes": {
                    form: (messagepack_bytes if form == "messagepack" else json_bytes)(each).hex()
                    for form, each in forms.items()
                },
            }
        )
    refused = [
        {"name": name, "space": space, "form": form, "value": write(value), "code": "invalid-action"}
        for name, space, form, value in REFUSED
    ]
    taken = [
        {"name": f"{name}, {space}", "space": space, "form": form, "value": write(value), "gymnasium": text}
        for name, space, form, value, text in TAKEN
    ]
    return {"values": entries, "refused": refused, "taken": taken}
