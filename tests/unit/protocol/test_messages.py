"""The messages: what each is on the wire, and what a wrong one is told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gymtwist.errors import GymtwistError, InvalidField, MalformedMessage, UnknownOperation
from gymtwist.protocol.all_messages import Reply, Request
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import ProtocolName
from gymtwist.protocol.make_messages import Limits, Made, Make, Spec
from gymtwist.protocol.messages import (
    MAX_ENVIRONMENTS,
    MAX_STEPS,
    Close,
    Closed,
    Envs,
    EnvsListed,
    Error,
    ListedEnv,
    Message,
    Render,
    Rendered,
    Reset,
    ResetDone,
    Sample,
    Sampled,
    Step,
    StepMany,
    Stepped,
    SteppedMany,
)
from gymtwist.spaces.descriptions import Discrete
from gymtwist.spaces.layout import Layout, Leaf
from tests.support.codec_samples import EACH_CODEC, NETSTRING, decoded, payload_of

#: Every request, and what it is in JSON.
REQUESTS: list[tuple[Request, dict[str, Any]]] = [
    (Make("CartPole-v1"), {"op": "make", "id": "CartPole-v1"}),
    (
        Make("x", {"a": [1, "y", None]}, "rgb_array", 4, "sync", "same_step", -1, "episode", "base64", "t", 2),
        {
            "op": "make",
            "id": "x",
            "kwargs": {"a": [1, "y", None]},
            "render_mode": "rgb_array",
            "num_envs": 4,
            "vectorization_mode": "sync",
            "autoreset_mode": "same_step",
            "max_episode_steps": -1,
            "info": "episode",
            "values": "base64",
            "token": "t",
            "version": 2,
        },
    ),
    (Reset(), {"op": "reset"}),
    (Reset(7, {"low": -0.5}), {"op": "reset", "seed": 7, "options": {"low": -0.5}}),
    (Reset([1, None], None, [True, False]), {"op": "reset", "seed": [1, None], "mask": [True, False]}),
    (Step(1), {"op": "step", "action": 1}),
    (Step([0.5, "NaN"]), {"op": "step", "action": [0.5, "NaN"]}),
    (Step(None), {"op": "step", "action": None}),
    (StepMany([0, 1, 0]), {"op": "step_many", "actions": [0, 1, 0]}),
    (
        StepMany(action=1, count=16, observations="all"),
        {"op": "step_many", "action": 1, "count": 16, "observations": "all"},
    ),
    (Sample(), {"op": "sample"}),
    (Sample(3), {"op": "sample", "seed": 3}),
    (Render(), {"op": "render"}),
    (Close(), {"op": "close"}),
    (Envs(), {"op": "envs"}),
    (Envs("a-v0", 0), {"op": "envs", "after": "a-v0", "count": 0}),
]
#: Every reply, and what it is in JSON.
REPLIES: list[tuple[Reply, dict[str, Any]]] = [
    (
        Made(
            Discrete(2),
            Discrete(3, 1),
            "gymtwist 0.1.0",
            action_layout=Layout((Leaf((), "int64", (), 0),), 8),
            spec=Spec("x-v0", 500, 475.0, False, {"a": 1}),
            metadata={"render_fps": 50},
            num_envs=2,
            autoreset_mode="disabled",
            limits=Limits(3600.0, None, 1024),
        ),
        {
            "op": "make",
            "action_space": {"kind": "Discrete", "n": 2, "start": 0, "dtype": "int64"},
            "observation_space": {"kind": "Discrete", "n": 3, "start": 1, "dtype": "int64"},
            "server": "gymtwist 0.1.0",
            "action_layout": {"leaves": [{"path": [], "dtype": "int64", "shape": [], "offset": 0}], "size": 8},
            "spec": {"id": "x-v0", "max_episode_steps": 500, "reward_threshold": 475.0, "kwargs": {"a": 1}},
            "metadata": {"render_fps": 50},
            "num_envs": 2,
            "autoreset_mode": "disabled",
            "limits": {"idle_timeout": 3600.0, "step_timeout": None, "max_frame": 1024},
        },
    ),
    (ResetDone([0.5, "-Infinity"]), {"op": "reset", "observation": [0.5, "-Infinity"]}),
    (ResetDone(3, {"a": 1}), {"op": "reset", "observation": 3, "info": {"a": 1}}),
    (
        Stepped(3, -1.5, True, False),
        {"op": "step", "observation": 3, "reward": -1.5, "terminated": True, "truncated": False},
    ),
    (
        Stepped([1, 2], [0.5, 1.0], [True, False], [False, False], {"a": {"b": [1]}}),
        {
            "op": "step",
            "observation": [1, 2],
            "reward": [0.5, 1.0],
            "terminated": [True, False],
            "truncated": [False, False],
            "info": {"a": {"b": [1]}},
        },
    ),
    (
        SteppedMany([3, 4], [1.0, 2.0], False, True, 2),
        {
            "op": "step_many",
            "observations": [3, 4],
            "rewards": [1.0, 2.0],
            "terminated": False,
            "truncated": True,
            "count": 2,
        },
    ),
    (Sampled(1), {"op": "sample", "action": 1}),
    (Rendered("text"), {"op": "render", "frame": "text"}),
    (Rendered(), {"op": "render"}),
    (Closed(), {"op": "close"}),
    (EnvsListed(), {"op": "envs"}),
    (
        EnvsListed((ListedEnv("a-v0"), ListedEnv("b-v0", "b", 5, -0.5, True)), True, "gymtwist"),
        {
            "op": "envs",
            "envs": [
                {"id": "a-v0"},
                {
                    **{"id": "b-v0", "library": "b", "max_episode_steps": 5, "reward_threshold": -0.5},
                    "nondeterministic": True,
                },
            ],
            "more": True,
            "server": "gymtwist",
        },
    ),
    (Error("a-code", "words", "request"), {"op": "error", "code": "a-code", "message": "words", "fault": "request"}),
    (
        Error("a-code", "words", "environment", True),
        {"op": "error", "code": "a-code", "message": "words", "fault": "environment", "reset_needed": True},
    ),
]


@EACH_CODEC
@pytest.mark.parametrize(("request_", "fields"), REQUESTS)
def test_a_request_is_what_its_fields_say(codec: MessageCodec, request_: Request, fields: dict[str, Any]) -> None:
    """In both directions; what has its default is left out, and may be said all the same."""
    assert decoded(codec, payload_of(codec.encode_request(request_))) == fields
    assert codec.decode_request(encoded(codec, fields)) == request_


@EACH_CODEC
@pytest.mark.parametrize(("reply", "fields"), REPLIES)
def test_a_reply_is_what_its_fields_say(codec: MessageCodec, reply: Reply, fields: dict[str, Any]) -> None:
    """In both directions."""
    assert decoded(codec, payload_of(codec.encode_reply(reply))) == fields
    assert codec.decode_reply(encoded(codec, fields)) == reply


def encoded(codec: MessageCodec, fields: Any) -> bytes:
    """Return fields in the encoding of a codec, as another encoder makes it."""
    return (
        json.dumps(fields, indent=1).encode() if codec.framing.value == "netstring" else msgspec.msgpack.encode(fields)
    )


@EACH_CODEC
@pytest.mark.parametrize(("request_", "fields"), REQUESTS)
def test_a_field_that_is_not_known_is_ignored(codec: MessageCodec, request_: Request, fields: dict[str, Any]) -> None:
    """An old reader understands a new writer; the order of fields is nobody's business."""
    new = {"brand_new": [1, {"x": None}], **dict(reversed(fields.items()))}
    assert codec.decode_request(encoded(codec, new)) == request_


def test_every_reply_has_the_operation_of_its_request() -> None:
    """Or is an error."""
    assert {each["op"] for _, each in REPLIES} == {each["op"] for _, each in REQUESTS} | {"error"}


def test_messages_cannot_be_changed() -> None:
    """They are values."""
    for message, _ in [*REQUESTS, *REPLIES]:
        assert isinstance(message, Message)
        assert message.__struct_config__.frozen
        assert not message.__struct_config__.gc


@EACH_CODEC
@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({}, InvalidField, ["no field `op`"]),
        ({"op": 7}, InvalidField, ["field `op` is 7: send a string"]),
        (
            {"op": "fly"},
            UnknownOperation,
            ['unknown operation "fly"', "make, reset, step, step_many, step_ready, sample"],
        ),
        ({"op": "x" * 10_000}, UnknownOperation, ["x" * 80 + '"']),
        ({"op": "error"}, UnknownOperation, ['unknown operation "error"']),
        ({"op": "make"}, InvalidField, ["make: missing required field `id`"]),
        ({"op": "step"}, InvalidField, ["step: missing required field `action`"]),
        ({"op": "make", "id": ""}, InvalidField, ['make: field `id` is "": send a string of 1 to 255 characters']),
        ({"op": "make", "id": "x" * 256}, InvalidField, ["field `id`", "of 1 to 255 characters"]),
        ({"op": "make", "id": "x", "kwargs": [1]}, InvalidField, ["field `kwargs` is a list, [1]: send an object"]),
        (
            {"op": "make", "id": "x", "num_envs": 0},
            InvalidField,
            ["`num_envs` is 0: send an integer from 1 to 10000 or null"],
        ),
        ({"op": "make", "id": "x", "num_envs": MAX_ENVIRONMENTS + 1}, InvalidField, ["`num_envs` is 10001: send"]),
        ({"op": "make", "id": "x", "num_envs": 1.5}, InvalidField, ["`num_envs` is 1.5: send an integer"]),
        ({"op": "make", "id": "x", "num_envs": True}, InvalidField, ["`num_envs` is true: send an integer"]),
        (
            {"op": "make", "id": "x", "info": "some"},
            InvalidField,
            ['field `info` is "some": send "all", "episode" or "none"'],
        ),
        ({"op": "make", "id": "x", "autoreset_mode": "Disabled"}, InvalidField, ["field `autoreset_mode`"]),
        ({"op": "make", "id": "x", "vectorization_mode": "thread"}, InvalidField, ["field `vectorization_mode`"]),
        ({"op": "make", "id": "x", "values": "hex"}, InvalidField, ["field `values`"]),
        (
            {"op": "make", "id": "x", "max_episode_steps": -2},
            InvalidField,
            ["`max_episode_steps` is -2: send an integer from -1"],
        ),
        (
            {"op": "make", "id": "x", "render_mode": "x" * 65},
            InvalidField,
            ["field `render_mode`", "at most 64 characters"],
        ),
        ({"op": "make", "id": "x", "token": "x" * 1025}, InvalidField, ["field `token`", "at most 1024 characters"]),
        ({"op": "make", "id": "x", "version": 0}, InvalidField, ["field `version` is 0: send an integer from 1"]),
        (
            {"op": "reset", "seed": -1},
            InvalidField,
            ["reset: field `seed` is -1: send an integer from 0, null or a list"],
        ),
        ({"op": "reset", "seed": "1"}, InvalidField, ['field `seed` is "1": send an integer from 0']),
        ({"op": "reset", "seed": [0, -1]}, InvalidField, ["field `seed[1]` is -1: send an integer from 0 or null"]),
        (
            {"op": "reset", "seed": [0] * (MAX_ENVIRONMENTS + 1)},
            InvalidField,
            ["field `seed` is a list, [0, 0", "a list of at most 10000 elements"],
        ),
        ({"op": "reset", "mask": [2]}, InvalidField, ["field `mask[0]` is 2: send true or false"]),
        ({"op": "reset", "options": 1}, InvalidField, ["field `options` is 1: send an object or null"]),
        ({"op": "sample", "seed": 1.5}, InvalidField, ["sample: field `seed` is 1.5: send an integer from 0 or null"]),
        ({"op": "step_many"}, InvalidField, ["either `actions`, or `action` and `count`"]),
        ({"op": "step_many", "action": 1}, InvalidField, ["either `actions`, or `action` and `count`"]),
        ({"op": "step_many", "count": 1}, InvalidField, ["either `actions`, or `action` and `count`"]),
        ({"op": "step_many", "actions": [1], "count": 1}, InvalidField, ["either `actions`, or `action` and `count`"]),
        ({"op": "step_many", "actions": [1], "action": 1}, InvalidField, ["either `actions`"]),
        ({"op": "step_many", "actions": []}, InvalidField, ["1 to 10000 steps, not 0"]),
        ({"op": "step_many", "actions": [0] * (MAX_STEPS + 1)}, InvalidField, ["1 to 10000 steps, not 10001"]),
        ({"op": "step_many", "action": 1, "count": 0}, InvalidField, ["1 to 10000 steps, not 0"]),
        ({"op": "step_many", "action": 1, "count": MAX_STEPS + 1}, InvalidField, ["1 to 10000 steps, not 10001"]),
        ({"op": "step_many", "actions": 1}, InvalidField, ["field `actions` is 1: send a list"]),
        ({"op": "step_many", "actions": [1], "observations": "some"}, InvalidField, ["field `observations`"]),
        ([], MalformedMessage, ["not an object"]),
        ("make", MalformedMessage, ["not an object"]),
        (None, MalformedMessage, ["not an object"]),
    ],
)
def test_a_request_that_is_wrong(codec: MessageCodec, fields: Any, kind: type[GymtwistError], words: list[str]) -> None:
    """Is an error that names the field and says what it must be."""
    with pytest.raises(GymtwistError) as caught:
        codec.decode_request(encoded(codec, fields))
    assert type(caught.value) is kind
    assert [each for each in words if each not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [(MalformedMessage, "malformed-message"), (InvalidField, "invalid-field"), (UnknownOperation, "unknown-operation")],
)
def test_the_codes_stay_as_they_are(error: type[GymtwistError], code: str) -> None:
    """Programs rely on them."""
    assert error.code == code


def test_a_message_can_be_typed_by_hand() -> None:
    """In a netstring, with netcat."""
    codec = MessageCodec(ProtocolName.NETSTRING)
    assert b"".join(codec.encode_request(Step(1))) == b'24:{"op":"step","action":1},'
    assert NETSTRING.decode_request(b' { "action" : 1 , "op" : "step" } ') == Step(1)
