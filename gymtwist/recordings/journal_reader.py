"""Reads a journal, while its session writes it or after that, and finds the episodes that have ended."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from gymtwist.protocol.received_values import restored
from gymtwist.recordings import episode_rows
from gymtwist.recordings.episode_rows import BEGIN, KIND, NOTHING, TERMINATED, TRUNCATED
from gymtwist.recordings.journal_files import MAGIC, NOTES, OFFSET, SEGMENT, SEGMENT_HEADER, Header, Note
from gymtwist.spaces.gymnasium_spaces import build

_NOTES_READ = 2**20
#: Row numbers: a range (start, end), which is the usual case, or an array.
_Rows: TypeAlias = tuple[int, int] | npt.NDArray[np.int64]


class Segment:
    """A segment of rows.

    Args:
        path: The file.
        dtype: The dtype of a row.

    Attributes:
        path: The file.
        capacity: The number of rows in the segment.
        first: The number of the first row in the journal.
        rows: The rows, whether complete or not.

    Raises:
        ValueError: The file is not a segment with such rows.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path = path
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if len(memory) < OFFSET:
            raise ValueError(f"{path.name} is no segment")
        self._head = np.ndarray((), SEGMENT_HEADER, memory)
        self.capacity, self.first = int(self._head["capacity"]), int(self._head["first"])
        if self._head["magic"] != MAGIC or OFFSET + self.capacity * dtype.itemsize != len(memory):
            raise ValueError(f"{path.name} is no segment of rows of {dtype.itemsize} bytes")
        self.rows = np.ndarray((self.capacity,), dtype, memory, OFFSET)

    @property
    def end(self) -> int:
        """The number of the row after the last complete one."""
        return self.first + min(int(self._head["count"]), self.capacity)


class Episode(msgspec.Struct, frozen=True):
    """An episode in a journal.

    Attributes:
        environment: The index of the environment.
        rows: The numbers of its rows: the start, then the steps.
        is_finished: Whether it was terminated or truncated.
        seed: The seed of the reset; None if it had none.
        options: The options of the reset; None if it had none.
    """

    environment: int
    rows: npt.NDArray[np.int64]
    is_finished: bool
    seed: int | None
    options: dict[str, Any] | None

    @property
    def end(self) -> int:
        """The number of the last row."""
        return int(self.rows[-1])


def _joined(parts: list[_Rows], rows: npt.NDArray[np.int64]) -> list[_Rows]:
    """Append row numbers; contiguous rows are stored as a range, so they take no memory per row."""
    if not len(rows):
        return parts
    first, end = int(rows[0]), int(rows[-1]) + 1
    if end - first != len(rows):
        parts.append(rows)
        return parts
    last = parts[-1] if parts else None
    if isinstance(last, tuple) and last[1] == first:
        first = last[0]
        parts.pop()
    parts.append((first, end))
    return parts


class JournalReader:
    """Reads a journal.

    Args:
        directory: The directory of the journal.
        header: Its header.

    Attributes:
        header: Its header.
        observation_space: The observation space of one environment.
        action_space: Its action space.

    Raises:
        ValueError: The header is invalid.
    """

    def __init__(self, directory: Path, header: Header) -> None:
        self._directory = directory
        self.header = header
        self.observation_space, self.action_space = build(header.observation_space), build(header.action_space)
        self._dtype = episode_rows.row_dtype(
            self.observation_space, self.action_space, header.num_envs, header.reward_shape, header.frame_shape
        )
        self._segments: list[Segment] = []
        self._next_segment = 0
        self._read = 0
        self._several = header.num_envs is not None
        #: For each environment, the rows of the current episode; None between two episodes.
        self._open: list[list[_Rows] | None] = [None] * (header.num_envs or 1)
        self._notes_offset, self._notes_rest = 0, b""
        self._resets: dict[int, Note] = {}
        #: By row, still encoded: that takes much less memory, and an episode may never end.
        self._infos: dict[int, bytes] = {}

    def infos(self, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the infos of some rows; an empty list if none of the rows has one.

        Args:
            rows: The numbers of the rows.
        """
        if not self._infos:
            return []
        encoded = [self._infos.get(row) for row in rows.tolist()]
        if not any(encoded):
            return []
        return [{} if each is None else restored(msgspec.msgpack.decode(each)["info"]) for each in encoded]

    def poll(self, *, is_over: bool) -> list[Episode]:
        """Return the episodes that have ended since the last call, in the order of their ends.

        Args:
            is_over: Whether the session has ended; then the unfinished episodes are returned as well.

        Raises:
            ValueError: The journal is damaged.
            OSError: It cannot be read.
        """
        found: list[Episode] = []
        self._find_segments()
        ends = [segment.end for segment in self._segments]
        # Notes are written before their rows.
        self._read_notes()
        for segment, end in zip(self._segments, ends, strict=True):
            if end > self._read:
                found += self._scan(segment, max(self._read, segment.first), end)
                self._read = end
        if is_over:
            for environment, parts in enumerate(self._open):
                if parts is not None:
                    found += self._ended(environment, parts, is_finished=False)
            self._open = [None] * len(self._open)
        found.sort(key=lambda episode: episode.end)
        return found

    def _find_segments(self) -> None:
        while (path := self._directory / SEGMENT.format(self._next_segment)).exists():
            with contextlib.suppress(ValueError):
                # It may be incomplete: if it is new, it will be complete next time; if the session was killed, it stays
                # so.
                self._segments.append(Segment(path, self._dtype))
                self._next_segment += 1
                continue
            return
        if not self._segments and not self._next_segment:
            # The earlier ones were removed by an earlier process.
            numbers = sorted(int(each.name.rpartition("-")[2]) for each in self._directory.glob("rows-*"))
            if numbers:
                self._next_segment = numbers[0]
                self._find_segments()

    def _scan(self, segment: Segment, begin: int, end: int) -> Iterator[Episode]:
        rows = segment.rows[begin - segment.first : end - segment.first]
        kinds, ended = rows[KIND], rows[TERMINATED] | rows[TRUNCATED]
        if not self._several:
            kinds, ended = kinds[:, np.newaxis], ended[:, np.newaxis]
        for environment in range(len(self._open)):
            its_kinds = kinds[:, environment]
            numbers = np.flatnonzero(its_kinds != NOTHING)
            marks = np.flatnonzero((its_kinds == BEGIN) | (ended[:, environment] & (its_kinds != NOTHING)))
            taken = 0
            for mark in marks:
                place = int(np.searchsorted(numbers, mark))
                if its_kinds[mark] == BEGIN:
                    yield from self._cut(environment, begin + numbers[taken:place])
                    self._open[environment] = _joined([], begin + numbers[place : place + 1])
                else:
                    parts = self._open[environment]
                    if parts is not None:
                        _joined(parts, begin + numbers[taken : place + 1])
                        yield from self._ended(environment, parts, is_finished=True)
                    self._open[environment] = None
                taken = place + 1
            going_on = self._open[environment]
            if going_on is not None and taken < len(numbers):
                _joined(going_on, begin + numbers[taken:])

    def _cut(self, environment: int, last: npt.NDArray[np.int64]) -> Iterator[Episode]:
        """End an episode that was still going on at a reset."""
        parts = self._open[environment]
        if parts is not None:
            _joined(parts, last)
            yield from self._ended(environment, parts, is_finished=False)

    def _ended(self, environment: int, parts: list[_Rows], *, is_finished: bool) -> Iterator[Episode]:
        rows = np.concatenate([np.arange(*each) if isinstance(each, tuple) else each for each in parts])
        note = self._resets.get(int(rows[0]), Note(0))
        seed = note.seed[environment] if isinstance(note.seed, list) else note.seed
        # Gymnasium's vector environments give each environment its own seed, counting up.
        if seed is not None and not isinstance(note.seed, list) and self._several:
            seed += environment
        if len(rows) > 1:  # an episode without a step is of no use
            yield Episode(environment, rows, is_finished, seed, note.options)

    def _read_notes(self) -> None:
        with open(self._directory / NOTES, "rb") as file:
            file.seek(self._notes_offset)
            while content := file.read(_NOTES_READ):
                self._notes_offset += len(content)
                content = self._notes_rest + content
                at = 0
                while at + 4 <= len(content):
                    length = int.from_bytes(content[at : at + 4], "little")
                    if at + 4 + length > len(content):
                        break
                    self._take_note(content[at + 4 : at + 4 + length])
                    at += 4 + length
                self._notes_rest = content[at:]

    def _take_note(self, content: bytes) -> None:
        fields = msgspec.msgpack.decode(content)
        note = Note(fields["row"], fields.get("seed"), restored(fields.get("options")))
        if note.seed is not None or note.options is not None:
            self._resets[note.row] = note
        if "info" in fields:
            self._infos[note.row] = content

    def slices(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield the segments that contain some of the rows, each with the indices of these rows in it.

        Args:
            rows: The numbers of the rows, in ascending order.
        """
        for segment in self._segments:
            inside = rows[
                np.searchsorted(rows, segment.first) : np.searchsorted(rows, segment.first + segment.capacity)
            ]
            if len(inside):
                yield segment.rows, inside - segment.first

    def release(self) -> None:
        """Remove what no episode needs any more; call this after storing the episodes returned by :meth:`poll`."""
        needed = min((int(parts[0][0]) for parts in self._open if parts), default=self._read)
        self._resets = {row: note for row, note in self._resets.items() if row >= needed}
        if self._infos and next(iter(self._infos)) < needed:
            self._infos = {row: info for row, info in self._infos.items() if row >= needed}
        while self._segments and self._segments[0].first + self._segments[0].capacity <= needed:
            os.unlink(self._segments.pop(0).path)
