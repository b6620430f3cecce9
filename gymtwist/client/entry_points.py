"""The specification of a remote environment, from which another like it can be made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gymtwist.client.connect_options import ConnectOptions
from gymtwist.protocol import messages

#: The render mode that opens a window, which would be on the server's screen. A wrapper shows frames here instead.
WINDOW = "human"


@dataclass(frozen=True, repr=False)
class EntryPoint:
    """Makes an environment like one that exists; the entry point in its specification.

    It can be pickled, because vector environments send specifications to their workers.

    Attributes:
        kind: The class to make, from connect options.
        options: The options of the existing environment.
        server_kwargs: The keyword arguments that the environment has at the server.
        metadata: The environment's metadata; ``gymnasium.make`` reads the render modes here.
    """

    kind: Callable[[ConnectOptions], Any]
    options: ConnectOptions
    server_kwargs: dict[str, Any]
    metadata: dict[str, Any]

    def __call__(self, render_mode: str | None = None, **kwargs: Any) -> Any:
        """Make an environment."""
        return self.kind(self.options.changed(render_mode, self._changes(kwargs)))

    def _changes(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return those keyword arguments that differ from the server's, which may not accept its own from a client."""
        return {name: value for name, value in kwargs.items() if not self._is_registered(name, value)}

    def _is_registered(self, name: str, value: Any) -> bool:
        try:
            return name in self.server_kwargs and bool(self.server_kwargs[name] == value)
        except ValueError:  # the comparison of arrays has no truth value
            return False

    def __deepcopy__(self, memo: Any) -> EntryPoint:
        # Gymnasium's wrappers copy specifications deeply, but a TLS context cannot be copied.
        return self

    def __repr__(self) -> str:
        return "gymtwist.client.connect"


class VectorEntryPoint(EntryPoint):
    """Makes vector environments like some that exist; the vector entry point in their specification."""

    def __call__(  # type: ignore[override]  # Gymnasium passes other arguments to a vector entry point
        self, num_envs: int = 1, render_mode: str | None = None, max_episode_steps: int | None = None, **kwargs: Any
    ) -> Any:
        """Make vector environments; ``max_episode_steps`` is among the options already."""
        return self.kind(self.options.changed(render_mode, self._changes(kwargs), num_envs))


def spec_of(made: messages.Made, entry_point: EntryPoint, vector: VectorEntryPoint | None = None) -> EnvSpec | None:
    """Make the specification of a remote environment; None if the server sent none that Gymnasium accepts."""
    spec = made.spec
    if spec is None:
        return None
    with contextlib.suppress(gymnasium.error.Error):  # an id that Gymnasium does not accept
        return EnvSpec(
            id=spec.id,
            entry_point=entry_point,
            reward_threshold=spec.reward_threshold,
            nondeterministic=spec.nondeterministic,
            max_episode_steps=spec.max_episode_steps,
            kwargs={**spec.kwargs, **({} if made.render_mode is None else {"render_mode": made.render_mode})},
            vector_entry_point=vector,
        )
    return None


def kwargs_of(made: messages.Made) -> dict[str, Any]:
    """Return the keyword arguments that an environment has at the server."""
    return {} if made.spec is None else made.spec.kwargs


def metadata_of(made: messages.Made) -> dict[str, Any]:
    """Return an environment's metadata, without render modes that are no use on this side of the connection."""
    metadata = {"render_modes": [], **made.metadata}
    modes = metadata["render_modes"]
    if made.render_mode != WINDOW and isinstance(modes, (list, tuple)):
        metadata["render_modes"] = [mode for mode in modes if mode != WINDOW]
    return metadata
