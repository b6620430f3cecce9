"""A session's journal: rows are copied into the memory of a mapped file, so a step makes no system call."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic  # by name: an environment may replace the module's attributes
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from gymtwist.protocol import dynamic_values
from gymtwist.recordings import episode_rows, journal_files
from gymtwist.recordings.journal_files import (
    HEADER,
    LOCK,
    MAGIC,
    NOTES,
    OFFSET,
    SEGMENT,
    SEGMENT_HEADER,
    UNFINISHED,
    Header,
)
from gymtwist.spaces.gymnasium_spaces import build

#: The number of rows in a segment, and the minimum and maximum size of a segment in bytes.
_ROWS, _LEAST, _MOST = 256, 2**20, 2**24
#: The size on disk is measured again after this many seconds, or after this many bytes of this journal.
_MEASURE_INTERVAL, _MEASURE_BYTES = 5.0, 2**26
#: The index of the segment word with the number of rows; see :data:`~gymtwist.recordings.journal_files.SEGMENT_HEADER`.
COUNT = 1


class Stopped(Exception):
    """Recording must stop; the message is the reason, for the client."""


class Quota(msgspec.Struct, frozen=True):
    """A limit on the space used on disk.

    Attributes:
        directories: Returns the directories to measure.
        limit: The limit, in bytes.
        name: Whose limit it is, for error messages.
    """

    directories: Callable[[], list[Path]]
    limit: int
    name: str

    @property
    def used(self) -> int:
        """Bytes on disk."""
        return sum(journal_files.size_below(each) for each in self.directories())


class EpisodeJournal:
    """Writes the journal of a session.

    Args:
        directory: The directory, which must not exist.
        header: What is recorded.
        quotas: The limits on disk space.

    Attributes:
        row: The index of the next row in its segment.
        capacity: The number of rows in the segment.
        rows: The rows of the segment.
        actions: Stores an action at the index of its row.
        observations: Stores an observation, likewise.
        rewards: Stores a reward, likewise.
        words: The words of the segment; word :data:`COUNT` is the number of complete rows.

    Raises:
        OSError: It cannot be written.
    """

    rows: npt.NDArray[Any]
    actions: Any
    observations: Any
    rewards: npt.NDArray[Any]
    words: memoryview

    def __init__(self, directory: Path, header: Header, quotas: list[Quota]) -> None:
        self._spaces = build(header.observation_space), build(header.action_space)
        self.dtype = episode_rows.row_dtype(*self._spaces, header.num_envs, header.reward_shape, header.frame_shape)
        self._quotas = quotas
        self._measured_at = -_MEASURE_INTERVAL
        self._left = 0
        self._number = self._first = 0
        self.row = self.capacity = 0
        # The writer must not mistake a journal that is not locked yet for one left behind.
        self._directory = directory.with_name(f"{UNFINISHED}{directory.name}")
        self._directory.mkdir(mode=0o700)
        try:
            self._lock = journal_files.lock(self._directory / LOCK)
            self._notes = os.open(self._directory / NOTES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            (self._directory / HEADER).write_bytes(msgspec.msgpack.encode(header))
            self.next_segment()
            os.rename(self._directory, directory)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self._directory = directory

    @property
    def next_row(self) -> int:
        """The number of the next row in the journal."""
        return self._first + self.row

    def next_segment(self) -> None:
        """Start a new segment.

        Raises:
            Stopped: The limit on disk space is reached.
            OSError: The disk is full.
        """
        self._first += self.row
        size = self.dtype.itemsize
        self.capacity = max(1, min(max(_ROWS * size, _LEAST), _MOST) // size)
        length = OFFSET + self.capacity * size
        self._check_quotas(length)
        path = self._directory / SEGMENT.format(self._number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Without allocated blocks, writing to the memory would raise SIGBUS once the disk is full.
            os.posix_fallocate(descriptor, 0, length)
            memory = mmap.mmap(descriptor, length)
        finally:
            os.close(descriptor)
        self._number += 1
        self.row = 0
        head = np.ndarray((), SEGMENT_HEADER, memory)
        head["capacity"], head["first"] = self.capacity, self._first
        head["magic"] = MAGIC  # last: a reader may be looking at the file already
        self.words = memoryview(memory).cast("Q")
        self.rows = np.ndarray((self.capacity,), self.dtype, memory, OFFSET)
        self.rewards = self.rows[episode_rows.REWARD]
        observations, actions = self._spaces
        self.observations = episode_rows.column(self.rows, observations, episode_rows.OBSERVATION)
        self.actions = episode_rows.column(self.rows, actions, episode_rows.ACTION)

    def _check_quotas(self, more: int) -> None:
        now = monotonic()
        if now - self._measured_at > _MEASURE_INTERVAL or self._left < more:
            self._measured_at = now
            room = [(quota.limit - quota.used, quota) for quota in self._quotas]
            for left, quota in room:
                if left < more:
                    raise Stopped(f"recordings may have {quota.limit >> 20} MiB on disk ({quota.name})")
            # Other processes write as well.
            self._left = min([max(more, _MEASURE_BYTES), *(left for left, _ in room)]) if room else sys.maxsize
        self._left -= more

    def finish_row(self) -> None:
        """Mark the current row as complete."""
        self.row = self.words[COUNT] = self.row + 1

    def note(self, **fields: Any) -> None:
        """Write what does not fit into the next row; see :class:`~gymtwist.recordings.journal_files.Note`.

        Raises:
            Stopped: The limit on disk space is reached.
            OSError: It cannot be written.
        """
        content = dynamic_values.to_messagepack({"row": self.next_row, **fields})
        size = 4 + len(content)
        if size > self._left:
            self._check_quotas(size)
        else:
            self._left -= size
        os.write(self._notes, len(content).to_bytes(4, "little") + content)

    def close(self) -> None:
        """Close the journal; the dataset writer finishes it."""
        os.close(self._notes)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
