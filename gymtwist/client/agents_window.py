"""A window at the client that shows the frames of a multi-agent environment at a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import HumanRendering

#: Frames per second if an environment does not set the rate.
_USUAL_FPS = 30


class _Frames(gymnasium.Env[Any, Any]):
    """Frames of a multi-agent environment for Gymnasium's window, which shows a frame after each step."""

    action_space = observation_space = spaces.Discrete(1)
    render_mode = "rgb_array"

    def __init__(self, frames_per_second: float) -> None:
        self.frame: Any = None
        self.metadata = {"render_modes": ["human", "rgb_array"], "render_fps": frames_per_second}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Do nothing."""
        return 0, 0.0, False, False, {}

    def render(self) -> Any:
        """Return the last frame."""
        return self.frame


class AgentsWindow:
    """A window.

    Args:
        metadata: The environment's metadata, which may have the frames per second as ``render_fps``.
        waits: Whether :meth:`show` waits until the next frame is due.

    Attributes:
        interval: The seconds between two frames; 0 if the rate in the metadata is not a positive number.
    """

    def __init__(self, metadata: Mapping[str, Any], *, waits: bool = True) -> None:
        said = metadata.get("render_fps", _USUAL_FPS)
        frames_per_second = said if isinstance(said, (int, float)) and said > 0 else 0
        self.interval = 1 / frames_per_second if frames_per_second else 0.0
        self._frames = _Frames(frames_per_second if waits else 0)
        self._window: HumanRendering[Any, Any] = HumanRendering(self._frames)

    def show(self, frame: Any) -> None:
        """Show a frame; ignore anything else, because some environments have nothing to show."""
        if isinstance(frame, np.ndarray):
            self._frames.frame = frame
            self._window.step(0)

    def close(self) -> None:
        """Close the window."""
        self._window.close()  # type: ignore[no-untyped-call]  # Gymnasium's wrapper has no annotation here
