"""Requests are accepted in other unambiguous forms, as libraries of many languages write them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest

from gymtwist_conformance.reference_client import encode, frame
from gymtwist_conformance.reference_client.byte_stream import require
from gymtwist_conformance.server_checks.subject import (
    SEED,
    Probe,
    Subject,
    actions_of,
    batch,
    expect_same,
    play,
    reference,
    undisturbed,
)

#: The largest float below which a float64 represents every integer, and the next float.
_MAX_EXACT, _INEXACT = 2.0**53, 2.0**53 + 2
_UNDEFINED = msgspec.msgpack.Ext(0, b"\0")
#: An element of the spaces of the mirror.
_ELEMENT: dict[str, Any] = {
    "bits": np.array([0, 1], np.int8),
    "choices": np.array([1, 3]),
    "empty": {},
    "flags": np.array([1, 0], np.uint8),
    "list": (1, 2),
    "number": np.array([0.5]),
    "pair": np.array([-1, 0.25], np.float32),
    "whole": np.array([7]),
}
#: Words of one programming language: its values and its names of types.
_OF_A_LANGUAGE = re.compile(
    r"\b(?:None|True|False|NoneType|dict|tuple|str|int|bool|bytearray|ndarray|nil|undefined|NULL|HashMap|ArrayList"
    r"|NSNumber|std::\w+|i64|u8|f64|JObject|LinkedHashMap)\b|`(?:list|float|bytes|object|array)`"
)


def test_null_fields(subject: Subject) -> None:
    """A field that may be left out may also be null."""
    actions, expected = reference(subject, 2)
    nothing: dict[str, Any] = dict.fromkeys(("kwargs", "num_envs", "autoreset_mode", "info", "values", "version"))
    probe = subject.session(**nothing)
    first = probe.reset(seed=SEED, options=None, mask=None)[0]
    expect_same([first, *probe.steps(actions)], expected, "a session with null for fields that may be left out")
    probe.reset(seed=SEED)
    dumped = [probe.actions.dump(each) for each in actions]
    probe.sample(seed=None)
    rewards = probe.step_many(actions=dumped, action=None, count=None, observations=None)[1]
    expect_same(list(rewards), [step.reward for step in expected[1:]], "the rewards of step_many with null fields")


def test_whole_floats(subject: Subject) -> None:
    """A whole number may be written as a float where an integer is expected."""
    actions, expected = reference(subject, 2)
    probe = subject.session(max_episode_steps=float(1000))
    expect_same(probe.reset(seed=float(SEED))[0], expected[0], "a reset whose seed is a float")
    fields = {"action": probe.actions.dump(actions[0]), "count": 1.0}
    if subject.is_json and probe.made["action_space"]["kind"] == "Discrete":
        fields["action"] = float(actions[0])
    reward = probe.step_many(**fields)[1][0]
    expect_same(reward, expected[1].reward, "the reward of a step_many whose numbers are floats")
    exact = probe.reset(seed=int(_MAX_EXACT))[0]
    expect_same(probe.reset(seed=_MAX_EXACT)[0], exact, "a reset whose seed is the float 2**53")
    probe.say("reset", seed=_INEXACT)
    error = probe.expect_error("a seed that is a float beyond 2**53", "invalid-field")
    require("seed" in error.message, f"the error does not name the field: {error.message}")


def test_empty_lists(subject: Subject) -> None:
    """An empty list is taken for an empty object, since some languages have one type for both."""
    probe = subject.session(kwargs=[])
    expected = reference(subject, 1)[1][0]
    expect_same(probe.reset(seed=SEED, options=[])[0], expected, "a session with empty lists for objects")


def test_numbers_for_flags(subject: Subject) -> None:
    """The flags of a mask may be 0 and 1."""
    probe, other = subject.vector(vectorization_mode="sync"), subject.vector(vectorization_mode="sync")
    flags = [index % 2 for index in range(subject.options.num_envs)]
    if not any(flags):
        pytest.skip("a mask needs two environments: --num-envs 2")
    found = []
    for each, mask in ((probe, flags), (other, [bool(flag) for flag in flags])):
        each.reset(seed=SEED)
        each.step(batch(each, 0))
        found.append(each.reset(seed=SEED, mask=mask)[0])
    expect_same(found[0], found[1], "a reset with a mask of numbers")


def test_text_for_bytes(subject: Subject) -> None:
    """In MessagePack, the bytes of an action may be a string, and keys and names may be bytes."""
    if subject.is_json:
        pytest.skip("JSON carries no bytes")
    actions, expected = reference(subject, 1)
    probe = subject.session()
    dumped = probe.actions.dump(actions[0])
    if len(dumped) > 31:
        pytest.skip(f"the actions of {subject.options.environment} are longer than the shortest kind of string")
    seed = b"\x83\xc4\x02op\xc4\x05reset\xa4seed" + bytes([SEED]) + b"\xc4\x07options\xc0"
    probe.send(frame(subject.encoding, seed))
    expect_same(probe.read_reset()[0], expected[0], "a reset with bytes for its keys and names")
    raw = b"\x82\xa2op\xa4step\xa6action" + bytes([0xA0 + len(dumped)]) + dumped
    probe.send(frame(subject.encoding, raw))
    expect_same(probe.read_step(), expected[1], "a step whose action is a string of bytes")


def test_unknown_fields(subject: Subject) -> None:
    """A field that the server does not know is ignored, and the reply says so the first time."""
    probe = subject.session()
    told = [probe.ask("reset", seed=SEED, sed=7).get("warnings", []) for _ in range(2)]
    require(any("sed" in each for each in told[0]), f"the reply to a reset with the field `sed` warns of {told[0]}")
    require(not told[1], f"the reply to the second reset with the field `sed` warns again: {told[1]}")
    steps = probe.steps(actions_of(probe, 1))
    expect_same(steps, play(subject.session(), actions_of(probe, 1))[1:], "a step after a warning")


def test_undefined(subject: Subject) -> None:
    """In MessagePack, what JavaScript writes for "undefined" means null for an optional field."""
    if subject.is_json:
        pytest.skip("JSON has no extension types")
    expected = reference(subject, 1)[1][0]
    nothing: dict[str, Any] = dict.fromkeys(("kwargs", "num_envs", "info", "max_episode_steps"), _UNDEFINED)
    probe = subject.session(**nothing)
    first = probe.reset(seed=SEED, options=_UNDEFINED, mask=_UNDEFINED)[0]
    expect_same(first, expected, "a session with undefined for fields that may be left out")
    probe.say("reset", options={"x": _UNDEFINED})
    probe.expect_error("undefined in options", "malformed-message")


def test_timestamps(subject: Subject) -> None:
    """In MessagePack, a timestamp in data is refused like every other extension type."""
    if subject.is_json:
        pytest.skip("JSON has no extension types")
    probe, timestamp = subject.session(), msgspec.msgpack.Ext(-1, bytes(4))
    probe.say("reset", options={"x": [timestamp]})
    probe.expect_error("a timestamp in options", "malformed-message")
    probe = subject.connect()
    probe.say("make", **subject.fields(kwargs={"x": timestamp}))
    probe.expect_error("a timestamp in kwargs", "malformed-message")


def test_text_around_json(subject: Subject) -> None:
    """A byte order mark before the JSON text and NULs after it are skipped."""
    if not subject.is_json:
        pytest.skip("MessagePack is no text")
    probe, expected = subject.session(), reference(subject, 1)[1][0]
    text = encode(subject.encoding, {"op": "reset", "seed": SEED})
    for each in (b"\xef\xbb\xbf" + text, text + b"\0", b"\xef\xbb\xbf" + text + b"\n\0\0"):
        probe.send(frame(subject.encoding, each))
        expect_same(probe.read_reset()[0], expected, f"a reset written as {each!r}")


def test_bare_words(subject: Subject) -> None:
    """The error for a bare NaN or Infinity in JSON names the strings to send."""
    if not subject.is_json:
        pytest.skip("MessagePack has floats that are not finite")
    requests = []
    for word in (b"NaN", b"-Infinity", b"Inf"):
        payload = b'{"op":"reset","options":{"x":%s}}' % word
        requests.append(
            (frame(subject.encoding, payload), f"a bare {word.decode()}", "malformed-message", '"Infinity"')
        )
    undisturbed(subject, requests)


def test_vector_of_one(subject: Subject) -> None:
    """In a vector of one, a lone flag is the mask, and the action of one environment is that of the vector."""
    if not subject.options.num_envs:
        pytest.skip("no vector environments to check: --num-envs 0")
    probe, other = (
        subject.optional("vector environments of this kind", num_envs=1, vectorization_mode="sync") for _ in range(2)
    )
    if probe.made["single_action_space"]["kind"] != "Discrete":
        pytest.skip(f"the actions of {subject.options.environment} are not Discrete")
    actions, found = batch(probe, 0), []
    for each, action, mask in ((probe, int(actions[0]), True), (other, other.actions.dump(actions), [True])):
        each.reset(seed=SEED)
        each.say("step", action=action)
        found.append([each.read_step(), each.reset(seed=SEED + 1, mask=mask)[0]])
    expect_same(found[0], found[1], "a step and a reset of a vector of one")


def test_ranges(subject: Subject) -> None:
    """The error for an integer outside its range names the range that it has in the space."""
    probe = subject.vector(vectorization_mode="sync")
    space = probe.made["single_action_space"]
    if space["kind"] != "Discrete" or probe.made["action_space"]["kind"] != "MultiDiscrete":
        pytest.skip("there is no vector whose actions are a MultiDiscrete")
    probe.reset(seed=SEED)
    low = space.get("start", 0)
    high = low + space["n"] - 1
    for wrong in (high + 1000, high + 8.5):
        probe.say("step", action=[int(each) for each in batch(probe, 0)[:-1]] + [wrong])
        _names_range(probe, low, high)


def _names_range(probe: Probe, low: int, high: int) -> None:
    told = probe.expect_error("an integer outside its range", "invalid-action").message
    found = {int(each) for each in re.findall(r"-?\d+", told)}
    require({low, high} <= found, f"the error does not name the range from {low} to {high}: {told}")


def test_words_of_errors(subject: Subject) -> None:
    """Errors about requests use the terms of JSON, not those of the server's own language."""
    probe = subject.session()
    wrong: dict[tuple[str, str], list[Any]] = {
        ("reset", "seed"): [True, "seven", {}, [{}], 1.5, [None, "x"]],
        ("reset", "options"): [1, "x", True, [None]],
        ("step", "action"): [None, True, [True], {"a": None}, [[]], "left"],
        ("step_many", "actions"): [True, 1],
    }
    requests: list[dict[str, Any]] = [
        {"op": op, name: value} for (op, name), values in wrong.items() for value in values
    ]
    requests += [{"op": "step"}, {"op": None}, {"op": ["reset"]}]
    for each in requests:
        probe.say(**each)
        told = probe.expect_error(f"the request {each}", reset_needed=None).message
        found = _OF_A_LANGUAGE.findall(re.sub(r'"[^"]*"', "", told))
        require(not found, f"the error for the request {each} has words of one language, {found}: {told}")


# What the mirror shows


def _expect_meant(subject: Subject, *pairs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Send actions of which some parts have another form; each must be taken as intended."""
    probe = subject.mirror()
    probe.reset()
    for sent, meant in pairs:
        expected = probe.step({**_ELEMENT, **meant}).observation
        probe.say("step", action={**probe.actions.dump(_ELEMENT), **sent})
        expect_same(probe.read_step().observation, expected, f"an action with {sent}")


def _expect_refused(subject: Subject, *parts: dict[str, Any]) -> None:
    probe = subject.mirror()
    probe.reset()
    for each in parts:
        probe.say("step", action={**probe.actions.dump(_ELEMENT), **each})
        probe.expect_error(f"an action with {each}", "invalid-action")
    probe.step(_ELEMENT)


def test_actions_as_in_json(subject: Subject) -> None:
    """In MessagePack, an action may have the same form as in JSON: numbers, lists and maps."""
    if subject.is_json:
        pytest.skip("it is about MessagePack")
    sent = {
        **{"bits": [1, 1], "choices": [2, 0], "flags": [0, 1], "list": [0], "number": [0.25]},
        **{"pair": [0.5, -2], "whole": [-9]},
    }
    meant = {
        **{"bits": np.array([1, 1], np.int8), "choices": np.array([2, 0]), "flags": np.array([0, 1], np.uint8)},
        **{"list": (0,), "number": np.array([0.25]), "pair": np.array([0.5, -2], np.float32)},
        "whole": np.array([-9]),
    }
    _expect_meant(subject, (sent, meant))


def test_whole_floats_in_actions(subject: Subject) -> None:
    """A whole number in an action may be a float where an integer is expected, up to 2**53; others are refused."""
    _expect_meant(
        subject,
        ({"choices": [2.0, 0.0]}, {"choices": np.array([2, 0])}),
        ({"flags": [0.0, 1.0]}, {"flags": np.array([0, 1], np.uint8)}),
        ({"list": [2.0, 0]}, {"list": (2, 0)}),
        ({"whole": [_MAX_EXACT]}, {"whole": np.array([2**53])}),
    )
    _expect_refused(subject, {"choices": [0.5, 0]}, {"whole": [_INEXACT]}, {"list": [0.5]})


def test_booleans(subject: Subject) -> None:
    """Booleans are 1 and 0 in a MultiBinary and in a Box of integers from 0 to 1, and nowhere else."""
    _expect_meant(
        subject,
        ({"bits": [True, False]}, {"bits": np.array([1, 0], np.int8)}),
        ({"flags": [False, True]}, {"flags": np.array([0, 1], np.uint8)}),
    )
    _expect_refused(subject, {"choices": [True, 0]}, {"whole": [True]}, {"list": [True]})


def test_lone_values(subject: Subject) -> None:
    """A number alone is taken as a list of one, where there is exactly one element."""
    _expect_meant(
        subject,
        ({"number": 0.25}, {"number": np.array([0.25])}),
        ({"whole": 3}, {"whole": np.array([3])}),
    )
    _expect_refused(subject, {"pair": 0.5}, {"list": 1})


def test_empty_parts(subject: Subject) -> None:
    """In an action, an empty list is taken as an empty Dict, and an empty object as an empty list."""
    _expect_meant(subject, ({"empty": []}, {}), ({"list": {}}, {"list": ()}))
    _expect_refused(subject, {"pair": {}}, {"empty": [0]})


def test_objects_with_indices(subject: Subject) -> None:
    """An object with the keys "0", "1" and so on is taken as a list, since JavaScript writes typed arrays this way."""
    _expect_meant(
        subject,
        ({"pair": {"0": 0.5, "1": -2}}, {"pair": np.array([0.5, -2], np.float32)}),
        ({"bits": {"0": 1, "1": 1}}, {"bits": np.array([1, 1], np.int8)}),
        ({"list": {"0": 2, "1": 0}}, {"list": (2, 0)}),
    )
    _expect_refused(subject, {"pair": {"0": 0.5, "2": 1}}, {"pair": {"1": 0.5, "2": 1}})


def test_bytes_that_are_not_text(subject: Subject) -> None:
    """In MessagePack, the bytes of an action may be a string, even one that is not UTF-8."""
    if subject.is_json:
        pytest.skip("JSON carries no bytes")
    probe, pair = subject.mirror(), np.array([1, -1], np.float32)
    probe.reset()
    expected = probe.step({**_ELEMENT, "pair": pair}).observation
    action = probe.actions.dump({**_ELEMENT, "pair": pair})
    payload = encode(subject.encoding, {"op": "step", "action": action})
    probe.send(frame(subject.encoding, payload.replace(b"\xc4\x08" + pair.tobytes(), b"\xa8" + pair.tobytes())))
    expect_same(probe.read_step().observation, expected, "an action with a string that is not UTF-8")


def test_sign_of_zero(subject: Subject) -> None:
    """In JSON, -0 is -0.0 in an action of floats, and the integer 0 in options."""
    if not subject.is_json:
        pytest.skip("MessagePack has no integer -0")
    probe = subject.mirror()
    probe.reset()
    expected = probe.step({**_ELEMENT, "number": np.array([-0.0])}).observation
    action = {**probe.actions.dump(_ELEMENT), "number": ["minus zero"]}
    _send_minus_zero(probe, {"op": "step", "action": action})
    expect_same(probe.read_step().observation, expected, "an action with -0")
    _send_minus_zero(probe, {"op": "reset", "options": {"integer": "minus zero", "float": -0.0}})
    found = probe.read_reset()[1]["options"]
    right = repr(found) == repr({"integer": 0, "float": -0.0})
    require(right, f"the options -0 and -0.0 have arrived as {found}")


def _send_minus_zero(probe: Probe, fields: dict[str, Any]) -> None:
    probe.send(frame(probe.encoding, encode(probe.encoding, fields).replace(b'"minus zero"', b"-0")))


def test_numbers_that_are_not_finite(subject: Subject) -> None:
    """In JSON, "NaN" and the infinities are floats in kwargs and options; with a backslash in front, they are text."""
    inf, nan = float("inf"), float("nan")
    value: dict[str, Any] = {"a": -inf, "b": [nan, inf], "c": "NaN"}
    if subject.is_json:
        value = {"a": "-Infinity", "b": ["NaN", "Infinity"], "c": "\\NaN"}
    options = {**value, "d": "\\\\Infinity" if subject.is_json else "\\Infinity"}
    info = subject.mirror(kwargs={"value": value}).ask("reset", options=options)["info"]
    strings = info["strings"]
    require(strings == 3, f"of {value} and {options}, {strings} values have arrived as strings; expected 3")
    value["c"], options["c"], options["d"] = "NaN", "NaN", "\\Infinity"
    for name, expected in (("value", value), ("options", options)):
        require(repr(info[name]) == repr(expected), f"`{name}` has come back as {info[name]}; expected {expected}")


def test_integer_keyword(subject: Subject) -> None:
    """A float that is a whole number becomes an integer for a keyword argument that is one; other floats stay."""
    info = subject.mirror(kwargs={"count": 4.0, "value": 4.0}).ask("reset", options={"x": 1.0})["info"]
    found = [info["count"], info["value"], info["options"]["x"]]
    require(repr(found) == "[4, 4.0, 1.0]", f"4.0, 4.0 and 1.0 have arrived as {found}; expected [4, 4.0, 1.0]")


def test_ranges_of_parts(subject: Subject) -> None:
    """The error for an integer outside a MultiBinary or MultiDiscrete names the range of the space."""
    probe = subject.mirror()
    probe.reset()
    for name, high, wrong in (("bits", 1, 1000), ("bits", 1, 8.5), ("choices", 3, 1000), ("choices", 3, 8.5)):
        probe.say("step", action={**probe.actions.dump(_ELEMENT), name: [0, wrong]})
        _names_range(probe, 0, high)
