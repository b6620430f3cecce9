"""A window on the server's screen that shows an environment's frames."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

#: SDL's fallback drivers if there is no screen.
_SCREENLESS = ("offscreen", "dummy")


class Viewer:
    """One window, opened by the first frame; it closes with :meth:`close` or with its process.

    Args:
        title: The text of the window's title bar.

    Raises:
        ImportError: pygame is not installed (``pip install "gymtwist[display]"``).
    """

    def __init__(self, title: str) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame

        self._pygame = pygame
        self._title = title
        self._window: Any = None

    def show(self, frame: npt.NDArray[np.uint8]) -> None:
        """Show a frame.

        Args:
            frame: uint8 of shape (height, width, 3).

        Raises:
            RuntimeError: There is no screen, or the array is not a frame.
        """
        pygame = self._pygame
        shape = np.shape(frame)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise RuntimeError(f"a frame has the shape (height, width, 3), not {shape}")
        size = (frame.shape[1], frame.shape[0])
        if self._window is None or self._window.get_size() != size:
            # Only the display: a window needs neither sound nor joysticks.
            pygame.display.init()
            if pygame.display.get_driver() in _SCREENLESS and "SDL_VIDEODRIVER" not in os.environ:
                pygame.display.quit()
                raise RuntimeError("there is no screen to open a window on (is DISPLAY set for the server?)")
            self._window = pygame.display.set_mode(size)
            pygame.display.set_caption(self._title)
        pygame.event.pump()
        # pygame's arrays have the width first.
        pygame.surfarray.blit_array(self._window, frame.transpose(1, 0, 2))
        pygame.display.flip()

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            self._window = None
            self._pygame.display.quit()
