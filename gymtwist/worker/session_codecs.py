"""Between what an environment takes and returns and what messages carry."""

from __future__ import annotations

import math
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
from gymtwist.worker.guarded_call import fault_of_value

#: The most bytes of observations that one reply to many steps carries.
MAX_OBSERVATIONS = 64 * 1024 * 1024
#: What a number in nested lists counts for: about what its text has, and it takes more than that before it is text.
BYTES_OF_NUMBER = 16
_FLOAT64 = np.dtype("<f8")


class SpaceCodec:
    """Translates the elements of one space.

    Args:
        space: The space.
        name: What messages call its elements.
        framing: What the client speaks.
        form: How values travel in JSON.

    Attributes:
        description: The space's, as a message carries it.
        layout: The elements'; None if the space fixes none.
        load: Makes an element of what came in a message; raises :class:`~gymtwist.errors.InvalidAction`.
        dump: Makes what a message carries of an element: it may lie where the element does. Raises
            :class:`ValueError`.

    Raises:
        EnvironmentFault: The space cannot be described.
    """

    load: Callable[[Any], Any]
    dump: Callable[[Any], Any]

    def __init__(self, space: Space, name: str, framing: Framing, form: ValueForm) -> None:
        described = describe(space)
        try:
            made = value_codec(space, name=name, base64=form == "base64", description=described)
        except ValueError as error:
            raise EnvironmentFault("make", f"the environment has a space that is beyond the limits: {error}") from error
        self.layout: Layout | None = made.layout
        if framing is Framing.NETSTRING:
            self.description: Description = for_json(described)
            self.load, self.dump = made.from_json, made.to_json
        else:
            self.description = described
            self.load, self.dump = made.unpack, made.pack


class SessionCodecs:
    """Translates the values of one session.

    Args:
        action_space: Of the environment.
        observation_space: Of the environment.
        framing: What the client speaks.
        form: How values travel in JSON.

    Attributes:
        actions: Translates actions.
        observations: Translates observations.
    """

    def __init__(self, action_space: Space, observation_space: Space, framing: Framing, form: ValueForm) -> None:
        self._json = framing is Framing.NETSTRING
        self.actions = SpaceCodec(action_space, "action", framing, form)
        self.observations = SpaceCodec(observation_space, "observation", framing, form)
        self._dump = self.observations.dump
        #: Whether many observations are sent behind one another, and not in a list.
        self.joins = not self._json and self.observations.layout is not None
        self.encode: Callable[[Any], bytes] = msgspec.json.encode if self._json else msgspec.msgpack.encode
        #: How many bytes an observation counts for among many; None if the space does not fix that.
        self.observation_size = self._size_in_lists() if self._json and form == "nested" else self._size()

    def _size(self) -> int | None:
        layout = self.observations.layout
        return None if layout is None else layout.size

    def _size_in_lists(self) -> int | None:
        layout = self.observations.layout
        return None if layout is None else BYTES_OF_NUMBER * sum(math.prod(leaf.shape) for leaf in layout.leaves)

    def observation(self, operation: str, value: Any) -> Any:
        """Make what a message carries of an observation: it may lie where the observation does.

        Raises:
            EnvironmentFault: The observation is not in its space.
        """
        try:
            return self._dump(value)
        except BaseException as error:
            raise fault_of_value(operation, error) from error

    def sampled(self, action: Any) -> Any:
        """Make what a message carries of an action that was drawn.

        Raises:
            EnvironmentFault: The action space draws what is not in it.
        """
        try:
            return self.actions.dump(action)
        except BaseException as error:
            raise fault_of_value("sample", error) from error

    def check_count(self, count: int) -> None:
        """Check that so many observations can be sent in one reply.

        Raises:
            InvalidField: They cannot.
        """
        size = self.observation_size
        if size is not None and count * size > MAX_OBSERVATIONS:
            raise InvalidField(
                f"{count} observations are {count * size} bytes; ask for {MAX_OBSERVATIONS // size} at "
                'most, or for the "last" one'
            )

    def actions_of(self, told: list[Any]) -> list[Any]:
        """Make many actions of what came in a message.

        Raises:
            InvalidAction: One is not in the action space; the message has its index.
        """
        load = self.actions.load
        made: list[Any] = []
        try:
            for each in told:
                made.append(load(each))  # no comprehension: the error must tell how far it got
        except InvalidAction as error:
            raise InvalidAction(f"actions[{len(made)}]: {error}") from error
        return made

    def rewards(self, rewards: Any) -> Any:
        """Make what a message carries of rewards, float64 of any shape."""
        return rewards.tolist() if self._json else np.asarray(rewards, _FLOAT64).tobytes()

    def flags(self, flags: Any) -> Any:
        """Make what a message carries of flags, an array of booleans."""
        return flags.tolist() if self._json else flags.tobytes()


class ObservationCollector:
    """The observations of many steps, kept as bytes of their message while the environment goes on.

    Args:
        translation: Of the session.
    """

    def __init__(self, translation: SessionCodecs) -> None:
        self._translation = translation
        self._parts: list[bytes] = []
        # Where a space fixes the size, it was looked at before the first step.
        self._left = MAX_OBSERVATIONS if translation.observation_size is None else None

    def add(self, value: Any) -> None:
        """Keep an observation.

        Raises:
            EnvironmentFault: It is not in its space, or one too many.
        """
        translation = self._translation
        dumped = translation.observation("step_many", value)
        # Text and bytes take a fraction of what Python's own numbers and lists do.
        part = bytes(dumped) if translation.joins else translation.encode(dumped)
        if self._left is not None:
            self._left -= len(part)
            if self._left < 0:
                raise EnvironmentFault(
                    "step_many",
                    f"the observations of {len(self._parts) + 1} steps are more than {MAX_OBSERVATIONS} bytes; ask for "
                    'fewer steps, or for the "last" observation',
                )
        self._parts.append(part)

    def joined(self) -> Any:
        """Make what a message carries of them all."""
        if self._translation.joins:
            return memoryview(b"".join(self._parts))
        return [msgspec.Raw(part) for part in self._parts]
