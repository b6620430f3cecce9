"""Every reply, with each of its fields, as the server writes it and as it might be written."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec

from gymtwist.protocol.all_messages import Reply
from gymtwist.protocol.messages import Called, Got

from .notation import Entry
from .requests import CODECS, INT32, NETSTRING, message_file

_NAN, _INFINITY = float("nan"), float("inf")

_DISCRETE = {"kind": "Discrete", "n": 2, "start": 0, "dtype": "int64"}
_INTEGER = {"leaves": [{"path": [], "dtype": "int64", "shape": [], "offset": 0}], "size": 8}
_INTEGERS = {"leaves": [{"path": [], "dtype": "int64", "shape": [3], "offset": 0}], "size": 24}
_PAIR = {"leaves": [{"path": [], "dtype": "float32", "shape": [2], "offset": 0}], "size": 8}
_PAIRS = {"leaves": [{"path": [], "dtype": "float32", "shape": [3, 2], "offset": 0}], "size": 24}
_AGENT = {
    **{"observation_space": _DISCRETE, "action_space": _DISCRETE},
    **{"observation_layout": _INTEGER, "action_layout": _INTEGER},
    "reward_space": {"kind": "Box", "shape": [2], "dtype": "float32", "low": -1.0, "high": 1.0},
}
_LIMITS = {"idle_timeout": 600.0, "step_timeout": 300.0, "max_frame": 16_777_216}
_SERVER = "gymtwist 0.1.0"


def _floats(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _doubles(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _box(shape: list[int], low: Any, high: Any) -> dict[str, Any]:
    return {"kind": "Box", "shape": shape, "dtype": "float32", "low": low, "high": high}


def _made(bounds: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "op": "make",
        "action_space": _DISCRETE,
        "observation_space": _box([2], *bounds),
        "server": _SERVER,
        "action_layout": _INTEGER,
        "observation_layout": _PAIR,
        "spec": {"id": "Example-v0"},
        "limits": _LIMITS,
    }


def _vector(bounds: tuple[Any, Any], bounds_of_all: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "op": "make",
        "action_space": {"kind": "MultiDiscrete", "nvec": [2, 2, 2], "start": [0, 0, 0], "dtype": "int64"},
        "observation_space": _box([3, 2], *bounds_of_all),
        "server": _SERVER,
        "action_layout": _INTEGERS,
        "observation_layout": _PAIRS,
        "single_action_space": _DISCRETE,
        "single_observation_space": _box([2], *bounds),
        "single_action_layout": _INTEGER,
        "single_observation_layout": _PAIR,
        "spec": {
            **{"id": "Example-v0", "max_episode_steps": 500, "reward_threshold": 475.0, "nondeterministic": True},
            "kwargs": {"frameskip": 4},
        },
        "metadata": {"render_modes": ["rgb_array", "ansi"], "render_fps": 50},
        "num_envs": 3,
        "autoreset_mode": "next_step",
        "render_mode": "rgb_array",
        "limits": _LIMITS,
        "shared_memory": True,
    }


def _agents(op: str, observation: Any, reward: Any, array: Any, mask: Any) -> dict[str, Any]:
    """Return a reply to a step or a reset of agents that has every field."""
    return {
        "op": op,
        "observations": {"agent_0": observation},
        "agents": ["agent_0", "agent_1"],
        "selection": "agent_0",
        "rewards": {"agent_0": 1, "agent_1": reward},
        "cumulative_rewards": {
            "agent_0": {"dtype": "float32", "value": -0.5},
            "agent_1": {"dtype": "float32", "shape": [2], "data": array},
        },
        "terminations": {"agent_0": False, "agent_1": True},
        "truncations": {"agent_0": False, "agent_1": False},
        "infos": {"agent_0": {"mask": mask}, "agent_1": {}},
        "spaces": {"agent_0": _AGENT, "agent_2": None},
        "omitted": ["infos.agent_1.model"],
        "warnings": [_WARNING],
    }


_WARNING = "reset: unknown field `sed` is ignored; did you mean `seed`?"
_TEXT_SPACE = {"kind": "Text", "min_length": 1, "max_length": 5, "characters": "adehinorstuvw"}
#: Replies that are the same in both encodings.
PLAIN: dict[str, dict[str, Any]] = {
    "make, spaces without layout": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        **{"spec": {"id": "Example-v0"}, "limits": {"idle_timeout": None, "step_timeout": None, "max_frame": 1024}},
    },
    "make, omitted": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        **{"spec": {"id": "Example-v0"}, "metadata": {"render_fps": 30}},
        "omitted": ["metadata.model", "spec.kwargs.model"],
    },
    "make, another version": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": "another 2"},
        "version": 2,
    },
    "make, wrappers": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        "wrappers": 2,
    },
    "make, each": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        **{"single_action_space": _TEXT_SPACE, "single_observation_space": _TEXT_SPACE, "num_envs": 2, "each": 2},
        "autoreset_mode": "next_step",
    },
    "make, vector_wrappers": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        **{"single_action_space": _TEXT_SPACE, "single_observation_space": _TEXT_SPACE, "num_envs": 2},
        **{"autoreset_mode": "next_step", "vector_wrappers": 1},
    },
    "make, step_ready": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        **{"single_action_space": _TEXT_SPACE, "single_observation_space": _TEXT_SPACE, "num_envs": 2},
        **{"autoreset_mode": "next_step", "step_ready": True},
    },
    "step_ready, no results": {"op": "step_ready"},
    "step_ready, no results, warnings": {"op": "step_ready", "warnings": [_WARNING]},
    "make, recording": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        "recording": "vision/lab/cartpole-v0",
    },
    "make, resume": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        "resume": {"secret": "7.Vw3mZ0", "seconds": 60.0, "kept": 1_048_576},
    },
    "reset, a seed that is not taken": {"op": "reset", "observation": "north", "seeded": False},
    "reset, a verified seed": {"op": "reset", "observation": "north", "seeded": True},
    "reset, plain_numbers": {"op": "reset", "observation": "north", "plain_numbers": True},
    "reset, text": {"op": "reset", "observation": "north"},
    "step, text": {"op": "step", "observation": "north", "reward": -0.5, "terminated": True, "truncated": False},
    "step, truncated": {"op": "step", "observation": "north", "reward": 1e300, "terminated": False, "truncated": True},
    "sample, text": {"op": "sample", "action": "east"},
    "sample, one of several spaces": {"op": "sample", "action": [1, "east"]},
    "render, text": {"op": "render", "frame": "\x1b[41mS\x1b[0mFF\n"},
    "render, several texts": {"op": "render", "frame": ["a", "b"]},
    "render, nothing": {"op": "render"},
    "monitor": {"op": "monitor"},
    "monitor, warnings": {"op": "monitor", "warnings": [_WARNING]},
    "get": {"op": "get", "value": 9.8},
    "get, nothing": {"op": "get"},
    "get, a method": {"op": "get", "callable": True},
    "get, three environments": {"op": "get", "value": [9.8, 9.8, 20.5]},
    "get, warnings": {"op": "get", "value": "north", "warnings": [_WARNING]},
    "set": {"op": "set"},
    "set, warnings": {"op": "set", "warnings": [_WARNING]},
    "call": {"op": "call", "value": ["NOOP", "FIRE"]},
    "call, nothing": {"op": "call"},
    "call, warnings": {"op": "call", "value": {"lives": 3}, "warnings": [_WARNING]},
    "share": {"op": "share"},
    "share, an offer": {"op": "share", "address": "gymtwist-0123456789abcdef", "token": bytes(range(16)).hex()},
    "make, branched": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        "branched": True,
    },
    "snapshot": {"op": "snapshot", "snapshot": 1, "ticket": "0J9Yl3Z2mXk"},
    "snapshot, warnings": {"op": "snapshot", "snapshot": 2, "ticket": "0J9Yl3Z2mXk", "warnings": [_WARNING]},
    "restore": {"op": "restore", "playing": True},
    "restore, no episode": {"op": "restore", "playing": False, "warnings": [_WARNING]},
    "release": {"op": "release", "held": 3},
    "release, warnings": {"op": "release", "held": 0, "warnings": [_WARNING]},
    "resume": {"op": "resume", "received": 3},
    "resume, takeovers": {"op": "resume", "received": 3, "takeovers": 1},
    "resume, warnings": {"op": "resume", "received": 0, "warnings": [_WARNING]},
    "close": {"op": "close"},
    "reset, warnings": {"op": "reset", "observation": "north", "warnings": [_WARNING]},
    "step, reward type": {
        **{"op": "step", "observation": "north", "reward": 1.0, "terminated": False, "truncated": False},
        "reward_type": "float32",
    },
    "step, warnings": {
        **{"op": "step", "observation": "north", "reward": -0.5, "terminated": True, "truncated": False},
        "warnings": [_WARNING],
    },
    "sample, warnings": {"op": "sample", "action": "east", "warnings": [_WARNING]},
    "render, warnings": {"op": "render", "frame": "north", "warnings": [_WARNING]},
    "share, warnings": {"op": "share", "warnings": [_WARNING]},
    "close, warnings": {"op": "close", "warnings": [_WARNING]},
    "error, warnings": {
        **{"op": "error", "code": "reset-needed", "fault": "request", "reset_needed": True},
        **{"message": "the episode has ended: reset before the next step", "warnings": [_WARNING]},
    },
    "envs": {
        "op": "envs",
        "envs": [
            {"id": "CartPole-v1", "library": "gymnasium", "max_episode_steps": 500, "reward_threshold": 475.0},
            {"id": "Example-v0", "nondeterministic": True},
        ],
        "more": True,
        "server": _SERVER,
    },
    "envs, none": {"op": "envs"},
    "envs, warnings": {"op": "envs", "server": _SERVER, "warnings": [_WARNING]},
    "moved": {"op": "moved", "host": "10.0.0.3", "port": 40123, "ticket": "00ff"},
    "moved, warnings": {"op": "moved", "host": "::1", "port": 1, "ticket": "00", "warnings": [_WARNING]},
    "queued": {"op": "queued", "place": 3},
    "queued, warnings": {"op": "queued", "place": 3, "warnings": [_WARNING]},
    "make_agents": {
        **{"op": "make_agents", "server": _SERVER, "possible_agents": ["agent_0"], "spaces": {"agent_0": _AGENT}},
        **{"state_space": _DISCRETE, "metadata": {"name": "pair_v0"}, "render_mode": "ansi", "limits": _LIMITS},
        **{"version": 2, "omitted": ["metadata.model"], "warnings": [_WARNING]},
    },
    "make_agents, agents that are not known": {"op": "make_agents", "server": _SERVER},
    "make_agents, resume": {
        **{"op": "make_agents", "server": _SERVER},
        "resume": {"secret": "8.Vw3mZ0", "seconds": 2.5, "kept": 1_048_576},
    },
    "make_agents, spaces without layout": {
        **{"op": "make_agents", "server": _SERVER, "possible_agents": ["agent_0"]},
        "spaces": {"agent_0": {"observation_space": _TEXT_SPACE, "action_space": _TEXT_SPACE}},
    },
    "describe_agents, spaces that agents share": {
        "op": "describe_agents",
        "spaces": {"agent_0": _AGENT, "agent_1": {"observation_space": "agent_0", "action_space": "agent_0"}},
    },
    "reset_agents, no agents": {"op": "reset_agents"},
    "step_agents, no observation": {"op": "step_agents", "observations": {"agent_0": None}, "agents": ["agent_0"]},
    "describe_agents": {"op": "describe_agents", "spaces": {"agent_0": _AGENT}, "warnings": [_WARNING]},
    "make, warnings": {
        **{"op": "make", "action_space": _TEXT_SPACE, "observation_space": _TEXT_SPACE, "server": _SERVER},
        "warnings": [_WARNING, _WARNING],
    },
    "error, the request's": {
        **{"op": "error", "code": "invalid-action", "fault": "request"},
        "message": "action.left[2] is 7: send an integer from 0 to 3",
    },
    "error, one of several environments": {
        **{"op": "error", "code": "environment-fault", "fault": "environment", "reset_needed": True},
        "message": "environment 2: the environment raised ValueError in step: no such door",
        "environments": [2],
    },
    "error, a reset is needed": {
        **{"op": "error", "code": "reset-needed", "fault": "request", "reset_needed": True},
        "message": "the episode has ended: reset before the next step",
    },
    "error, the environment's": {
        **{"op": "error", "code": "environment-fault", "fault": "environment", "reset_needed": True},
        "message": "the environment raised ValueError in step: no such door",
    },
    "error, an exception of the environment": {
        **{"op": "error", "code": "environment-fault", "fault": "environment", "reset_needed": True},
        "message": "the environment raised NoSuchDoor in step: no such door",
        "exception": "ValueError",
    },
    "error, the protocol's": {
        **{"op": "error", "code": "protocol-error", "fault": "protocol"},
        "message": "the netstring of 2 bytes ends with b'.'; end it with a comma, and count bytes, not characters",
    },
    "error, the server's": {
        **{"op": "error", "code": "no-process", "fault": "server"},
        "message": "the server cannot begin a session now; try again later",
    },
}
#: Replies with values, in JSON and in MessagePack.
VALUED: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
    "make": (_made(([-1.0, "-Infinity"], "Infinity")), _made((_floats(-1, -_INFINITY), "Infinity"))),
    "make, rewards that are arrays": (
        {**_made((-1.0, 1.0)), "reward_space": _box([2], [0.0, -1.0], [4.0, "Infinity"])},
        {**_made((-1.0, 1.0)), "reward_space": _box([2], _floats(0, -1), _floats(4, _INFINITY))},
    ),
    "make, three environments": (
        _vector((-1.0, [0.0, 0.5]), (-1.0, [0.0, 0.5] * 3)),
        _vector((-1.0, _floats(0, 0.5)), (-1.0, _floats(*[0, 0.5] * 3))),
    ),
    "reset": (
        {"op": "reset", "observation": [0.10000000149011612, -1.5]},
        {"op": "reset", "observation": _floats(0.1, -1.5)},
    ),
    "reset, base64": ({"op": "reset", "observation": "zczMPQAAwL8="}, None),
    "reset, info": (
        {"op": "reset", "observation": [0.0, 0.0], "info": {"lives": 3, "mask": [1, 0], "worst": "-Infinity"}},
        {
            "op": "reset",
            "observation": _floats(0, 0),
            "info": {
                **{"lives": 3, "worst": -_INFINITY},
                "mask": {"dtype": "int8", "shape": [2], "data": bytes([1, 0])},
            },
        },
    ),
    "reset, omitted": (
        {"op": "reset", "observation": [0.0, 0.0], "omitted": ["info"]},
        {"op": "reset", "observation": _floats(0, 0), "omitted": ["info"]},
    ),
    "step": (
        {"op": "step", "observation": [1.0, 2.0], "reward": 1.0, "terminated": False, "truncated": False},
        {"op": "step", "observation": _floats(1, 2), "reward": 1.0, "terminated": False, "truncated": False},
    ),
    "step, numbers that are not finite": (
        {"op": "step", "observation": ["NaN", "Infinity"], "reward": "NaN", "terminated": False, "truncated": False},
        {
            **{"op": "step", "observation": bytes.fromhex("0000c07f0000807f"), "reward": _NAN},
            **{"terminated": False, "truncated": False},
        },
    ),
    "step, a reward that is an array": (
        {"op": "step", "observation": [1.0, 2.0], "reward": [0.5, "NaN"], "terminated": False, "truncated": False},
        {
            **{"op": "step", "observation": _floats(1, 2), "terminated": False, "truncated": False},
            "reward": {"dtype": "float32", "shape": [2], "data": bytes.fromhex("0000003f0000c07f")},
        },
    ),
    "step, info": (
        {
            **{"op": "step", "observation": [1.0, 2.0], "reward": "-Infinity", "terminated": True, "truncated": True},
            "info": {"episode": {"r": 12.5, "l": 3}, "why": None, "won": False, "path": [[0, 1], "x"]},
        },
        {
            **{"op": "step", "observation": _floats(1, 2), "reward": -_INFINITY, "terminated": True, "truncated": True},
            "info": {"episode": {"r": 12.5, "l": 3}, "why": None, "won": False, "path": [[0, 1], "x"]},
        },
    ),
    "step, omitted": (
        {
            **{"op": "step", "observation": [1.0, 2.0], "reward": 0.0, "terminated": False, "truncated": False},
            **{"info": {"moves": [3, None]}, "omitted": ["info.moves[1]", "info.model"]},
        },
        {
            **{"op": "step", "observation": _floats(1, 2), "reward": 0.0, "terminated": False, "truncated": False},
            **{"info": {"moves": [3, None]}, "omitted": ["info.moves[1]", "info.model"]},
        },
    ),
    "step, Dict": (
        {
            **{"op": "step", "observation": {"near": [True, False], "far": [7, -2]}, "reward": 0.0},
            **{"terminated": False, "truncated": False},
        },
        {
            **{"op": "step", "observation": bytes.fromhex("0100 0700feff"), "reward": 0.0},
            **{"terminated": False, "truncated": False},
        },
    ),
    "step, Sequence": (
        {"op": "step", "observation": [[0.5, "NaN"]], "reward": 0.0, "terminated": False, "truncated": False},
        {
            "op": "step",
            "observation": [{"dtype": "float32", "shape": [2], "data": bytes.fromhex("0000003f0000c07f")}],
            **{"reward": 0.0, "terminated": False, "truncated": False},
        },
    ),
    "step, Sequence in base64": (
        {
            "op": "step",
            "observation": [{"dtype": "float32", "shape": [2], "data": "AAAAPwAAwH8="}],
            **{"reward": 0.0, "terminated": False, "truncated": False},
        },
        None,
    ),
    "step, three environments": (
        {
            **{"op": "step", "observation": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], "reward": [1.0, "NaN", -1.0]},
            **{"terminated": [False, True, False], "truncated": [False, False, True]},
        },
        {
            **{"op": "step", "observation": _floats(1, 2, 3, 4, 5, 6), "reward": _doubles(1, _NAN, -1)},
            **{"terminated": bytes([0, 1, 0]), "truncated": bytes([0, 0, 1])},
        },
    ),
    "get, numbers that are not finite": (
        {"op": "get", "value": ["Infinity", "NaN", "\\NaN"]},
        {"op": "get", "value": [_INFINITY, _NAN, "NaN"]},
    ),
    "call, an array": (
        {"op": "call", "value": [True, False]},
        {"op": "call", "value": {"dtype": "bool", "shape": [2], "data": bytes([1, 0])}},
    ),
    **{
        op: (
            _agents(op, 1, "-Infinity", "AACAPwAAAMA=", [1, 0]),
            _agents(
                *(op, bytes.fromhex("0100000000000000"), -_INFINITY, _floats(1, -2)),
                {"dtype": "int8", "shape": [2], "data": bytes([1, 0])},
            ),
        )
        for op in ("reset_agents", "step_agents")
    },
    "observe_agents": (
        {
            **{"op": "observe_agents", "observations": {"agent_0": 1}},
            **{"spaces": {"agent_0": _AGENT}, "warnings": [_WARNING]},
        },
        {
            **{"op": "observe_agents", "observations": {"agent_0": bytes.fromhex("0100000000000000")}},
            **{"spaces": {"agent_0": _AGENT}, "warnings": [_WARNING]},
        },
    ),
    "state": (
        {"op": "state", "state": {"dtype": "float32", "shape": [2], "data": "AACAPwAAAMA="}, "warnings": [_WARNING]},
        {"op": "state", "state": {"dtype": "float32", "shape": [2], "data": _floats(1, -2)}, "warnings": [_WARNING]},
    ),
    "step_many": (
        {
            **{"op": "step_many", "observations": [3.0, 4.0], "rewards": [1.0, 0.5]},
            **{"terminated": True, "truncated": False, "count": 2},
        },
        {
            **{"op": "step_many", "observations": _floats(3, 4), "rewards": _doubles(1, 0.5)},
            **{"terminated": True, "truncated": False, "count": 2},
        },
    ),
    "step_many, rewards that are arrays": (
        {
            **{"op": "step_many", "observations": [3.0, 4.0], "rewards": [[1.0, 0.5], [2.0, "-Infinity"]]},
            **{"terminated": True, "truncated": False, "count": 2},
        },
        {
            **{"op": "step_many", "observations": _floats(3, 4), "terminated": True, "truncated": False, "count": 2},
            "rewards": {"dtype": "float32", "shape": [2, 2], "data": _floats(1, 0.5, 2, -_INFINITY)},
        },
    ),
    "step_many, all observations": (
        {
            **{"op": "step_many", "observations": [[1.0, 2.0], [3.0, 4.0]], "rewards": [1.0, "Infinity"]},
            **{"terminated": False, "truncated": True, "count": 2, "info": {"lives": 0}},
        },
        {
            **{"op": "step_many", "observations": _floats(1, 2, 3, 4), "rewards": _doubles(1, _INFINITY)},
            **{"terminated": False, "truncated": True, "count": 2, "info": {"lives": 0}},
        },
    ),
    "step_many, all observations in base64": (
        {
            **{"op": "step_many", "observations": ["AACAPwAAAEA=", "AABAQAAAgEA="], "rewards": [1.0, 1.0]},
            **{"terminated": False, "truncated": False, "count": 2},
        },
        None,
    ),
    "step_many, all texts": (
        {
            **{"op": "step_many", "observations": ["north", "east"], "rewards": [0.0, 1.0]},
            **{"terminated": False, "truncated": False, "count": 2},
        },
        {
            **{"op": "step_many", "observations": ["north", "east"], "rewards": _doubles(0, 1)},
            **{"terminated": False, "truncated": False, "count": 2},
        },
    ),
    "step_many, two environments": (
        {
            **{"op": "step_many", "observations": [[3.0], [4.0]], "rewards": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]},
            **{"terminated": [True, False], "truncated": [False, False], "count": 3},
        },
        {
            **{"op": "step_many", "observations": _floats(3, 4), "rewards": _doubles(1, 2, 3, 4, 5, 6)},
            **{"terminated": bytes([1, 0]), "truncated": bytes([0, 0]), "count": 3},
        },
    ),
    "step_many, warnings": (
        {
            **{"op": "step_many", "observations": "north", "rewards": [1.0], "terminated": True, "truncated": False},
            **{"count": 1, "warnings": [_WARNING]},
        },
        {
            **{"op": "step_many", "observations": "north", "rewards": _doubles(1), "terminated": True},
            **{"truncated": False, "count": 1, "warnings": [_WARNING]},
        },
    ),
    "step_ready": (
        {
            **{"op": "step_ready", "observations": [[1.0, 2.0], [3.0, 4.0]], "env_ids": [0, 2]},
            **{"rewards": [1.0, "-Infinity"], "terminated": [True, False], "truncated": [False, False]},
            **{"info": {"lives": [2, 3], "_lives": [True, True]}, "omitted": ["info.model"]},
        },
        {
            **{"op": "step_ready", "observations": _floats(1, 2, 3, 4), "env_ids": [0, 2]},
            **{"rewards": _doubles(1, -_INFINITY), "terminated": bytes([1, 0]), "truncated": bytes([0, 0])},
            "info": {
                "lives": {"dtype": "int8", "shape": [2], "data": bytes([2, 3])},
                "_lives": {"dtype": "bool", "shape": [2], "data": bytes([1, 1])},
            },
            "omitted": ["info.model"],
        },
    ),
    "step_ready, texts": (
        {
            **{"op": "step_ready", "observations": ["north"], "env_ids": [1], "rewards": [0.5]},
            **{"terminated": [False], "truncated": [True]},
        },
        {
            **{"op": "step_ready", "observations": ["north"], "env_ids": [1], "rewards": _doubles(0.5)},
            **{"terminated": bytes([0]), "truncated": bytes([1])},
        },
    ),
    "sample": ({"op": "sample", "action": 1}, {"op": "sample", "action": bytes.fromhex("0100000000000000")}),
    "sample, base64": ({"op": "sample", "action": "AQAAAAAAAAA="}, None),
    "step_many, omitted": (
        {
            **{"op": "step_many", "observations": [3.0, 4.0], "rewards": [1.0], "terminated": False},
            **{"truncated": False, "count": 1, "info": {"lives": 1}, "omitted": ["info.model"]},
        },
        {
            **{"op": "step_many", "observations": _floats(3, 4), "rewards": _doubles(1), "terminated": False},
            **{"truncated": False, "count": 1, "info": {"lives": 1}, "omitted": ["info.model"]},
        },
    ),
    "render, an image": (
        {"op": "render", "frame": {"dtype": "uint8", "shape": [1, 2, 3], "data": "AAEC/f7/"}},
        {"op": "render", "frame": {"dtype": "uint8", "shape": [1, 2, 3], "data": bytes([0, 1, 2, 253, 254, 255])}},
    ),
    "render, several images": (
        {"op": "render", "frame": [{"dtype": "uint8", "shape": [1, 1, 3], "data": each} for each in ("AAEC", "AwQF")]},
        {
            "op": "render",
            "frame": [{"dtype": "uint8", "shape": [1, 1, 3], "data": each} for each in (b"\0\1\2", b"\3\4\5")],
        },
    ),
}
_STEP = b'"observation":"north","terminated":true,"truncated":false'
#: Other ways to write a reply, which a client must understand: name, which reply it is, framing, payload.
WAYS: list[tuple[str, str, str, bytes]] = [
    ("fields in another order", "step, text", NETSTRING, b'{"reward":-0.5,' + _STEP + b',"op":"step"}'),
    ("defaults written out", "step, text", NETSTRING, b'{"op":"step",' + _STEP + b',"reward":-0.5,"info":{}}'),
    ("unknown fields", "step, text", NETSTRING, b'{"op":"step",' + _STEP + b',"reward":-0.5,"x":{"y":[1]}}'),
    ("a number with an exponent", "step, text", NETSTRING, b'{"op":"step",' + _STEP + b',"reward":-5e-1}'),
    ("defaults written out", "share", NETSTRING, b'{"op":"share","address":null,"token":null}'),
    ("defaults written out", "render, nothing", NETSTRING, b'{"op":"render","frame":null}'),
    ("unknown fields", "close", INT32, bytes.fromhex("82a26f70a5636c6f7365a178c403000102")),
    ("defaults written out", "render, nothing", INT32, bytes.fromhex("82a26f70a672656e646572a56672616d65c0")),
    (
        *("a float of 32 bits, and other widths", "step, text", INT32),
        bytes.fromhex(
            "de0005 a26f70 d90473746570 ab6f62736572766174696f6e da00056e6f727468 a6726577617264 cabf000000"
            "aa7465726d696e61746564 c3 a97472756e6361746564 c2"
        ),
    ),
]


def encoded(framing: str, meaning: dict[str, Any]) -> str:
    """Encode a reply as the server does, in its frame, in hexadecimal."""
    reply: Any = msgspec.convert(meaning, Reply)
    if framing == NETSTRING and isinstance(reply, (Got, Called)):
        # Their values have names for numbers that are not finite, as those of requests.
        reply = CODECS[framing].decode_reply(json.dumps(meaning).encode())
    return b"".join(CODECS[framing].encode_reply(reply)).hex()


def replies() -> Entry:
    """Make the file of replies."""
    return message_file(encoded, PLAIN, VALUED, WAYS)
