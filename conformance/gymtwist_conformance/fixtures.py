"""Fixtures of the scenarios: environments that consist of spaces only, and how replies are delivered."""

from __future__ import annotations

import base64
import enum
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gymtwist_conformance.assertions import Assertions
from gymtwist_conformance.reference_client import NETSTRING, ElementCodec, Violation, encode, frame
from gymtwist_conformance.reference_client.element_codecs import Space, layout_of, to_lists

#: The number of environments in the scenario ``vector``.
NUM_ENVS = 3
#: The actions of most scenarios, and the observations of which they are part.
ACTIONS: Space = {"kind": "Discrete", "n": 6, "start": -1, "dtype": "int64"}
NUMBERS: Space = {"kind": "Box", "shape": [4], "dtype": "float32", "low": "-Infinity", "high": "Infinity"}
MANY_ACTIONS: Space = {"kind": "MultiDiscrete", "nvec": [6] * 3, "start": [-1] * 3, "dtype": "int64"}
MANY_NUMBERS: Space = {**NUMBERS, "shape": [NUM_ENVS, 4]}
TARGET: Space = {"kind": "Box", "shape": [3], "dtype": "float32", "low": -1, "high": 1}
#: The rewards of one scenario.
REWARDS: Space = {"kind": "Box", "shape": [2], "dtype": "float32", "low": "-Infinity", "high": "Infinity"}
#: Fields that the specification does not have, with text that has more bytes than characters.
UNKNOWN = {"x_unknown": {"text": "Größe 🎲", "list": [1, None, {"op": "error"}], "number": -1.5e300}, "x_none": None}


def nested_space(*, text: bool) -> Space:
    """Return a Dict of everything; a bound that differs between elements depends on the encoding."""
    low = [-1.0, -2.0]
    pair = {"kind": "Box", "shape": [2], "dtype": "float64", "low": low, "high": "Infinity"}
    if not text:
        pair["low"] = np.array(low, "<f8").tobytes()
    return {
        "kind": "Dict",
        "spaces": [
            ["number", {"kind": "Discrete", "n": 10, "start": 5, "dtype": "int64"}],
            ["picture", {"kind": "Box", "shape": [2, 3, 2], "dtype": "uint8", "low": 0, "high": 255}],
            ["pair", {"kind": "Tuple", "spaces": [pair, {"kind": "MultiBinary", "n": 3}]}],
            ["target", TARGET],
        ],
    }


class Environment:
    """An environment as the client requested it, which determines what its replies contain.

    Args:
        make: The client's request.
        encoding: The client's framing.
        actions: The action space.
        observations: The observation space.
        single: The action space and the observation space of a single one of several environments.
    """

    def __init__(
        self,
        make: dict[str, Any],
        encoding: str,
        actions: Space,
        observations: Space,
        single: tuple[Space, Space] | None = None,
    ) -> None:
        self.is_json = encoding == NETSTRING
        self._spaces = {"action": actions, "observation": observations}
        if single is not None:
            self._spaces |= {"single_action": single[0], "single_observation": single[1]}
        form: dict[str, Any] = {"text": self.is_json, "base64": make.get("values") == "base64"}
        self._actions = ElementCodec(actions, checked=True, name="the action", **form)
        self.observation = ElementCodec(observations, **form).dump

    def made(self, **fields: Any) -> dict[str, Any]:
        """Return the reply to make."""
        limits = {"idle_timeout": None, "step_timeout": None, "max_frame": 1 << 24}
        told: dict[str, Any] = {"op": "make", "server": "gymtwist_conformance", "metadata": {"render_modes": []}}
        told["limits"] = limits
        for name, space in self._spaces.items():
            told |= {f"{name}_space": space, f"{name}_layout": layout_of(space)}
        return told | fields

    def action(self, assertions: Assertions, carried: Any) -> Any:
        """Decode an action of the client; None if it is not in the space."""
        try:
            action = self._actions.load(carried)
        except Violation as violation:
            assertions.check("action-is-valid", False, str(violation))
            return None
        assertions.check("action-is-valid", True, "")
        return action

    def reward(self, value: float) -> Any:
        """Encode the reward of a single environment."""
        return to_lists(np.float64(value)) if self.is_json else value

    def reward_array(self, values: Any) -> Any:
        """Encode a reward that is an array of the reward space."""
        array = np.asarray(values, "<f4")
        if self.is_json:
            return to_lists(array)
        return {"dtype": "float32", "shape": list(array.shape), "data": array.tobytes()}

    def array(self, values: Any) -> dict[str, Any]:
        """Encode an array together with its dtype and shape, as in data and rendered frames."""
        array = np.ascontiguousarray(values)
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        carried = base64.b64encode(data).decode() if self.is_json else data
        return {"dtype": array.dtype.name, "shape": list(array.shape), "data": carried}

    def rewards(self, values: Any) -> Any:
        """Encode the rewards of several environments, or of several steps."""
        array = np.asarray(values, "<f8")
        return array.tolist() if self.is_json else array.tobytes()

    def flags(self, values: Any) -> Any:
        """Encode the flags of several environments."""
        array = np.asarray(values, np.bool_)
        return array.tolist() if self.is_json else array.tobytes()


class Delivery(enum.Enum):
    """Where the bytes of the replies are split."""

    WHOLE = "all in one"
    BYTES = "byte by byte"
    HALVES = "in the middle"
    HEADER = "behind the first byte, and before the last"


class Answer(NamedTuple):
    """What the referee sends: nothing, a reply, or several at once.

    Attributes:
        replies: Each with its operation and its fields.
        delivery: How their bytes are split.
        dressed: Whether the messages use everything that is allowed: unknown fields, the operation after the other
            fields, and white space in JSON.
        last: Whether the referee closes the connection afterwards.
    """

    replies: Sequence[dict[str, Any]]
    delivery: Delivery = Delivery.WHOLE
    dressed: bool = False
    last: bool = False

    def pieces(self, encoding: str) -> list[bytes]:
        """Encode the replies, in the pieces in which they are sent."""
        data = b"".join(frame(encoding, self._payload(encoding, reply)) for reply in self.replies)
        if self.delivery is Delivery.BYTES and len(data) <= 4000:
            return [data[index : index + 1] for index in range(len(data))]
        cuts = {
            Delivery.HALVES: [0, len(data) // 2, len(data)],
            Delivery.HEADER: [0, 1, len(data) - 1, len(data)],
        }.get(self.delivery, [0, len(data)])
        return [data[start:stop] for start, stop in pairwise(cuts) if start < stop]

    def _payload(self, encoding: str, reply: dict[str, Any]) -> bytes:
        fields = {**UNKNOWN, **reply} if self.dressed else {**reply}
        if self.dressed:
            fields["op"] = fields.pop("op")
        if encoding != NETSTRING:
            return encode(encoding, fields)
        return json.dumps(fields, indent=1 if self.dressed else None, ensure_ascii=False).encode()
