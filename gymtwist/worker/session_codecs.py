"""The session's codecs, which convert between the environment's values and message fields."""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from gymtwist.errors import EnvironmentFault, InvalidAction, InvalidField
from gymtwist.protocol.framing import Framing
from gymtwist.protocol.messages import ValueForm
from gymtwist.spaces.descriptions import Description, for_json
from gymtwist.spaces.gymnasium_spaces import Space, describe, value_codec
from gymtwist.spaces.layout import Layout
from gymtwist.spaces.space_codecs import CutReport
from gymtwist.worker.guarded_call import fault_of_value, print_cut

#: The maximum bytes of observations in one reply to ``step_many``.
MAX_OBSERVATIONS = 64 * 1024 * 1024
#: The bytes charged for a number in nested lists: about the length of its text. As an object, it takes more.
BYTES_OF_NUMBER = 16
_FLOAT64 = np.dtype("<f8")


class SpaceCodec:
    """Encodes and decodes the elements of one space.

    Args:
        space: The space.
        name: The name of an element in error messages.
        framing: The framing of the client's messages.
        form: The form of values in JSON.
        on_cut: Reports the first number of an element that the space cannot hold.
        bounded: Whether the bounds of Boxes are checked.

    Attributes:
        description: The description of the space for messages.
        layout: The layout of the elements; None if the space does not fix one.
        load: Decodes an element; raises :class:`~gymtwist.errors.InvalidAction`.
        dump: Encodes an element; the result may share its memory. Raises :class:`ValueError`.

    Raises:
        EnvironmentFault: The space cannot be described.
    """

    load: Callable[[Any], Any]
    dump: Callable[[Any], Any]

    def __init__(
        self,
        space: Space,
        name: str,
        framing: Framing,
        form: ValueForm,
        on_cut: CutReport | None = None,
        *,
        bounded: bool = True,
    ) -> None:
        described = describe(space, f"{name}_space")
        try:
            made = value_codec(
                space, name=name, base64=form == "base64", on_cut=on_cut, bounded=bounded, description=described
            )
        except ValueError as error:
            raise EnvironmentFault("make", f"the environment has a space that is beyond the limits: {error}") from error
        self.layout: Layout | None = made.layout
        if framing.is_json:
            self.description: Description = for_json(described)
            self.load, self.dump = made.from_json, made.to_json
            if form == "base64" and made.layout is not None:
                pack = made.pack
                # Base64 contains nothing to escape, so its bytes are valid JSON as they are.
                self.dump = lambda value: msgspec.Raw(b'"%b"' % b2a_base64(pack(value), newline=False))
        else:
            self.description = described
            self.load, self.dump = made.unpack, made.pack


class SessionCodecs:
    """Encodes and decodes the values of one session.

    Args:
        action_space: The action space of the environment.
        observation_space: The observation space of the environment.
        framing: The framing of the client's messages.
        form: The form of values in JSON.
        bounded: Whether actions must be within the bounds of Boxes.

    Attributes:
        actions: The codec of actions.
        observations: The codec of observations.
    """

    def __init__(
        self, action_space: Space, observation_space: Space, framing: Framing, form: ValueForm, *, bounded: bool = True
    ) -> None:
        self._json = framing.is_json
        self.actions = SpaceCodec(action_space, "action", framing, form, bounded=bounded)
        self.observations = SpaceCodec(observation_space, "observation", framing, form, CutReport(print_cut))
        self._dump = self.observations.dump
        #: Whether several observations are concatenated instead of sent in a list.
        self.joins = not self._json and self.observations.layout is not None
        self.encode: Callable[[Any], bytes] = msgspec.json.encode if self._json else msgspec.msgpack.encode
        #: The bytes charged for an observation in a reply to ``step_many``; None if the space does not fix the size.
        self.observation_size = self._size_in_lists() if self._json and form == "nested" else self._size()

    def _size(self) -> int | None:
        layout = self.observations.layout
        return None if layout is None else layout.size

    def _size_in_lists(self) -> int | None:
        layout = self.observations.layout
        return None if layout is None else BYTES_OF_NUMBER * sum(math.prod(leaf.shape) for leaf in layout.leaves)

    def observation(self, operation: str, value: Any) -> Any:
        """Encode an observation; the result may share its memory.

        Raises:
            EnvironmentFault: The observation is not in its space.
        """
        try:
            return self._dump(value)
        except BaseException as error:
            raise fault_of_value(operation, error) from error

    def sampled(self, action: Any) -> Any:
        """Encode a sampled action.

        Raises:
            EnvironmentFault: The action space returned a value that it does not contain.
        """
        try:
            return self.actions.dump(action)
        except BaseException as error:
            raise fault_of_value("sample", error) from error

    def check_count(self, count: int) -> None:
        """Check that this many observations fit into one reply.

        Raises:
            InvalidField: They do not fit.
        """
        size = self.observation_size
        if size is not None and count * size > MAX_OBSERVATIONS:
            raise InvalidField(
                f"{count} observations are {count * size} bytes; ask for {MAX_OBSERVATIONS // size} at "
                'most, or for the "last" one'
            )

    def actions_of(self, encoded: list[Any]) -> list[Any]:
        """Decode several actions.

        Raises:
            InvalidAction: An action is not in the action space; the message contains its index.
        """
        load = self.actions.load
        made: list[Any] = []
        try:
            for each in encoded:
                made.append(load(each))  # a loop, because the error needs the index
        except InvalidAction as error:
            raise InvalidAction(f"actions[{len(made)}]: {error}") from error
        return made

    def rewards(self, rewards: Any, ndim: int = 1) -> Any:
        """Encode rewards.

        Args:
            rewards: An array of numbers, or one number.
            ndim: How many dimensions the array has if each reward is a number.

        Returns:
            Lists, a number, or bytes; in MessagePack, an array if each reward is an array.
        """
        if type(rewards) is float:
            return rewards
        if self._json:
            return rewards.tolist()
        return rewards if rewards.ndim > ndim else np.asarray(rewards, _FLOAT64).tobytes()

    def flags(self, flags: Any) -> Any:
        """Encode flags, an array of booleans."""
        return flags.tolist() if self._json else flags.tobytes()


class ObservationCollector:
    """Collects the encoded observations of several steps.

    Args:
        codecs: The codecs of the session.
        operation: The operation that returns the observations.
    """

    def __init__(self, codecs: SessionCodecs, operation: str = "step_many") -> None:
        self._codecs = codecs
        self._operation = operation
        self._parts: list[bytes] = []
        # If the space fixes the size, check_count() has checked it before the first step.
        self._bytes_left = MAX_OBSERVATIONS if codecs.observation_size is None else None

    def add(self, value: Any) -> None:
        """Keep an observation.

        Raises:
            EnvironmentFault: It is not in its space, or exceeds the limit of one reply.
        """
        codecs = self._codecs
        dumped = codecs.observation(self._operation, value)
        # Text and bytes take a fraction of the memory of Python's numbers and lists.
        part = bytes(dumped) if codecs.joins else codecs.encode(dumped)
        if self._bytes_left is not None:
            self._bytes_left -= len(part)
            if self._bytes_left < 0:
                raise EnvironmentFault(
                    self._operation,
                    f"the observations of {len(self._parts) + 1} steps are more than {MAX_OBSERVATIONS} bytes; ask for "
                    'fewer steps, or for the "last" observation',
                )
        self._parts.append(part)

    def joined(self) -> Any:
        """Return the field that contains all observations."""
        if self._codecs.joins:
            return memoryview(b"".join(self._parts))
        return [msgspec.Raw(part) for part in self._parts]
