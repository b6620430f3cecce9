"""A session with the server that is judged: an environment is made, and its values are read."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from gymtwist.conformance.report import Violation, expect
from gymtwist.conformance.server.connection import Connection, of_kind
from gymtwist.errors import GymtwistError
from gymtwist.protocol.messages import Made, Reply, ResetDone, Sampled, Stepped, SteppedMany
from gymtwist.protocol.names import ProtocolName
from gymtwist.spaces.descriptions import Description
from gymtwist.spaces.value_codecs import GraphValue, codec


class Observed(NamedTuple):
    """What a step told, with its numbers read."""

    observation: Any
    reward: Any
    terminated: Any
    truncated: Any

    @property
    def over(self) -> bool:
        """Whether the episode of a single environment has ended."""
        return bool(self.terminated or self.truncated)


class Elements:
    """Reads and writes the elements of one space.

    Args:
        description: Of the space.
        name: What they are called.
        protocol: What is spoken.
        form: How values travel in JSON.
        checked: Whether they must be within the bounds of the space; that is promised of actions alone.
    """

    def __init__(
        self, description: Description, name: str, protocol: ProtocolName, form: str, *, checked: bool = True
    ) -> None:
        self.description = description
        try:
            made = codec(description, name=name, base64=form == "base64", checked=checked)
        except ValueError as error:
            raise Violation(f"the {name} space is described as {error}") from error
        if protocol is ProtocolName.NETSTRING:
            self.dump, self._load = made.to_json, made.from_json
        else:
            self.dump, self._load = made.pack, made.unpack

    def load(self, told: Any, what: str) -> Any:
        """Read an element, which must have the form of those of the space.

        Raises:
            Violation: It is not.
        """
        try:
            return self._load(told)
        except (GymtwistError, ValueError) as error:
            raise Violation(f"{what}: {error}") from error


class Session:
    """A connection with an environment.

    Args:
        connection: The connection.
        made: The reply to make.
        form: How values travel in JSON.
    """

    def __init__(self, connection: Connection, made: Made, form: str = "nested") -> None:
        self.connection = connection
        self.made = made
        self.num_envs = made.num_envs
        self.actions = Elements(made.action_space, "action", connection.protocol, form)
        self.observations = Elements(made.observation_space, "observation", connection.protocol, form, checked=False)

    def __enter__(self) -> Session:
        """Return the session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.connection.__exit__(kind, error, trace)

    # Requests with their replies

    def reset(self, **fields: Any) -> Any:
        """Begin an episode; return the observation."""
        self.connection.say("reset", **fields)
        return self.read_reset()

    def step(self, action: Any, **fields: Any) -> Observed:
        """Take one step with an action, as the space has it."""
        self.connection.say("step", action=self.actions.dump(action), **fields)
        return self.read_step()

    def sample(self, **fields: Any) -> Any:
        """Return an action that the server drew."""
        self.connection.say("sample", **fields)
        reply = self.connection.expect(Sampled, "sample")
        return self.actions.load(reply.action, "the action that was drawn is not in the action space")

    def step_many(self, **fields: Any) -> SteppedMany:
        """Take several steps; return the reply as it is."""
        self.connection.say("step_many", **fields)
        return self.connection.expect(SteppedMany, "step_many")

    def steps(self, actions: Iterable[Any]) -> list[Observed]:
        """Take steps, to the end of the episode at most."""
        taken: list[Observed] = []
        for action in actions:
            taken.append(self.step(action))
            if self.num_envs is None and taken[-1].over:
                break
        return taken

    # Replies

    def read_reset(self) -> Any:
        """Read the reply to a reset; return the observation."""
        return self.observation(self.connection.expect(ResetDone, "reset").observation, "reset")

    def read_step(self) -> Observed:
        """Read the reply to a step."""
        return self.observed(self.connection.hear())

    def observed(self, reply: Reply) -> Observed:
        """Read the numbers of a reply to a step."""
        told = of_kind(reply, Stepped, "step")
        return Observed(
            self.observation(told.observation, "step"),
            self.rewards(told.reward),
            self.flags(told.terminated, "terminated"),
            self.flags(told.truncated, "truncated"),
        )

    def observation(self, told: Any, op: str) -> Any:
        """Read an observation."""
        return self.observations.load(told, f"the observation of {op} is none of its space")

    def rewards(self, told: Any, steps: int | None = None) -> Any:
        """Read rewards: a number, or an array with one for each step and environment."""
        shape = tuple(each for each in (steps, self.num_envs) if each is not None)
        if not shape:
            expect(isinstance(told, (int, float)), f"the reward is {told!r}; expected a number")
            return float(told)
        if isinstance(told, bytes):
            expect(
                len(told) == 8 * int(np.prod(shape)), f"the rewards are {len(told)} bytes; expected float64 for {shape}"
            )
            return np.frombuffer(told, "<f8").reshape(shape)
        expect(
            isinstance(told, list) and self.connection.protocol is ProtocolName.NETSTRING,
            f"the rewards are a {type(told).__name__}; expected a list in JSON, a bin in MessagePack",
        )
        array = np.array(told, np.float64)
        expect(array.shape == shape, f"the rewards have shape {array.shape}; expected {shape}")
        return array

    def flags(self, told: Any, name: str) -> Any:
        """Read flags: one, or an array with one for each environment."""
        if self.num_envs is None:
            expect(isinstance(told, bool), f"{name} is {told!r}; expected true or false")
            return told
        if self.connection.protocol is ProtocolName.NETSTRING:
            expect(isinstance(told, list), f"{name} is {told!r}; expected a list of true and false")
        else:
            expect(isinstance(told, bytes) and set(told) <= {0, 1}, f"{name} is {told!r}; expected a bin of 0 and 1")
        flags = np.array(list(told), np.bool_)
        expect(len(flags) == self.num_envs, f"{name} has {len(flags)} flags; expected {self.num_envs}")
        return flags


def same(first: Any, second: Any) -> bool:
    """Tell whether two values are the same to the last bit; not a number is the same as itself."""
    if isinstance(first, (tuple, list, GraphValue)):
        return (
            type(first) is type(second)
            and len(first) == len(second)
            and all(same(*each) for each in zip(first, second, strict=True))
        )
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(first[key], second[key]) for key in first)
        )
    if isinstance(first, (np.ndarray, np.generic)) and isinstance(second, (np.ndarray, np.generic)):
        return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
    return bool(first == second or (first != first and second != second))
