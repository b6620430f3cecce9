"""Every request, with each of its fields, and the ways in which a client may write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from gymtwist.protocol.all_messages import Request
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import Framing, ProtocolName, frame

from .notation import Entry, write

CODECS = {name.value: MessageCodec(name) for name in (ProtocolName.NETSTRING, ProtocolName.INT32)}
NETSTRING, INT32 = "netstring", "int32"
_CARTPOLE = "CartPole-v1"
_NAN, _INFINITY = float("nan"), float("inf")

#: Requests that are the same in both encodings.
PLAIN: dict[str, dict[str, Any]] = {
    "make": {"op": "make", "id": _CARTPOLE},
    "make, kwargs": {"op": "make", "id": "ALE/Pong-v5", "kwargs": {"frameskip": 4, "obs_type": "ram", "mode": None}},
    "make, kwargs nested": {
        "op": "make",
        "id": "FrozenLake-v1",
        "kwargs": {"desc": ["SF", "HG"], "is_slippery": False},
    },
    "make, kwargs with a whole float": {"op": "make", "id": "ALE/Pong-v5", "kwargs": {"frameskip": 4.0}},
    "make, render_mode": {"op": "make", "id": _CARTPOLE, "render_mode": "rgb_array"},
    "make, num_envs": {"op": "make", "id": _CARTPOLE, "num_envs": 64},
    "make, one environment that is a vector": {"op": "make", "id": _CARTPOLE, "num_envs": 1},
    "make, vectorization_mode sync": {"op": "make", "id": _CARTPOLE, "num_envs": 2, "vectorization_mode": "sync"},
    "make, vectorization_mode async": {"op": "make", "id": _CARTPOLE, "num_envs": 2, "vectorization_mode": "async"},
    "make, vectorization_mode vector_entry_point": {
        **{"op": "make", "id": _CARTPOLE, "num_envs": 2, "vectorization_mode": "vector_entry_point"},
    },
    "make, autoreset_mode same_step": {"op": "make", "id": _CARTPOLE, "num_envs": 2, "autoreset_mode": "same_step"},
    "make, autoreset_mode disabled": {"op": "make", "id": _CARTPOLE, "num_envs": 2, "autoreset_mode": "disabled"},
    "make, max_episode_steps": {"op": "make", "id": _CARTPOLE, "max_episode_steps": 1000},
    "make, max_episode_steps never": {"op": "make", "id": _CARTPOLE, "max_episode_steps": -1},
    "make, info episode": {"op": "make", "id": _CARTPOLE, "info": "episode"},
    "make, info none": {"op": "make", "id": _CARTPOLE, "info": "none"},
    "make, values base64": {"op": "make", "id": _CARTPOLE, "values": "base64"},
    "make, token": {"op": "make", "id": _CARTPOLE, "token": "a secret, perhaps in Ελληνικά"},
    "make, vector_rewards": {"op": "make", "id": _CARTPOLE, "vector_rewards": True},
    "make, direct": {"op": "make", "id": _CARTPOLE, "direct": True},
    "make, report_queue": {"op": "make", "id": _CARTPOLE, "report_queue": True},
    "make, version": {"op": "make", "id": _CARTPOLE, "version": 2},
    "make, wrappers": {
        **{"op": "make", "id": _CARTPOLE},
        "wrappers": [
            {"name": "FlattenObservation"},
            {"name": "mine:Wrapper", "kwargs": {"size": [2, 3], "by": "name"}},
        ],
    },
    "make, resume": {"op": "make", "id": _CARTPOLE, "resume": 60.0},
    "make, lenient": {"op": "make", "id": _CARTPOLE, "lenient": True},
    "make, each": {
        **{"op": "make", "id": _CARTPOLE, "num_envs": 2},
        "each": [
            {"id": "CartPole-v0", "kwargs": {"sutton_barto_reward": True}, "options": {"low": -0.5}, "seeds": [7, 0]},
            {},
        ],
    },
    "make, vector_wrappers": {
        **{"op": "make", "id": _CARTPOLE, "num_envs": 2},
        "vector_wrappers": [{"name": "RecordEpisodeStatistics"}, {"name": "ClipReward", "kwargs": {"max_reward": 0.5}}],
    },
    "make, record": {"op": "make", "id": _CARTPOLE, "record": {"dataset": "lab/cartpole-v0"}},
    "make, all of record": {
        **{"op": "make", "id": _CARTPOLE, "render_mode": "rgb_array"},
        "record": {
            **{"dataset": "cartpole-v1", "append": True, "infos": True, "frames": "video"},
            **{"compression": 4, "episodes": 100, "megabytes": 500},
        },
    },
    "make, on_failure": {"op": "make", "id": _CARTPOLE, "num_envs": 2, "on_failure": "truncate"},
    "make, everything": {
        **{"op": "make", "id": "gymnasium:CartPole-v1", "kwargs": {"sutton_barto_reward": True}},
        **{"render_mode": "rgb_array", "num_envs": 3, "vectorization_mode": "sync", "autoreset_mode": "disabled"},
        **{"max_episode_steps": 25, "info": "episode", "values": "base64", "token": "t", "version": 2},
    },
    "reset": {"op": "reset"},
    "reset, seed": {"op": "reset", "seed": 1},
    "reset, seed 0": {"op": "reset", "seed": 0},
    "reset, the largest seed of 32 bits": {"op": "reset", "seed": 4_294_967_295},
    "reset, the largest seed of 63 bits": {"op": "reset", "seed": 9_223_372_036_854_775_807},
    "reset, the largest seed that a float may be": {"op": "reset", "seed": 9_007_199_254_740_992},
    "reset, seeds": {"op": "reset", "seed": [1, None, 3]},
    "reset, no options": {"op": "reset", "options": {}},
    "reset, options": {"op": "reset", "options": {"low": -0.5, "high": 0.5}},
    "reset, options of zero": {"op": "reset", "options": {"integer": 0, "float": -0.0}},
    "reset, mask": {"op": "reset", "mask": [True, False, True]},
    "reset, mask of one": {"op": "reset", "mask": [True]},
    "reset, verify_seed": {"op": "reset", "seed": 1, "verify_seed": True},
    "reset, everything": {"op": "reset", "seed": [7, None], "options": {"level": "hard"}, "mask": [True, False]},
    "step, text": {"op": "step", "action": "north"},
    "step, one of several spaces": {"op": "step", "action": [1, "north"]},
    "step_ready, results alone": {"op": "step_ready", "min_ready": 2},
    "step_ready, text": {"op": "step_ready", "env_ids": [1], "actions": ["north"], "min_ready": 1},
    "step_many, text": {"op": "step_many", "actions": ["north", "east"]},
    "sample": {"op": "sample"},
    "sample, seed": {"op": "sample", "seed": 3},
    "render": {"op": "render"},
    "render, before_reset": {"op": "render", "before_reset": True},
    "monitor": {"op": "monitor", "directory": "here"},
    "monitor, everything": {
        **{"op": "monitor", "directory": "a/b", "resume": True, "force": True, "video_every": 10},
    },
    "monitor, stop": {"op": "monitor"},
    "get": {"op": "get", "name": "gravity"},
    "get, repr": {"op": "get", "name": "ale", "repr": True},
    "set": {"op": "set", "name": "gravity", "value": 20.5},
    "set, null": {"op": "set", "name": "goal", "value": None},
    "set, three environments": {"op": "set", "name": "level", "value": [1, 2, 3]},
    "call": {"op": "call", "name": "action_masks"},
    "call, arguments": {"op": "call", "name": "set_level", "args": [3, "hard"], "kwargs": {"seed": 1}},
    "share": {"op": "share"},
    "share, rooms": {"op": "share", "request_room": 4096, "reply_room": 134_217_728},
    "make, keep_snapshots": {"op": "make", "id": _CARTPOLE, "keep_snapshots": 5},
    "make, branch": {"op": "make", "id": _CARTPOLE, "branch": "0J9Yl3Z2mXk"},
    "snapshot": {"op": "snapshot"},
    "restore": {"op": "restore", "snapshot": 1},
    "restore, a large number": {"op": "restore", "snapshot": 70_000},
    "release": {"op": "release", "snapshot": 12},
    "close": {"op": "close"},
    "resume": {"op": "resume", "secret": "7.abc", "received": 0},
    "resume, restarted": {"op": "resume", "secret": "7.abc"},
    "resume, token": {"op": "resume", "secret": "12.Vw3mZ0", "received": 70_000, "token": "alice.secret"},
    "envs": {"op": "envs"},
    "envs, a page": {"op": "envs", "after": "ALE/Pong-v5", "count": 20},
    "envs, report_queue": {"op": "envs", "report_queue": True},
    "envs, token": {"op": "envs", "token": "alice.secret"},
    "envs, agents": {"op": "envs", "api": "parallel"},
    "envs, none": {"op": "envs", "count": 0},
    "make_agents": {"op": "make_agents", "id": "classic/chess_v6", "api": "aec"},
    "make_agents, everything": {
        **{"op": "make_agents", "id": "mpe2:simple_spread_v3", "api": "parallel", "kwargs": {"max_cycles": 25}},
        **{"render_mode": "rgb_array", "values": "base64", "token": "t", "version": 2, "report_queue": True},
    },
    "make_agents, resume": {"op": "make_agents", "id": "classic/chess_v6", "api": "aec", "resume": 2.5},
    "reset_agents": {"op": "reset_agents"},
    "reset_agents, everything": {"op": "reset_agents", "seed": 1, "options": {"level": 2}},
    "step_agents, text": {"op": "step_agents", "actions": {"agent_0": "north", "agent_1": None}},
    "step_agents, none": {"op": "step_agents", "actions": {}},
    "observe_agents": {"op": "observe_agents", "agents": ["agent_0", "agent_1"]},
    "describe_agents": {"op": "describe_agents", "agents": ["agent_0"]},
    "state": {"op": "state"},
}
#: Requests with values, and so in JSON and in MessagePack.
VALUED: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
    "step, Discrete": ({"op": "step", "action": 1}, {"op": "step", "action": bytes.fromhex("0100000000000000")}),
    "step, Box": ({"op": "step", "action": [0.5, -1.0]}, {"op": "step", "action": bytes.fromhex("0000003f000080bf")}),
    "step, Box with infinity": (
        {"op": "step", "action": ["Infinity", "-Infinity"]},
        {"op": "step", "action": bytes.fromhex("0000807f000080ff")},
    ),
    "step, Box with a zero below": (
        {"op": "step", "action": [-0.0, 0.0]},
        {"op": "step", "action": bytes.fromhex("0000008000000000")},
    ),
    "step, base64": ({"op": "step", "action": "AQAAAAAAAAA="}, None),
    "step, Dict": (
        {"op": "step", "action": {"move": [0.5], "jump": 1}},
        {"op": "step", "action": bytes.fromhex("0000003f0100000000000000")},
    ),
    "step, Sequence": (
        {"op": "step", "action": [[0.5, "NaN"]]},
        {
            "op": "step",
            "action": [{"dtype": "float32", "shape": [2], "data": bytes.fromhex("0000003f0000c07f")}],
        },
    ),
    "step, three environments": (
        {"op": "step", "action": [0, 1, 0]},
        {"op": "step", "action": bytes.fromhex("000000000000000001000000000000000000000000000000")},
    ),
    "step_agents": (
        {"op": "step_agents", "actions": {"agent_0": 1, "agent_1": [0.5, -1.0]}},
        {
            "op": "step_agents",
            "actions": {
                "agent_0": bytes.fromhex("0100000000000000"),
                "agent_1": bytes.fromhex("0000003f000080bf"),
            },
        },
    ),
    "make, kwargs that are not finite": (
        {"op": "make", "id": "Pendulum-v1", "kwargs": {"g": "Infinity", "x": ["-Infinity", "NaN"], "name": "\\NaN"}},
        {"op": "make", "id": "Pendulum-v1", "kwargs": {"g": _INFINITY, "x": [-_INFINITY, _NAN], "name": "NaN"}},
    ),
    "reset, options that are not finite": (
        {"op": "reset", "options": {"low": "-Infinity", "high": ["Infinity", "NaN"]}},
        {"op": "reset", "options": {"low": -_INFINITY, "high": [_INFINITY, _NAN]}},
    ),
    "reset, options with text like a number": (
        {"op": "reset", "options": {"name": "\\NaN", "other": "\\\\NaN"}},
        {"op": "reset", "options": {"name": "NaN", "other": "\\NaN"}},
    ),
    "set, numbers that are not finite": (
        {"op": "set", "name": "limits", "value": ["-Infinity", "NaN", "\\NaN"]},
        {"op": "set", "name": "limits", "value": [-_INFINITY, _NAN, "NaN"]},
    ),
    "call, an array": (
        {"op": "call", "name": "compute_reward", "args": [[0.5, -1.0], {}]},
        {
            **{"op": "call", "name": "compute_reward"},
            "args": [{"dtype": "float32", "shape": [2], "data": bytes.fromhex("0000003f000080bf")}, {}],
        },
    ),
    "step_many, actions": (
        {"op": "step_many", "actions": [0, 1]},
        {"op": "step_many", "actions": [bytes.fromhex("0000000000000000"), bytes.fromhex("0100000000000000")]},
    ),
    "step_many, one action": (
        {"op": "step_many", "action": 1, "count": 16},
        {"op": "step_many", "action": bytes.fromhex("0100000000000000"), "count": 16},
    ),
    "step_many, all observations": (
        {"op": "step_many", "action": 1, "count": 10_000, "observations": "all"},
        {"op": "step_many", "action": bytes.fromhex("0100000000000000"), "count": 10_000, "observations": "all"},
    ),
    "step_ready": (
        {"op": "step_ready", "env_ids": [2, 0], "actions": [0, 1]},
        {
            **{"op": "step_ready", "env_ids": [2, 0]},
            "actions": [bytes.fromhex("0000000000000000"), bytes.fromhex("0100000000000000")],
        },
    ),
}


def _mp_bytes(value: Any) -> bytes:
    return msgspec.msgpack.encode(value)


def _both(way: str, name: str, message: Any) -> list[tuple[str, str, str, bytes]]:
    return [(way, name, NETSTRING, json.dumps(message).encode()), (way, name, INT32, _mp_bytes(message))]


def _mp(value: Any) -> str:
    return _mp_bytes(value).hex()


_MAKE = _mp("op") + _mp("make"), _mp("id") + _mp(_CARTPOLE)
#: Other ways to write a request: name, which request it is, framing, payload.
WAYS: list[tuple[str, str, str, bytes]] = [
    *_both("null for each field that may be left out", "sample", {"op": "sample", "seed": None}),
    *_both("an empty list for an object", "reset, no options", {"op": "reset", "options": []}),
    *_both(
        *("a whole number as a float", "reset, the largest seed that a float may be"),
        {"op": "reset", "seed": 9_007_199_254_740_992.0},
    ),
    *_both("a lone flag", "reset, mask of one", {"op": "reset", "mask": True}),
    *_both(
        *("an object with indices for a list", "reset, mask"),
        {"op": "reset", "mask": {"0": True, "1": False, "2": True}},
    ),
    *_both(
        *("an object with indices for a list", "step_many, text"),
        {"op": "step_many", "actions": {"0": "north", "1": "east"}},
    ),
    ("fields in another order", "make", NETSTRING, b'{"id":"CartPole-v1","op":"make"}'),
    ("spaces and lines", "make", NETSTRING, b' {\r\n\t"op" : "make",\n"id" : "CartPole-v1" } '),
    ("escapes", "make", NETSTRING, b'{"\\u006fp":"make","id":"\\u0043artPole-v1"}'),
    (
        *("defaults written out", "make", NETSTRING),
        b'{"op":"make","id":"CartPole-v1","kwargs":{},"render_mode":null,"num_envs":null,"vectorization_mode":null,'
        b'"autoreset_mode":"next_step","max_episode_steps":null,"info":"all","values":"nested","token":null,"version":1}',
    ),
    ("unknown fields", "make", NETSTRING, b'{"op":"make","id":"CartPole-v1","colour":{"deep":[1,2]},"x":null}'),
    (
        *("a string escaped", "make, token", NETSTRING),
        b'{"op":"make","id":"CartPole-v1","token":"a secret, perhaps in '
        b'\\u0395\\u03bb\\u03bb\\u03b7\\u03bd\\u03b9\\u03ba\\u03ac"}',
    ),
    (
        *("null for each field that may be left out", "make", NETSTRING),
        b'{"op":"make","id":"CartPole-v1","kwargs":null,"autoreset_mode":null,"info":null,"values":null,"version":null}',
    ),
    ("an empty list for an object", "make", NETSTRING, b'{"op":"make","id":"CartPole-v1","kwargs":[]}'),
    ("a whole number as a float", "make, num_envs", NETSTRING, b'{"op":"make","id":"CartPole-v1","num_envs":64.0}'),
    ("a whole number as a float", "reset, seed", NETSTRING, b'{"op":"reset","seed":1.0}'),
    ("a whole number as a float", "reset, seeds", NETSTRING, b'{"op":"reset","seed":[1e0,null,3.0]}'),
    (
        *("an integer zero with a sign", "reset, options of zero", NETSTRING),
        b'{"op":"reset","options":{"integer":-0,"float":-0.0}}',
    ),
    ("numbers for flags", "reset, mask", NETSTRING, b'{"op":"reset","mask":[1,0,1.0]}'),
    ("a byte order mark", "reset", NETSTRING, b'\xef\xbb\xbf{"op":"reset"}'),
    ("a NUL behind it", "reset", NETSTRING, b'{"op":"reset"}\0'),
    (
        *("null for each field that may be left out", "step_many, actions", NETSTRING),
        b'{"op":"step_many","actions":[0,1],"action":null,"count":null,"observations":null}',
    ),
    (
        *("a whole number as a float", "step_many, one action", NETSTRING),
        b'{"op":"step_many","action":1,"count":16.0,"actions":null}',
    ),
    ("an integer zero with a sign", "step, Box with a zero below", NETSTRING, b'{"op":"step","action":[-0,0]}'),
    ("numbers with exponents", "step, Box", NETSTRING, b'{"op":"step","action":[5e-1,-1]}'),
    ("defaults written out", "share", NETSTRING, b'{"op":"share","request_room":null,"reply_room":null}'),
    ("defaults written out", "reset", NETSTRING, b'{"op":"reset","seed":null,"options":null,"mask":null}'),
    ("fields in another order", "make", INT32, bytes.fromhex("82" + _MAKE[1] + _MAKE[0])),
    ("a map of 16 bits", "make", INT32, bytes.fromhex("de0002" + "".join(_MAKE))),
    ("a map of 32 bits", "make", INT32, bytes.fromhex("df00000002" + "".join(_MAKE))),
    (
        *("long strings", "make", INT32),
        bytes.fromhex("82d9026f70da00046d616b65db000000026964d90b") + _CARTPOLE.encode(),
    ),
    (
        *("defaults written out", "make", INT32),
        bytes.fromhex("85" + "".join(_MAKE) + _mp("kwargs") + "80" + _mp("num_envs") + "c0" + _mp("version") + "01"),
    ),
    ("unknown fields", "make", INT32, bytes.fromhex("83" + "".join(_MAKE) + _mp("colour") + _mp({"deep": [1, b"2"]}))),
    (
        "an integer of 8 bits",
        "reset, seed",
        INT32,
        bytes.fromhex("82" + _mp("op") + _mp("reset") + _mp("seed") + "cc01"),
    ),
    (
        *("an integer of 64 bits", "reset, seed", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("reset") + _mp("seed") + "cf0000000000000001"),
    ),
    (
        *("null, and undefined as JavaScript has it", "make", INT32),
        bytes.fromhex("84" + "".join(_MAKE) + _mp("kwargs") + "c0" + _mp("info") + "d40000"),
    ),
    (
        *("undefined for a seed", "reset", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("reset") + _mp("seed") + "d40000"),
    ),
    ("bytes for the keys and names", "make", INT32, _mp_bytes({b"op": b"make", b"id": _CARTPOLE.encode()})),
    ("an empty list for an object", "make", INT32, bytes.fromhex("83" + "".join(_MAKE) + _mp("kwargs") + "90")),
    ("a whole number as a float", "reset, seed", INT32, _mp_bytes({"op": "reset", "seed": 1.0})),
    ("bytes for flags", "reset, mask", INT32, _mp_bytes({"op": "reset", "mask": b"\1\0\1"})),
    (
        *("a string for a bin", "step, Box with infinity", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("step") + _mp("action") + "a80000807f000080ff"),
    ),
    (
        *("a signed integer", "reset, seed", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("reset") + _mp("seed") + "d200000001"),
    ),
    (
        *("a bin of 16 bits", "step, Discrete", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("step") + _mp("action") + "c50008" + "0100000000000000"),
    ),
    (
        *("a bin of 32 bits", "step, Discrete", INT32),
        bytes.fromhex("82" + _mp("op") + _mp("step") + _mp("action") + "c600000008" + "0100000000000000"),
    ),
]


def framed(framing: str, payload: bytes) -> str:
    """Put a payload into its frame, in hexadecimal."""
    return b"".join(frame(Framing(framing), payload)).hex()


def encoded(framing: str, meaning: dict[str, Any]) -> str:
    """Encode a request as gymtwist's own client does, in its frame, in hexadecimal."""
    request: Any
    if framing == NETSTRING:
        request = CODECS[framing].decode_request(json.dumps(meaning).encode())
    else:
        request = msgspec.convert(meaning, Request)
    return b"".join(CODECS[framing].encode_request(request)).hex()


def requests() -> Entry:
    """Make the file of requests."""
    return message_file(encoded, PLAIN, VALUED, WAYS)


def message_file(
    encode: Callable[[str, Any], str],
    plain: Mapping[str, Any],
    valued: Mapping[str, tuple[Any, Any]],
    ways: Iterable[tuple[str, str, str, bytes]],
) -> Entry:
    """Make a file of messages.

    Args:
        encode: Encodes a message for a framing, in hexadecimal.
        plain: Messages that are the same in both encodings, by name.
        valued: The messages in JSON and in MessagePack, by name; None if there is none.
        ways: How else messages may be written: the way, the name, the framing and the payload.
    """
    canonical: list[Entry] = []
    for name, (text, binary) in {**{key: (each, each) for key, each in plain.items()}, **valued}.items():
        for framing, meaning in ((NETSTRING, text), (INT32, binary)):
            if meaning is not None:
                canonical.append(
                    {"name": name, "framing": framing, "meaning": write(meaning), "bytes": encode(framing, meaning)}
                )
    others = [
        {"name": f"{name}: {way}", "same_as": name, "framing": framing, "bytes": framed(framing, payload)}
        for way, name, framing, payload in ways
    ]
    return {"canonical": canonical, "ways": others}


def decoded(framing: str, data: str) -> Any:
    """Decode a message as a decoder does that knows nothing of gymtwist.

    Args:
        framing: How its frame is made.
        data: The frame, in hexadecimal.
    """
    raw = bytes.fromhex(data)
    if framing == INT32:
        return msgspec.msgpack.decode(raw[4:])
    return json.loads(raw[raw.index(b":") + 1 : -1])
