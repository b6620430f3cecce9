"""The specification of a remote environment, from which another one like it can be made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import msgspec
from gymnasium.envs.registration import EnvSpec

from gymtwist.client.connect_options import ConnectOptions
from gymtwist.protocol import messages

#: What opens a window at the server, where nobody looks at it; a wrapper shows frames on one's own screen.
WINDOW = "human"


@dataclass(frozen=True, repr=False)
class EntryPoint:
    """Makes another environment like one that was made; it is the entry point in that one's specification.

    A specification goes to other processes, as those of vector environments ask each other for it.

    Attributes:
        kind: What is made, of a target and a make message.
        reach: How to reach the server.
        make: What the first was made of.
        told: The keyword arguments that the server said it has.
        metadata: What there is to render, for ``gymnasium.make``: it shows frames in a window if it is asked for one.
    """

    kind: Callable[..., Any]
    reach: ConnectOptions
    make: messages.Make
    told: dict[str, Any]
    metadata: dict[str, Any]

    def __call__(self, render_mode: str | None = None, **kwargs: Any) -> Any:
        """Make it."""
        return self.kind(self.reach, self._changed(render_mode, kwargs))

    def _changed(self, render_mode: str | None, kwargs: dict[str, Any]) -> messages.Make:
        # What was registered is so at the server, too; it does not have to be told, nor would it always take it.
        changed = {name: each for name, each in kwargs.items() if not self._is_told(name, each)}
        return msgspec.structs.replace(self.make, render_mode=render_mode, kwargs={**self.make.kwargs, **changed})

    def _is_told(self, name: str, value: Any) -> bool:
        try:
            return name in self.told and bool(self.told[name] == value)
        except ValueError:  # arrays are not equal or unequal as a whole
            return False

    def __deepcopy__(self, memo: Any) -> EntryPoint:
        # Gymnasium's wrappers copy specifications deeply; a TLS context cannot be copied.
        return self

    def __repr__(self) -> str:
        return "gymtwist.client.connect"


@dataclass(frozen=True, repr=False)
class VectorEntryPoint(EntryPoint):
    """Makes other environments like those that were made; it is the vector entry point in their specification.

    Attributes:
        processes: Among how many processes they are divided, if there are as many environments.
    """

    processes: int

    def __call__(  # type: ignore[override]  # of what Gymnasium passes to such an entry point
        self, num_envs: int = 1, render_mode: str | None = None, max_episode_steps: int | None = None, **kwargs: Any
    ) -> Any:
        """Make them; after how many steps an episode is truncated was said before."""
        make = msgspec.structs.replace(self._changed(render_mode, kwargs), num_envs=num_envs)
        return self.kind(self.reach, make, min(self.processes, num_envs))


def spec_of(made: messages.Made, again: EntryPoint, several: VectorEntryPoint | None = None) -> EnvSpec | None:
    """Make the specification of a remote environment; None if the server told none that Gymnasium could have."""
    told = made.spec
    if told is None:
        return None
    with contextlib.suppress(gymnasium.error.Error):  # of an id
        return EnvSpec(
            id=told.id,
            entry_point=again,
            reward_threshold=told.reward_threshold,
            nondeterministic=told.nondeterministic,
            max_episode_steps=told.max_episode_steps,
            kwargs={**told.kwargs, **({} if made.render_mode is None else {"render_mode": made.render_mode})},
            vector_entry_point=several,
        )
    return None


def kwargs_of(made: messages.Made) -> dict[str, Any]:
    """Return the keyword arguments that an environment has at the server."""
    return {} if made.spec is None else made.spec.kwargs


def metadata_of(made: messages.Made) -> dict[str, Any]:
    """Return what an environment says about itself, as it is true on this side of the connection."""
    metadata = {"render_modes": [], **made.metadata}
    modes = metadata["render_modes"]
    if made.render_mode != WINDOW and isinstance(modes, (list, tuple)):
        metadata["render_modes"] = [mode for mode in modes if mode != WINDOW]
    return metadata
