"""Converts between a user's values and the messages of one session."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from gymtwist.client.client_errors import RequestRefused
from gymtwist.client.user_values import (
    action_writer,
    checked_reader,
    integer_of,
    observation_reader,
    own,
    refused_action,
)
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.received_values import restored
from gymtwist.spaces.gymnasium_spaces import Codec, build, value_codec
from gymtwist.spaces.layout import ARRAY_FIELDS, DTYPES, Layout, check_size
from gymtwist.spaces.value_mismatch import ValueMismatch

#: For up to this many discrete actions, requests are encoded in advance.
_FEW = 1024


class Steps(NamedTuple):
    """Result of ``step_many``.

    Attributes:
        observations: The last observation, or all of them on request: an array with one more dimension if an
            observation is an array or a number, otherwise a list.
        rewards: The rewards of all steps taken: float64, of shape (steps,), or (steps, num_envs) for vector
            environments.
        terminated: Whether the last step ended the episode: a bool, or an array of shape (num_envs,).
        truncated: Whether the last step truncated the episode, likewise.
        info: The info of the last step.
    """

    observations: Any
    rewards: npt.NDArray[np.float64]
    terminated: Any
    truncated: Any
    info: dict[str, Any]


class MessageValues:
    """Converts the values of one session.

    Args:
        made: The server's description of the environment.
        codec: The session's codec.
        check_observations: Whether to check that observations are in their space. :attr:`own` and :attr:`view` then
            also raise :class:`~gymtwist.client.client_errors.EnvironmentFailed`.
        bounded: Whether :meth:`checked` checks the bounds of Boxes.
        deadline: The time at which to give up, by ``time.monotonic``.

    Attributes:
        action_space: The action space, equal to the server's; for vector environments, the batched one.
        observation_space: The observation space, likewise.
        reward_space: The space of one environment's rewards that are arrays; None if there is none.
        layout: The layout of observations; None if they are sent as structured values.
        is_json: Whether messages are JSON, so that infos have no dtypes.
        own: Converts an observation from a message; the user may keep and change its arrays. Raises
            :class:`ValueError`.
        view: Likewise, but the arrays may be views of the message, and are valid only as long as the message.

    Raises:
        ValueError: The description contains an invalid space.
        TimeoutError: The deadline has passed.
    """

    own: Callable[[Any], Any]
    view: Callable[[Any], Any]

    def __init__(
        self,
        made: make_messages.Made,
        codec: MessageCodec,
        *,
        check_observations: bool = False,
        bounded: bool = True,
        deadline: float = math.inf,
    ) -> None:
        self._codec = codec
        self._num_envs = made.num_envs
        self.action_space, self.observation_space = (
            build(each, deadline=deadline) for each in (made.action_space, made.observation_space)
        )
        self.reward_space, self._single = (
            None if each is None else build(each, deadline=deadline)
            for each in (made.reward_space, made.single_action_space)
        )
        actions = value_codec(
            self.action_space,
            name="action",
            checked=False,
            exact=True,
            description=made.action_space,
            deadline=deadline,
        )
        #: Whether a reward and the flags are nearly always a float and booleans.
        self._is_plain = made.num_envs is None and self.reward_space is None
        self.is_json = json = codec.framing.is_json
        self._check: Callable[[Any], Any] | None = None
        self.has_plain_numbers = False
        self._made = made
        observations = self._compile_readers(plain=False, deadline=deadline)
        self.layout: Layout | None = None if json else observations.layout
        if check_observations:
            within = value_codec(
                self.observation_space, name="observation", description=made.observation_space, deadline=deadline
            )
            self._check = within.from_json if json else within.unpack
            self._add_check()
        # Observations that are a single array or number are stacked in an array.
        self._stacks = observations.layout is not None and [leaf.path for leaf in observations.layout.leaves] == [()]
        self._read_action = actions.from_json if json else actions.unpack
        self._write = action_writer(self.action_space, self._single, actions.to_json if json else actions.pack)
        self._check_action: Callable[[Any], Any] | None = None
        self._bounded = bounded
        self._head = None if json or actions.layout is None else self._step_head(actions.layout.size)
        #: The encoded actions, and the complete requests for a step, if there are few actions.
        self._values: dict[Any, Any] = {}
        self._frames: dict[int, bytes] = {}
        space = self.action_space
        if isinstance(space, spaces.Discrete) and space.n <= _FEW:
            every = range(int(space.start), int(space.start) + int(space.n))
            self._values = {action: self._write(action) for action in every}
            self._frames = {action: self.written(action) for action in every}

    def _compile_readers(self, *, plain: bool, deadline: float = math.inf) -> Codec:
        """Compile :attr:`own` and :attr:`view`; return the codec of the latter."""
        compiled = partial(
            value_codec,
            self.observation_space,
            name="observation",
            checked=False,
            description=self._made.observation_space,
            plain=plain,
            deadline=deadline,
        )
        codec = compiled()
        self.view = codec.from_json if self.is_json else codec.unpack
        self.own = observation_reader(codec, partial(compiled, owned=True), is_json=self.is_json)
        return codec

    def _add_check(self) -> None:
        """Add the check of observations to the readers, if the user wants it."""
        if self._check is not None:
            described = self._made.single_observation_space
            single = None if described is None else build(described)
            self.own, self.view = (checked_reader(each, self._check, single) for each in (self.own, self.view))

    def use_plain_numbers(self, plain: bool) -> None:
        """Read elements of Discrete spaces in observations as Python integers, or again as NumPy integers.

        This changes :attr:`own` and :attr:`view`.
        """
        if plain == self.has_plain_numbers:
            return
        self.has_plain_numbers = plain
        self._compile_readers(plain=plain)
        self._add_check()

    def _step_head(self, size: int) -> bytes | None:
        """Encode the part of a step request before the action, which is always the same; None if there is none."""
        empty = bytes(size)
        whole = b"".join(self._codec.encode_request(messages.Step(empty)))
        return whole[: len(whole) - size] if whole.endswith(empty) else None

    # Requests

    def written(self, action: Any) -> bytes:
        """Encode the request for a step.

        Raises:
            RequestRefused: The action is not in the action space.
        """
        kind = type(action)
        # The type matters, because 1.0 would find the key 1.
        if (kind is int or kind is np.int64) and action in self._frames:
            return self._frames[action]
        value = self._write(action)
        # Like framed(), without the call.
        if self._head is not None:
            return self._head + value  # type: ignore[no-any-return]  # bytes, if there is a head
        return b"".join(self._codec.encode_request(messages.Step(value)))

    def framed(self, value: Any) -> bytes:
        """Encode the request for a step with an encoded action."""
        if self._head is not None:
            return self._head + value  # type: ignore[no-any-return]  # bytes, if there is a head
        return b"".join(self._codec.encode_request(messages.Step(value)))

    def checked(self, action: Any) -> Any:
        """Encode an action after checking it as the server does, including bounds if the server checks them.

        Raises:
            RequestRefused: The action is not in the action space.
        """
        if self._check_action is None:
            actions = value_codec(self.action_space, name="action", bounded=self._bounded)
            self._check_action = actions.from_json if self.is_json else actions.unpack
        value = self._write(action)
        try:
            self._check_action(value)
        except ValueMismatch as error:
            raise refused_action(error, self.action_space, self._single) from error
        return value

    def many(self, actions: Any, count: int | None, observations: messages.ObservationsWanted) -> messages.StepMany:
        """Make the request for several steps; see :class:`~gymtwist.protocol.messages.StepMany`.

        Raises:
            RequestRefused: An action is not in the action space, or there are no or too many actions.
        """
        if observations not in ("last", "all"):
            raise RequestRefused(
                f'step_many: observations is {observations!r:.80}: expected "last" or "all"', code="invalid-field"
            )
        try:
            if count is None:
                return messages.StepMany(self._listed(actions), observations=observations)
            return messages.StepMany(
                action=_kept(self._write(actions)), count=integer_of(count), observations=observations
            )
        except (ValueError, TypeError) as error:
            raise RequestRefused(f"step_many: {error}", code="invalid-field") from error

    def _listed(self, actions: Any) -> list[Any]:
        values, write = self._values, self._write
        if values:
            if isinstance(actions, np.ndarray) and actions.dtype == np.int64:
                actions = actions.tolist()
            # Like written().
            return [
                values[each] if (type(each) is int or type(each) is np.int64) and each in values else write(each)
                for each in actions
            ]
        return [_kept(write(each)) for each in actions]

    # Replies; these raise ValueError or TypeError

    def stepped(self, reply: Any, read: Callable[[Any], Any]) -> tuple[Any, Any, Any, Any]:
        """Read observation, reward, terminated and truncated of a reply to a step."""
        observation = read(reply.observation)
        reward, terminated, truncated = reply.reward, reply.terminated, reply.truncated
        if self._is_plain:
            if type(reward) is float and type(terminated) is bool and type(truncated) is bool:  # nearly always true
                return observation, reward, terminated, truncated
            return observation, _reward(reward), _flag(terminated), _flag(truncated)
        if self._num_envs is None:
            return observation, self._rewards(reward, ()), _flag(terminated), _flag(truncated)
        shape = (self._num_envs,)
        return observation, self._rewards(reward, shape), _flags(terminated, shape), _flags(truncated, shape)

    def stepped_with(self, reward_type: str | None) -> Callable[[Any, Callable[[Any], Any]], tuple[Any, Any, Any, Any]]:
        """Return a function like :meth:`stepped` that converts rewards to their type at the server, if possible."""
        convert = reward_converter(reward_type) if self._is_plain and reward_type is not None else None
        if convert is None:
            return self.stepped

        def stepped(reply: Any, read: Callable[[Any], Any]) -> tuple[Any, Any, Any, Any]:
            observation, reward, terminated, truncated = self.stepped(reply, read)
            return observation, convert(reward), terminated, truncated

        return stepped

    def stepped_many(self, reply: messages.SteppedMany, observations: messages.ObservationsWanted) -> Steps:
        """Read a reply to several steps."""
        shape = () if self._num_envs is None else (self._num_envs,)
        if not 1 <= reply.count <= messages.MAX_STEPS:
            raise ValueError(f"count is {reply.count}: expected 1 to {messages.MAX_STEPS}")
        return Steps(
            self._all(reply.observations, reply.count) if observations == "all" else self.own(reply.observations),
            self._rewards(reply.rewards, (reply.count, *shape)),
            _flags(reply.terminated, shape) if shape else _flag(reply.terminated),
            _flags(reply.truncated, shape) if shape else _flag(reply.truncated),
            reply.info,
        )

    def stepped_each(self, reply: messages.SteppedReady, count: int) -> tuple[list[Any], Any, Any, Any, dict[str, Any]]:
        """Read a reply with steps of several environments.

        Returns:
            A list of observations, some of which may be views of the message, then rewards, terminated, truncated and
            info, with a value for each environment.
        """
        shape = (count,)
        return (
            self._each(reply.observations, count),
            self._rewards(reply.rewards, shape),
            _flags(reply.terminated, shape),
            _flags(reply.truncated, shape),
            reply.info,
        )

    def _rewards(self, value: Any, shape: tuple[int, ...]) -> Any:
        """Read rewards, each of which may be an array.

        Args:
            value: The rewards in a message.
            shape: The shape of the rewards if each is a number; ``()`` for one reward.
        """
        space = self.reward_space
        if space is None or isinstance(value, (bytes, memoryview, float, int)):
            return _rewards(value, shape) if shape else _reward(value)
        if isinstance(value, dict):
            if value.keys() != ARRAY_FIELDS:
                raise ValueError(f"rewards are {value!r:.80}: expected an array")
            array = np.array(restored(value))  # a copy, because the user may change it
        else:
            array = np.asarray(value, np.float64)
            if array.ndim > len(shape):
                array = array.astype(space.dtype)
        if array.dtype.kind not in "biuf" or array.shape not in (shape, (*shape, *(space.shape or ()))):
            raise ValueError(f"rewards of shape {array.shape} and {array.dtype}: the reward space is {space}")
        return array

    def _all(self, value: Any, count: int) -> Any:
        """Read the observations of all steps."""
        read = self._each(value, count)
        return np.array(read) if self._stacks else read

    def _each(self, value: Any, count: int) -> list[Any]:
        """Read several observations; arrays that :meth:`_all` stacks may be views of the message."""
        if self.layout is None:
            parts = list(value)
        else:
            size = self.layout.size
            check_size(value, count * size)
            whole = memoryview(value)
            parts = [whole[index * size : (index + 1) * size] for index in range(count)]
        if len(parts) != count:
            raise ValueError(f"{len(parts)} observations of {count} steps")
        read = self.view if self._stacks else self.own
        return [read(part) for part in parts]

    def action(self, value: Any) -> Any:
        """Read a sampled action."""
        return own(self._read_action(value))


def _kept(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def reward_converter(name: str) -> Callable[[float], Any] | None:
    """Return the function that converts rewards to a type; a reward that the type cannot represent stays a float.

    Args:
        name: ``int``, or the name of a dtype; None is returned for any other.
    """
    scalar: Any = int if name == "int" else DTYPES[name].type if name in DTYPES else None
    if scalar is None:
        return None

    def convert(reward: float) -> Any:
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                converted = scalar(reward)
        except (ValueError, OverflowError):  # not finite, or too large
            return reward
        # NumPy would compare the float in the precision of its own number.
        return converted if float(converted) == reward or reward != reward else reward

    return convert


def _reward(value: Any) -> float:
    """Read a reward that may be an integer."""
    if type(value) not in (int, float):
        raise ValueError(f"a reward is {value!r:.80}: expected a number")
    return float(value)


def _flag(value: Any) -> bool:
    """Read a flag."""
    if value is not True and value is not False:
        raise ValueError(f"a flag is {value!r:.80}: expected a boolean")
    return value


def _rewards(value: Any, shape: tuple[int, ...]) -> Any:
    """Read rewards: float64, of shape (num_envs,), or with a dimension of steps before it."""
    if isinstance(value, (bytes, memoryview)):
        return np.frombuffer(bytearray(value), np.dtype("<f8")).astype(np.float64, copy=False).reshape(shape)
    return _shaped(np.asarray(value, np.float64), shape)


def _flags(value: Any, shape: tuple[int, ...]) -> Any:
    """Read flags: bool, of shape (num_envs,)."""
    flags = np.frombuffer(bytearray(value), np.bool_) if isinstance(value, bytes) else np.asarray(value, np.bool_)
    return _shaped(flags, shape)


def _shaped(array: Any, shape: tuple[int, ...]) -> Any:
    if array.shape != shape:
        raise ValueError(f"an array of rewards or flags has shape {array.shape}: expected {shape}")
    return array
