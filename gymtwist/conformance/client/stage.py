"""The environments of the scenario: they are descriptions of spaces, and values that the script makes up."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from gymtwist.conformance.client.exam import Exam
from gymtwist.errors import InvalidAction
from gymtwist.protocol.messages import Make
from gymtwist.protocol.names import ProtocolName
from gymtwist.spaces.descriptions import (
    Box,
    Description,
    Dict,
    Discrete,
    MultiBinary,
    MultiDiscrete,
    Tuple,
    for_json,
    layout_of,
)
from gymtwist.spaces.value_codecs import codec

#: How many environments the vector part has.
NUM_ENVS = 3
#: The actions of most parts.
ACTIONS = Discrete(6, -1, "int64")
NUMBERS = Box((4,), "float32", "-Infinity", "Infinity")
MANY_ACTIONS = MultiDiscrete([6] * NUM_ENVS, [-1] * NUM_ENVS, "int64")
MANY_NUMBERS = Box((NUM_ENVS, 4), "float32", "-Infinity", "Infinity")
TARGET = Box((3,), "float32", -1, 1)
NESTED = Dict(
    (
        ("number", Discrete(10, 5, "int64")),
        ("picture", Box((2, 3, 2), "uint8", 0, 255)),
        ("pair", Tuple((Box((2,), "float64", np.array([-1.0, -2.0]).tobytes(), "Infinity"), MultiBinary(3)))),
        ("target", TARGET),
    )
)


class Stage:
    """What a client is shown of an environment, in the form in which it asked for it.

    Args:
        make: The client's request.
        protocol: What it speaks.
        actions: The action space.
        observations: The observation space.
        single: The action space and the observation space of one environment of several.
    """

    def __init__(
        self,
        make: Make,
        protocol: ProtocolName,
        actions: Description,
        observations: Description,
        single: tuple[Description, Description] | None = None,
    ) -> None:
        self.make = make
        self.is_json = protocol is ProtocolName.NETSTRING
        self._spaces = {"action": actions, "observation": observations}
        self._single = {} if single is None else {"single_action": single[0], "single_observation": single[1]}
        base64 = make.values == "base64"
        read = codec(actions, base64=base64)
        write = codec(observations, name="observation", base64=base64, checked=False)
        self._load, self._dump_action = (read.from_json, read.to_json) if self.is_json else (read.unpack, read.pack)
        self._dump = write.to_json if self.is_json else write.pack

    def made(self, **fields: Any) -> dict[str, Any]:
        """Return the reply to make."""
        told: dict[str, Any] = {"op": "make", "server": "gymtwist.conformance", "metadata": {"render_modes": []}}
        for name, space in {**self._spaces, **self._single}.items():
            told[f"{name}_space"] = msgspec.to_builtins(
                for_json(space) if self.is_json else space, builtin_types=(bytes,)
            )
            told[f"{name}_layout"] = msgspec.to_builtins(layout_of(space))
        return {**told, "limits": {"idle_timeout": None, "step_timeout": None, "max_frame": 1 << 24}, **fields}

    def action(self, exam: Exam, told: Any) -> Any:
        """Read an action of the client's; None if it is none of the space."""
        try:
            action = self._load(told)
        except InvalidAction as error:
            exam.check("action-is-valid", False, str(error))
            return None
        exam.check("action-is-valid", True, "")
        return action

    def observation(self, value: Any) -> Any:
        """Write an observation."""
        dumped = self._dump(value)
        return bytes(dumped) if isinstance(dumped, memoryview) else dumped

    def drawn(self, value: Any) -> Any:
        """Write an action, as the reply to sample does."""
        dumped = self._dump_action(value)
        return bytes(dumped) if isinstance(dumped, memoryview) else dumped

    def number(self, value: float) -> Any:
        """Write a reward of a single environment."""
        if not self.is_json or np.isfinite(value):
            return value
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    def numbers(self, values: Any) -> Any:
        """Write rewards of several environments, or of several steps."""
        array = np.asarray(values, "<f8")
        return array.tolist() if self.is_json else array.tobytes()

    def flags(self, values: Any) -> Any:
        """Write flags of several environments."""
        array = np.asarray(values, np.bool_)
        return array.tolist() if self.is_json else array.tobytes()
