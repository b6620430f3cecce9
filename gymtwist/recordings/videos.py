"""Videos of recorded episodes, made by the ffmpeg that comes with imageio."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt


def write_video(path: Path, frames: Iterable[npt.NDArray[Any]], fps: float) -> None:
    """Write an H.264 video, complete or not at all.

    Args:
        path: The file.
        frames: The frames, uint8 of shape (height, width, 3); at least one.
        fps: Frames per second.
    """
    part = path.with_name(f".part-{path.name}")
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    # The video format subsamples colours by two in both directions, so both sides must be even.
    even = (height + height % 2, width + width % 2)
    writer = imageio_ffmpeg.write_frames(str(part), even[::-1], fps=fps, macro_block_size=2, ffmpeg_log_level="error")
    writer.send(None)
    try:
        for frame in (first, *frames):
            writer.send(np.ascontiguousarray(np.pad(frame, _padding(frame, even), "edge")))
    finally:
        writer.close()
    os.replace(part, path)


def _padding(frame: npt.NDArray[Any], sides: tuple[int, int]) -> list[tuple[int, int]]:
    return [(0, sides[0] - frame.shape[0]), (0, sides[1] - frame.shape[1]), (0, 0)]
