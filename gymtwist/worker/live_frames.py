"""What the server requests of a session's process besides steps: step times, and frames for viewers.

A frame is written to the session status's memory, where the server picks it up. A zero byte precedes each row of
pixels, the filter type of PNG, so that the server only has to compress the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic  # by name: an environment may replace the module's attributes
from typing import Any

import numpy as np
import numpy.typing as npt

from gymtwist.errors import EnvironmentFault
from gymtwist.worker.guarded_call import guarded_call
from gymtwist.worker.session_status import (
    ATTENTION,
    FRAME_CHANNELS,
    FRAME_HEIGHT,
    FRAME_SIZE,
    FRAME_STATE,
    FRAME_WANTED,
    FRAME_WIDTH,
    STEPS_TO_TIME,
    FrameState,
    Operation,
    SessionStatus,
)

#: Arrays with fewer rows or columns are numbers rather than images.
_SMALLEST = 8


class Attention:
    """Does what the server requests of a session's process, after a step or a reset.

    Args:
        status: The session's status.
    """

    def __init__(self, status: SessionStatus) -> None:
        self._status = status
        self._cannot_show = False

    def attend(self, picture: Callable[[], Any], began: float | None = None) -> None:
        """Do what the server requests. Call this if the word for it is set.

        Args:
            picture: Runs the environment's code, and returns what :func:`image_in` takes.
            began: The time when the step began that has just ended, from ``monotonic()``; None after a reset.
        """
        words = self._status.words
        if began is not None and words[STEPS_TO_TIME] > 0.0:
            self._status.count_step_time(monotonic() - began)
            words[STEPS_TO_TIME] -= 1.0
        if words[FRAME_WANTED]:
            words[FRAME_WANTED] = 0.0
            self._show(picture)
        if words[STEPS_TO_TIME] <= 0.0 and not words[FRAME_WANTED]:
            words[ATTENTION] = 0.0

    def _show(self, picture: Callable[[], Any]) -> None:
        """Write a frame; after an error, write no more."""
        if not self._cannot_show:
            try:
                with guarded_call(self._status, Operation.RENDER):
                    write(self._status, picture())
            except EnvironmentFault:
                self._cannot_show = True
        if self._cannot_show:
            write_failure(self._status)


def write(status: SessionStatus, source: Any) -> None:
    """Write a frame, or note that there is none.

    Args:
        status: The session's status.
        source: The value that :func:`image_in` looks for an image in.
    """
    words, image = status.words, image_in(source)
    if image is not None:
        words[FRAME_HEIGHT], words[FRAME_WIDTH], words[FRAME_CHANNELS] = _write(status, image)
    # Last, because the server takes the frame when it sees this.
    words[FRAME_STATE] = FrameState.NO_IMAGE if image is None else FrameState.WRITTEN


def write_failure(status: SessionStatus) -> None:
    """Note that the environment could not be rendered."""
    status.words[FRAME_STATE] = FrameState.FAILED


def _write(status: SessionStatus, image: npt.NDArray[np.uint8]) -> tuple[int, int, int]:
    """Write the rows, skipping some rows and columns if there is no room for all; return the shape."""
    stride = 1
    while (shape := image[::stride, ::stride].shape)[0] * (1 + shape[1] * shape[2]) > FRAME_SIZE:
        stride += 1
    image = image[::stride, ::stride]
    height, width, channels = image.shape
    line = 1 + width * channels
    rows = np.ndarray((height, line), np.uint8, status.frame)
    rows[:, 0] = 0
    # The same memory, without the first byte of each row.
    pixels = np.ndarray((height, width, channels), np.uint8, status.frame, 1, (line, channels, 1))
    pixels[...] = image
    return height, width, channels


def image_in(value: Any) -> npt.NDArray[np.uint8] | None:
    """Return the first image in a value, with shape (height, width, 1 or 3); None if there is none.

    Args:
        value: A frame, an observation, or a tuple or dictionary of observations. A sequence of frames yields the last
            one.
    """
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return next((found for each in value if (found := image_in(each)) is not None), None)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim not in (2, 3):
        return None
    image: npt.NDArray[np.uint8] = value if value.ndim == 3 else value[:, :, np.newaxis]
    if image.shape[0] <= 4 < min(image.shape[1:]):  # channels first, or a stack of frames
        image = image.transpose(1, 2, 0)
    if min(image.shape[:2]) < _SMALLEST or not image.shape[2]:
        return None
    return image if image.shape[2] == 3 else image[:, :, -1:]
