"""A blocking client of the framed protocol, in both framings."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from gymtwist_conformance.reference_client.byte_stream import PATIENCE, ByteStream, Violation, require
from gymtwist_conformance.reference_client.element_codecs import ElementCodec, check_fields, decode_array
from gymtwist_conformance.reference_client.frames import INT32, NETSTRING, decode, find_payload, message

#: The maximum depth of nested data, including the object itself.
_MAX_DEPTH = 64
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


# The replies according to the specification. Other fields are dropped.


_OBJECT = dict[str, Any] | None
_TEXT, _INTEGER, _NUMBER = str | None, int | None, float | None
_WARNINGS = {"warnings?": list[str]}
_OBJECTS = dict[str, dict[str, Any] | None]
_AGENTS = {
    "observations?": dict[str, Any],
    "agents?": list[str],
    "selection?": _TEXT,
    "rewards?": dict[str, Any],
    "cumulative_rewards?": dict[str, Any],
    "terminations?": dict[str, bool],
    "truncations?": dict[str, bool],
    "infos?": dict[str, Any],
    "spaces?": _OBJECTS,
    "omitted?": list[str],
    **_WARNINGS,
}
#: The fields of each reply and their types; those with a question mark are optional.
REPLIES: dict[str, dict[str, Any]] = {
    "make": {
        "action_space": dict[str, Any],
        "observation_space": dict[str, Any],
        "server": str,
        **{f"{name}_layout?": _OBJECT for name in ("action", "observation", "single_action", "single_observation")},
        **{f"{name}_space?": _OBJECT for name in ("single_action", "single_observation")},
        "spec?": _OBJECT,
        "metadata?": dict[str, Any],
        "num_envs?": _INTEGER,
        "autoreset_mode?": Literal["next_step", "same_step", "disabled", None],
        "render_mode?": _TEXT,
        "limits?": _OBJECT,
        "shared_memory?": bool,
        "reward_space?": _OBJECT,
        "wrappers?": int,
        "vector_wrappers?": int,
        "step_ready?": bool,
        "branched?": bool,
        "each?": int,
        "recording?": _TEXT,
        "resume?": _OBJECT,
        "version?": int,
        "omitted?": list[str],
        **_WARNINGS,
    },
    "queued": {"place": int, **_WARNINGS},
    "moved": {"host": str, "port": int, "ticket": str, **_WARNINGS},
    "reset": {
        "observation": Any,
        "info?": dict[str, Any],
        "omitted?": list[str],
        "seeded?": bool | None,
        "plain_numbers?": bool,
        **_WARNINGS,
    },
    "step": {
        **dict.fromkeys(("observation", "reward", "terminated", "truncated"), Any),
        "info?": dict[str, Any],
        "omitted?": list[str],
        "reward_type?": _TEXT,
        **_WARNINGS,
    },
    "step_many": {
        **dict.fromkeys(("observations", "rewards", "terminated", "truncated"), Any),
        "count": int,
        "info?": dict[str, Any],
        "omitted?": list[str],
        **_WARNINGS,
    },
    "step_ready": {
        **dict.fromkeys(("observations?", "rewards?", "terminated?", "truncated?"), Any),
        "env_ids?": list[int],
        "info?": dict[str, Any],
        "omitted?": list[str],
        **_WARNINGS,
    },
    "sample": {"action": Any, **_WARNINGS},
    "render": {"frame?": Any, **_WARNINGS},
    "monitor": _WARNINGS,
    "get": {"value?": Any, "callable?": bool, **_WARNINGS},
    "set": _WARNINGS,
    "call": {"value?": Any, **_WARNINGS},
    "share": {"address?": _TEXT, "token?": _TEXT, **_WARNINGS},
    "close": _WARNINGS,
    "envs": {"envs?": list[Any], "more?": bool, "server?": str, **_WARNINGS},
    "make_agents": {
        "server": str,
        "possible_agents?": list[str] | None,
        "spaces?": _OBJECTS,
        "state_space?": _OBJECT,
        "metadata?": dict[str, Any],
        "render_mode?": _TEXT,
        "limits?": _OBJECT,
        "resume?": _OBJECT,
        "version?": int,
        "omitted?": list[str],
        **_WARNINGS,
    },
    "resume": {"received": int, "takeovers?": int, **_WARNINGS},
    "reset_agents": _AGENTS,
    "step_agents": _AGENTS,
    "observe_agents": {"observations?": dict[str, Any], "spaces?": _OBJECTS, **_WARNINGS},
    "describe_agents": {"spaces?": _OBJECTS, **_WARNINGS},
    "state": {"state?": Any, **_WARNINGS},
    "snapshot": {"snapshot": int, "ticket": str, **_WARNINGS},
    "restore": {"playing": bool, **_WARNINGS},
    "release": {"held": int, **_WARNINGS},
    "error": {
        "code": str,
        "message": str,
        "fault": Literal["request", "environment", "protocol", "server"],
        "reset_needed?": bool,
        "environments?": list[int],
        "exception?": str,
        **_WARNINGS,
    },
}
_SPEC = {
    "id": str,
    "max_episode_steps?": _INTEGER,
    "reward_threshold?": _NUMBER,
    "nondeterministic?": bool,
    "kwargs?": dict[str, Any],
}
_LISTED = {
    **{"id": str, "library?": str, "max_episode_steps?": _INTEGER},
    **{"reward_threshold?": _NUMBER, "nondeterministic?": bool},
}
_RESUME = {"secret": str, "seconds": float, "kept": int}
_LIMITS = {"idle_timeout": _NUMBER, "step_timeout": _NUMBER, "max_frame": int}


class Failed(Exception):
    """The server replied with an error.

    Attributes:
        code: The error code, for programs.
        message: The error message, for people.
        fault: Whose fault it is.
        reset_needed: Whether the next request must be a reset.
        environments: The indices of the environments concerned, if several step together.
        warnings: Further notes of the server about the request.
        exception: The name of the built-in Python exception that the environment raised.
    """

    def __init__(
        self,
        code: str,
        message: str,
        fault: str,
        reset_needed: bool = False,
        environments: Sequence[int] = (),
        warnings: Sequence[str] = (),
        exception: str = "",
    ) -> None:
        super().__init__(f"{code} ({fault}): {message}")
        self.exception = exception
        self.code, self.message, self.fault, self.reset_needed = code, message, fault, reset_needed
        self.environments, self.warnings = list(environments), list(warnings)


class ReadyRows(NamedTuple):
    """Results of steps of some environments: their indices, and for each a row."""

    env_ids: list[int]
    observations: list[Any]
    rewards: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]


class Stepped(NamedTuple):
    """The reply to one action: numbers, or arrays with one element for each environment of a vector."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]

    @property
    def is_over(self) -> bool:
        """Whether the episode of a single environment has ended."""
        return bool(self.terminated or self.truncated)


class FramedClient(ByteStream):
    """One connection to a server of the framed protocol; see :class:`ByteStream`.

    Args:
        connection: A connected stream socket, which the client owns from now on.
        encoding: ``netstring`` or ``int32``.
        patience: Seconds to wait for expected bytes.

    Attributes:
        encoding: As given.
        accepts_doorbells: Whether empty frames are skipped, as they must be once memory is shared.
        made: The reply to make, without its operation; empty before that.
        actions: The codec of the action space, once an environment is made.
        observations: The codec of the observation space, once an environment is made.
        omitted: The paths of the values that the server left out of its last reply.
    """

    def __init__(self, connection: socket.socket, encoding: str, patience: float = PATIENCE) -> None:
        super().__init__(connection, patience)
        self.encoding = encoding
        self.accepts_doorbells = False
        self.made: dict[str, Any] = {}
        self.omitted: list[str] = []
        self.actions: ElementCodec
        self.observations: ElementCodec

    # Messages

    def say(self, op: str, **fields: Any) -> None:
        """Send a request with any fields."""
        self.send(message(self.encoding, op, **fields))

    def hear(self) -> dict[str, Any]:
        """Read the next message.

        Raises:
            Violation: It is not a reply according to the specification.
            EOFError: The stream ended.
        """
        while True:
            told = self.next_reply()
            if told is not None:
                return told
            if not self.receive():
                left = bytes(self._received[:40])
                raise EOFError(f"the connection was closed where a reply was due, after {left!r}")

    def next_reply(self) -> dict[str, Any] | None:
        """Take the next message out of the receive buffer; None while it is incomplete."""
        while found := find_payload(self.encoding, self._received):
            start, stop, end = found
            payload = self.take(end)[start:stop]
            if payload or not self.accepts_doorbells:
                return check_reply(decode(self.encoding, payload))
        return None

    def reply(self, op: str) -> dict[str, Any]:
        """Read the next message, which must be the reply to a request; raise :class:`Failed` for an error.

        Returns:
            Its fields.
        """
        told = self.hear()
        name = told.pop("op")
        if name == "error":
            raise Failed(**told)
        if name != op:
            raise Violation(f"{op} was answered with a reply to {name}")
        self.omitted = told.get("omitted", [])
        return told

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request, and return the fields of the reply."""
        self.say(op, **fields)
        return self.reply(op)

    # Requests with their replies

    def make(self, environment: str, **fields: Any) -> dict[str, Any]:
        """Make an environment; return the fields of the reply."""
        self.say("make", id=environment, **fields)
        return self.read_made(fields.get("values", "nested"))

    def read_made(self, form: str = "nested") -> dict[str, Any]:
        """Read the reply to make, and prepare the codecs of the spaces.

        Args:
            form: The form of values in JSON: ``nested`` or ``base64``.
        """
        self.made = self.reply("make")
        text, base64 = self.encoding == NETSTRING, form == "base64"
        space = self.made["action_space"]
        self.actions = ElementCodec(space, text=text, base64=base64, checked=True, name="the action")
        space = self.made["observation_space"]
        # Many environments leave the bounds of their own observation space: the protocol does not check them.
        self.observations = ElementCodec(space, text=text, base64=base64, name="the observation")
        return self.made

    @property
    def num_envs(self) -> int | None:
        """The number of environments of a vector; None for a single environment."""
        return self.made.get("num_envs")

    def reset(self, **fields: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; return the observation and the info."""
        self.say("reset", **fields)
        return self.read_reset()

    def read_reset(self) -> tuple[Any, dict[str, Any]]:
        """Read the reply to a reset."""
        told = self.reply("reset")
        return self.observations.load(told["observation"]), decode_arrays(told.get("info", {}))

    def step(self, action: Any, **fields: Any) -> Stepped:
        """Play an action of the action space."""
        self.say("step", action=self.actions.dump(action), **fields)
        return self.read_step()

    def read_step(self) -> Stepped:
        """Read the reply to a step."""
        told = self.reply("step")
        return Stepped(
            self.observations.load(told["observation"]),
            self.rewards(told["reward"]),
            self.flags(told["terminated"]),
            self.flags(told["truncated"]),
            decode_arrays(told.get("info", {})),
        )

    def step_many(self, **fields: Any) -> tuple[list[Any], Any, Any, Any, int]:
        """Take several steps.

        Returns:
            The observations (the last one alone unless all were asked for), the rewards, the flags after the last
            step, and the number of steps.
        """
        told = self.ask("step_many", **fields)
        count, observations = told["count"], told["observations"]
        if fields.get("observations") != "all":
            loaded = [self.observations.load(observations)]
        else:
            loaded = self._load_each(self.observations, observations, count)
        return (
            loaded,
            self.rewards(told["rewards"], count),
            self.flags(told["terminated"]),
            self.flags(told["truncated"]),
            count,
        )

    def step_ready(self, env_ids: Sequence[int] = (), actions: Sequence[Any] = (), min_ready: int = 0) -> ReadyRows:
        """Begin steps of some environments, and wait until some are done.

        Args:
            env_ids: The environments to step.
            actions: Their actions.
            min_ready: The minimum number to wait for.
        """
        dumped = [self._single("action").dump(each) for each in actions]
        told = self.ask("step_ready", env_ids=list(env_ids), actions=dumped, min_ready=min_ready)
        found = told.get("env_ids", [])
        count = len(found)
        if count != min_ready or found != sorted(set(found)):
            raise Violation(f"`env_ids` is {found!r:.200}; expected {min_ready} different ones, in ascending order")
        if not count:
            return ReadyRows([], [], np.zeros(0), np.zeros(0), np.zeros(0), {})
        return ReadyRows(
            found,
            self._load_each(self._single("observation"), told["observations"], count),
            self._rewards(told["rewards"], (count,)),
            self._flags(told["terminated"], count),
            self._flags(told["truncated"], count),
            decode_arrays(told.get("info", {})),
        )

    def _single(self, name: str) -> ElementCodec:
        """Return the codec of one of several environments."""
        space, text = self.made[f"single_{name}_space"], self.encoding == NETSTRING
        return ElementCodec(space, text=text, checked=name == "action", name=f"the {name}")

    def _load_each(self, codec: ElementCodec, told: Any, count: int) -> list[Any]:
        """Read several observations."""
        if self.encoding == INT32 and codec.layout is not None:
            size = codec.layout["size"]
            if not isinstance(told, bytes) or len(told) != count * size:
                raise Violation(f"`observations` is not a bin of {count} times {size} bytes")
            told = [told[index * size : (index + 1) * size] for index in range(count)]
        elif not isinstance(told, list) or len(told) != count:
            raise Violation(f"`observations` is not a list of {count}")
        return [codec.load(each) for each in told]

    def rewards(self, told: Any, steps: int | None = None) -> Any:
        """Read a reward, or an array with one for each step and environment.

        Args:
            told: The value in the reply.
            steps: The number of steps of ``step_many``; None for a single step.
        """
        return self._rewards(told, tuple(each for each in (steps, self.num_envs) if each is not None))

    def _rewards(self, told: Any, shape: tuple[int, ...]) -> Any:
        if isinstance(told, list if self.encoding == NETSTRING else dict) and self.made.get("reward_space"):
            return self._reward_arrays(told, shape)
        if not shape:
            return _number(told, text=self.encoding == NETSTRING)
        if self.encoding == INT32:
            if not isinstance(told, bytes) or len(told) != 8 * int(np.prod(shape)):
                raise Violation(f"the rewards are {told!r:.80}; expected a bin of float64 for the shape {shape}")
            return np.frombuffer(told, "<f8").reshape(shape)
        try:
            array = np.array(_numbers(told))
        except ValueError:
            raise Violation(f"the rewards are ragged lists: {told!r:.200}") from None
        if array.shape != shape:
            raise Violation(f"the rewards have the shape {array.shape}; expected {shape}")
        return array

    def _reward_arrays(self, told: Any, shape: tuple[int, ...]) -> Any:
        """Decode rewards that are arrays of the reward space, or numbers instead."""
        try:
            array = np.array(_numbers(told)) if self.encoding == NETSTRING else decode_array(told)
        except ValueError:
            raise Violation(f"the rewards are ragged lists: {told!r:.200}") from None
        if array.shape not in (shape, (*shape, *self.made["reward_space"]["shape"])):
            raise Violation(f"the rewards have the shape {array.shape}; expected {shape} and that of the reward space")
        return array

    def flags(self, told: Any) -> Any:
        """Read a flag, or an array with one for each environment."""
        if self.num_envs is None:
            if not isinstance(told, bool):
                raise Violation(f"`terminated` or `truncated` is {told!r:.80}; expected true or false")
            return told
        return self._flags(told, self.num_envs)

    def _flags(self, told: Any, count: int) -> Any:
        if self.encoding == NETSTRING:
            right = isinstance(told, list) and all(isinstance(each, bool) for each in told)
        else:
            right = isinstance(told, bytes) and set(told) <= {0, 1}
        if not right or len(told) != count:
            raise Violation(f"the flags are {told!r:.80}; expected {count} of them")
        return np.array(list(told), np.bool_)

    def sample(self, **fields: Any) -> Any:
        """Return an action that the server sampled."""
        return self.actions.load(self.ask("sample", **fields)["action"])

    def play(self, steps: int = 3) -> None:
        """Reset and take steps with the action 0, which the environment must accept."""
        self.reset()
        for _ in range(steps):
            if self.step(0).is_over:
                self.reset()


def check_reply(told: dict[str, Any]) -> dict[str, Any]:
    """Check the fields of a message against the specification of replies.

    Returns:
        The fields that the specification names, including ``op``.

    Raises:
        Violation: There is no such reply, or a field is missing or of another type.
    """
    op = told["op"]
    require(op in REPLIES, f"no reply has the operation {op!r:.80}")
    found = {"op": op, **check_fields(told, REPLIES[op], f"the reply {op!r}")}
    for name in ("info", "infos", "metadata", "frame", "value", "state"):
        require(not _is_deeper(found.get(name), _MAX_DEPTH), f"`{name}` of the reply {op!r} is nested too deep")
    for place in found.get("omitted", []):
        right = place.startswith(("metadata", "spec.kwargs") if op in ("make", "make_agents") else "info")
        require(right, f"`omitted` of the reply {op!r} has {place!r:.80}; expected a place in its data")
    if op in ("make", "make_agents"):
        for name, fields in (("spec", _SPEC), ("limits", _LIMITS), ("resume", _RESUME)):
            if found.get(name) is not None:
                found[name] = check_fields(found[name], fields, f"`{name}` of the reply to make")
    if "envs" in found:
        found["envs"] = [check_fields(each, _LISTED, "an environment of the list") for each in found["envs"]]
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)) or not value:
        return False
    parts = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(each, levels - 1) for each in parts)


def _number(told: Any, *, text: bool) -> float:
    if text and isinstance(told, str) and told in _NOT_FINITE:
        return float(told)
    if isinstance(told, bool) or not isinstance(told, (int, float)):
        raise Violation(f"the reward is {told!r:.80}; expected a number")
    return float(told)


def _numbers(told: Any) -> Any:
    return [_numbers(each) for each in told] if isinstance(told, list) else _number(told, text=True)


def decode_arrays(value: Any) -> Any:
    """Decode the arrays in an info or a rendered frame, at any depth."""
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            return decode_array(value)
        return {key: decode_arrays(each) for key, each in value.items()}
    return [decode_arrays(each) for each in value] if isinstance(value, list) else value
