"""The specification of a remote environment, from which another one like it can be made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gymtwist.wire import messages

#: What opens a window at the server, where nobody looks at it; a wrapper shows frames on one's own screen.
WINDOW = "human"


class Again:
    """Makes another environment like one that was made; it is the entry point in that one's specification.

    Args:
        connect: Makes an environment of a render mode and keyword arguments.
        made: What the server said about the first.
        given: The keyword arguments that the first was made with.
    """

    def __init__(
        self, connect: Callable[[str | None, dict[str, Any]], Any], made: messages.Made, given: dict[str, Any]
    ) -> None:
        self._connect = connect
        self._told = {} if made.spec is None else made.spec.kwargs
        self._given = given
        #: What there is to render, for ``gymnasium.make``: it shows frames in a window if it is asked for one.
        self.metadata = metadata_of(made)

    def __call__(self, render_mode: str | None = None, **kwargs: Any) -> Any:
        """Make it."""
        # What was registered is so at the server, too; it does not have to be told, nor would it always take it.
        changed = {name: each for name, each in kwargs.items() if not self._is_told(name, each)}
        return self._connect(render_mode, {**self._given, **changed})

    def _is_told(self, name: str, value: Any) -> bool:
        try:
            return name in self._told and bool(self._told[name] == value)
        except ValueError:  # arrays are not equal or unequal as a whole
            return False

    def __deepcopy__(self, memo: Any) -> Again:
        # Gymnasium's wrappers copy specifications deeply; a TLS context cannot be copied.
        return self

    def __repr__(self) -> str:
        return "gymtwist.client.connect"


class SeveralAgain(Again):
    """Makes other environments like those that were made; it is the vector entry point in their specification."""

    def __call__(  # type: ignore[override]  # of what Gymnasium passes to such an entry point
        self, num_envs: int = 1, render_mode: str | None = None, max_episode_steps: int | None = None, **kwargs: Any
    ) -> Any:
        """Make them; after how many steps an episode is truncated was said before."""
        return super().__call__(render_mode, **kwargs, num_envs=num_envs)


def spec_of(made: messages.Made, again: Again, several: SeveralAgain | None = None) -> EnvSpec | None:
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
            kwargs=dict(told.kwargs),
            vector_entry_point=several,
        )
    return None


def metadata_of(made: messages.Made) -> dict[str, Any]:
    """Return what an environment says about itself, as it is true on this side of the connection."""
    metadata = {"render_modes": [], **made.metadata}
    modes = metadata["render_modes"]
    if made.render_mode != WINDOW and isinstance(modes, (list, tuple)):
        metadata["render_modes"] = [mode for mode in modes if mode != WINDOW]
    return metadata
