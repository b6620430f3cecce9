"""A small client of the framed protocol, in both framings, made of nothing of gymtwist's own.

It can also say things that no client should.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tests.support.classic_client import strict_json
from tests.support.patience import PATIENCE

NETSTRING, INT32 = "netstring", "int32"
ENCODINGS = (NETSTRING, INT32)
_NUMBERS = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


class Failed(Exception):
    """The server replied with an error."""

    def __init__(self, code: str, message: str, fault: str, reset_needed: bool = False) -> None:
        """Takes the fields of the reply."""
        super().__init__(f"{code} ({fault}): {message}")
        self.code, self.message, self.fault, self.reset_needed = code, message, fault, reset_needed


class Stepped(NamedTuple):
    """What the server replies to one action."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any
    info: dict[str, Any]


def netstring(payload: bytes) -> bytes:
    """Returns a netstring."""
    return str(len(payload)).encode() + b":" + payload + b","


def int32(payload: bytes) -> bytes:
    """Returns a frame behind its length, big-endian."""
    return struct.pack(">I", len(payload)) + payload


def message(encoding: str, op: str, **fields: Any) -> bytes:
    """Returns a framed message."""
    if encoding == NETSTRING:
        return netstring(json.dumps({"op": op, **fields}).encode())
    return int32(msgspec.msgpack.encode({"op": op, **fields}))


def number(value: Any) -> float:
    """Returns a number of JSON's, which has names for those that are not finite."""
    return float(_NUMBERS.get(value, value)) if isinstance(value, str) else float(value)


def array(nested: Any, dtype: str, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """Returns the array that nested lists stand for."""
    if np.dtype(dtype).kind != "f":
        return np.array(nested, dtype).reshape(shape)
    flat: list[Any] = []
    pending = [nested]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += reversed(each)
        else:
            flat.append(number(each))
    return np.array(flat, np.float64).astype(dtype).reshape(shape)


def structured(value: Any) -> Any:
    """Returns a structured value with its arrays as arrays."""
    if isinstance(value, dict):
        if value.keys() == {"dtype", "shape", "data"}:
            data = value["data"]
            raw = data if isinstance(data, bytes) else base64.b64decode(data, validate=True)
            return np.frombuffer(raw, np.dtype(value["dtype"]).newbyteorder("<")).reshape(value["shape"])
        return {key: structured(each) for key, each in value.items()}
    if isinstance(value, list):
        return [structured(each) for each in value]
    return value


class Values:
    """What values of a space look like to this client: an array, or a dictionary from paths to arrays."""

    def __init__(self, encoding: str, layout: dict[str, Any], form: str) -> None:
        """Takes what the reply to make says."""
        self.leaves = layout["leaves"]
        self.size = layout["size"]
        self.packed = encoding == INT32 or form == "base64"
        self.text = encoding == NETSTRING

    def load(self, value: Any) -> Any:
        """Returns the arrays of a value from the server."""
        if not self.packed:
            return self._joined(
                [array(self._at(value, leaf["path"]), leaf["dtype"], leaf["shape"]) for leaf in self.leaves]
            )
        raw = base64.b64decode(value, validate=True) if self.text else value
        assert len(raw) == self.size
        return self._joined(
            [
                np.frombuffer(raw, self._dtype(leaf), int(np.prod(leaf["shape"])), leaf["offset"]).reshape(
                    leaf["shape"]
                )
                for leaf in self.leaves
            ]
        )

    def dump(self, value: Any) -> Any:
        """Returns what the server takes for a value: an array or a number, or a dictionary from paths to them."""
        if not self.packed:
            assert len(self.leaves) == 1 and not self.leaves[0]["path"], "nested values are the tests' own business"
            return np.asarray(value).tolist()
        parts = [value] if not isinstance(value, dict) else [value[tuple(leaf["path"])] for leaf in self.leaves]
        raw = b"".join(
            np.asarray(part).astype(self._dtype(leaf)).tobytes() for part, leaf in zip(parts, self.leaves, strict=True)
        )
        return base64.b64encode(raw).decode() if self.text else raw

    @staticmethod
    def _dtype(leaf: dict[str, Any]) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(leaf["dtype"])
        return dtype.newbyteorder("<")

    @staticmethod
    def _at(value: Any, path: Sequence[Any]) -> Any:
        for key in path:
            value = value[key]
        return value

    def _joined(self, arrays: list[Any]) -> Any:
        if len(arrays) == 1 and not self.leaves[0]["path"]:
            return arrays[0]
        return {tuple(leaf["path"]): each for leaf, each in zip(self.leaves, arrays, strict=True)}


class FramedClient:
    """One connection to the server."""

    def __init__(self, connection: socket.socket, encoding: str) -> None:
        """Takes over a connected socket."""
        self.encoding = encoding
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        self.file = connection.makefile("rb")
        self.since = 0
        self.made: dict[str, Any] = {}
        self.actions: Values
        self.observations: Values

    def __enter__(self) -> FramedClient:
        """Returns the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        self.close()

    @property
    def port(self) -> int:
        """The client's own port, by which the server's log names it."""
        return int(self.socket.getsockname()[1])

    def close(self) -> None:
        """Closes the connection."""
        self.file.close()
        self.socket.close()

    # Frames

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.socket.sendall(data)

    def say(self, op: str, **fields: Any) -> None:
        """Sends a request."""
        self.send(message(self.encoding, op, **fields))

    def read(self, count: int) -> bytes:
        """Returns exactly so many bytes."""
        data = self.file.read(count)
        if len(data) != count:
            raise EOFError(f"the server closed the connection after {len(data)} of {count} bytes")
        return data

    def hear(self) -> dict[str, Any]:
        """Returns the next message, whatever it is."""
        if self.encoding == INT32:
            told: dict[str, Any] = msgspec.msgpack.decode(self.read(struct.unpack(">I", self.read(4))[0]))
            return told
        length = b""
        while (byte := self.read(1)) != b":":
            length += byte
        data = self.read(int(length))
        assert self.read(1) == b","
        told = strict_json(data.decode())
        return told

    def reply(self, op: str) -> dict[str, Any]:
        """Returns the next message, which is to be the reply to a request; raises `Failed` for an error."""
        told = self.hear()
        name = told.pop("op")
        if name == "error":
            known = ("code", "message", "fault", "reset_needed")
            raise Failed(**{key: told[key] for key in known if key in told})
        assert name == op, f"a reply to {name}, not to {op}"
        return told

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Sends a request, and returns the reply."""
        self.say(op, **fields)
        return self.reply(op)

    def read_to_end(self) -> bytes:
        """Returns what comes until the server's FIN; a RST raises ConnectionResetError."""
        return self.file.read()

    # Requests

    def make(self, environment: str, **fields: Any) -> dict[str, Any]:
        """Makes an environment; returns what is told of it."""
        self.made = self.ask("make", id=environment, **fields)
        self.understand(fields.get("values", "nested"))
        return self.made

    def understand(self, form: str) -> None:
        """Learns from what was told how values travel."""
        if self.made.get("action_layout"):
            self.actions = Values(self.encoding, self.made["action_layout"], form)
        if self.made.get("observation_layout"):
            self.observations = Values(self.encoding, self.made["observation_layout"], form)

    def reset(self, **fields: Any) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; returns observation and info."""
        self.say("reset", **fields)
        return self.read_reset()

    def read_reset(self) -> tuple[Any, dict[str, Any]]:
        """Returns the reply to a reset."""
        told = self.reply("reset")
        return self.observations.load(told["observation"]), structured(told.get("info", {}))

    def step(self, action: Any) -> Stepped:
        """Plays an action."""
        self.say("step", action=self.actions.dump(action))
        return self.read_step()

    def read_step(self) -> Stepped:
        """Returns the reply to a step."""
        told = self.reply("step")
        return Stepped(
            self.observations.load(told["observation"]),
            self.rewards(told["reward"]),
            self.flags(told["terminated"]),
            self.flags(told["truncated"]),
            structured(told.get("info", {})),
        )

    def rewards(self, told: Any) -> Any:
        """Returns the rewards of a reply."""
        if isinstance(told, bytes):
            return np.frombuffer(told, "<f8")
        return np.array([self.rewards(each) for each in told]) if isinstance(told, list) else number(told)

    @staticmethod
    def flags(told: Any) -> Any:
        """Returns the flags of a reply."""
        if isinstance(told, bytes):
            assert set(told) <= {0, 1}
            return np.frombuffer(told, np.bool_)
        return np.array(told) if isinstance(told, list) else told

    def sample(self, **fields: Any) -> Any:
        """Returns an action that the server chose."""
        return self.actions.load(self.ask("sample", **fields)["action"])

    def play(self, steps: int = 3) -> None:
        """Plays some steps of an environment that takes the action 0, the reset before them included."""
        self.reset()
        for _ in range(steps):
            stepped = self.step(0)
            if stepped.terminated or stepped.truncated:
                self.reset()
