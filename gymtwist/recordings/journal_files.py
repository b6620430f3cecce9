"""The files of a journal, which a session writes and the dataset writer reads.

``ROOT/.journals/OWNER@TOKEN/`` contains:

- ``lock``: locked by the session's process for as long as that writes;
- ``header``: a :class:`Header`;
- ``rows-000000``, ...: segments of rows, mapped into the memory of the session's process. What was written there is in
  the file even if that process is killed;
- ``notes``: seeds, options and infos, each behind its length.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from gymtwist.spaces.descriptions import Description

#: The header of every segment: the number of complete rows, the total number of rows, and the number of the first one.
SEGMENT_HEADER = np.dtype([("magic", "S8"), ("count", "<u8"), ("capacity", "<u8"), ("first", "<u8")])
MAGIC = b"gymrows1"
#: The offset of the first row of a segment, in bytes.
OFFSET = 64
#: The prefix of the name of an unfinished journal.
UNFINISHED = ".new-"
HEADER, LOCK, NOTES, SEGMENT = "header", "lock", "notes", "rows-{:06}"

Frames: TypeAlias = Literal["none", "video", "lossless"]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal records.

    Attributes:
        dataset: The full name of the dataset.
        observation_space: The observation space of one environment.
        action_space: Its action space.
        num_envs: The number of environments; None for a single one without a batch dimension.
        reward_shape: The shape of a reward.
        frame_shape: The shape of a frame; None if no frames are recorded.
        frames: How frames are stored.
        compression: The gzip level; 0 for none.
        fps: The frame rate of videos, in frames per second.
        env_spec: Gymnasium's specification of the environment, as JSON; None if there is none.
        author: The name of the client's identity; empty if there is none.
        byte_order: The byte order of the rows.
    """

    dataset: str
    observation_space: Description
    action_space: Description
    num_envs: int | None
    reward_shape: tuple[int, ...]
    frame_shape: tuple[int, ...] | None
    frames: Frames
    compression: int
    fps: float
    env_spec: str | None
    author: str
    byte_order: str


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What does not fit into a row.

    Attributes:
        row: The number of the row.
        seed: The seed of a reset, or a list with one for each environment; None if there is none.
        options: The options of a reset; None if there are none.
        info: The info of a step or a reset; None if there is none.
    """

    row: int
    seed: int | list[int | None] | None = None
    options: dict[str, Any] | None = None
    info: dict[str, Any] | None = None


def lock(path: Path) -> int | None:
    """Lock a file for this process; return its descriptor, or None if another process holds the lock.

    This is a POSIX lock: processes started by this one do not inherit it, and it ends with this process. A process must
    not open the file a second time.

    Raises:
        OSError: The file cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that others see it complete or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def size_below(directory: Path) -> int:
    """Return the disk space used by all files below a directory, in bytes."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue  # removed in the meantime
    return total
