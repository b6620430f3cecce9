"""The files of a monitor, under the names and in the form of those that Gym's Monitor wrote.

``openaigym.episode_batch.*.stats.json`` has the statistics of all episodes, and
``openaigym.manifest.*.manifest.json`` names it and the videos. Both can only be written as a whole. So that a long
recording does not write its first episodes again and again, an episode is appended to
``openaigym.episode_batch.*.recent.jsonl``, and now and then the statistics take over what is in there.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import msgspec

#: Every file of a monitor begins with this, and no other file is touched.
PREFIX = "openaigym"
_STATISTICS, _RECENT = ".stats.json", ".recent.jsonl"

#: The statistics are written again when the episodes that they lack are this part of those that they have: all that is
#: ever written then is at most nine times as large as the last version.
_PART = 1 / 8
#: They are also written again after as many seconds as their size divided by this, in bytes per second.
_RATE = 64 * 1024
#: But not within this time, in seconds.
_SHORTEST_INTERVAL = 1.0


class EpisodeStatistics(msgspec.Struct):
    """The statistics file; the lists have one item per episode."""

    initial_reset_timestamp: float | None = None
    timestamps: list[float] = []
    episode_lengths: list[int] = []
    episode_rewards: list[float | None] = []
    episode_types: list[str] = []

    def append(self, episode: Episode) -> None:
        """Add an episode."""
        self.timestamps.append(episode.timestamp)
        self.episode_lengths.append(episode.length)
        self.episode_rewards.append(episode.reward)
        self.episode_types.append(episode.type)


class Episode(msgspec.Struct):
    """A line of the file of recent episodes.

    Attributes:
        number: Its place in the lists of the statistics.
        timestamp: When it ended, in seconds since 1970.
        length: Its steps.
        reward: The sum of its rewards; None if that is not finite.
        type: ``t`` for training. Gym's Monitor also had ``e`` for evaluation, which the protocol cannot express.
    """

    number: int
    timestamp: float
    length: int
    reward: float | None
    type: str = "t"


class MonitorFiles:
    """The files of one recording. A killed process loses no episode, and leaves no file of which half is missing.

    Args:
        directory: An existing directory.
        environment: The environment's id; None if it has none.
    """

    def __init__(self, directory: Path, environment: str | None) -> None:
        self._directory = directory
        self._environment = environment
        self._tag = _free_tag(directory)
        self.video_prefix = f"{PREFIX}.video.{self._tag}"
        self._name = f"{PREFIX}.episode_batch.{self._tag}"
        self._statistics = EpisodeStatistics()
        self._written = 0
        self._due = 0.0

    def begin(self) -> None:
        """Note the time of the first reset."""
        if self._statistics.initial_reset_timestamp is None:
            self._statistics.initial_reset_timestamp = time.time()

    def add(self, length: int, reward: float, *, at_once: bool) -> None:
        """Add an episode.

        Args:
            length: Its steps.
            reward: The sum of its rewards.
            at_once: Whether the statistics and the manifest must be written now, as after a video.

        Raises:
            OSError: It cannot be written.
        """
        count = len(self._statistics.timestamps)
        episode = Episode(count, time.time(), length, reward)
        self._statistics.append(episode)
        if at_once or count + 1 - self._written >= self._written * _PART or time.monotonic() >= self._due:
            self.write()
            return
        with (self._directory / f"{self._name}{_RECENT}").open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(episode) + b"\n")

    def write(self) -> None:
        """Write the statistics, then the manifest that names them.

        Raises:
            OSError: They cannot be written; the earlier versions are still there.
        """
        statistics = f"{self._name}{_STATISTICS}"
        size = _replace(self._directory / statistics, self._statistics)
        self._written = len(self._statistics.timestamps)
        self._due = time.monotonic() + max(_SHORTEST_INTERVAL, size / _RATE)
        (self._directory / f"{self._name}{_RECENT}").unlink(missing_ok=True)
        videos = sorted(path.name for path in self._directory.glob(f"{self.video_prefix}-*.mp4"))
        _replace(
            self._directory / f"{PREFIX}.manifest.{self._tag}.manifest.json",
            {
                "stats": statistics,
                "videos": [[video, None] for video in videos],
                "env_info": {"gym_version": f"gymnasium {gymnasium.__version__}", "env_id": self._environment},
            },
        )


def earlier_files(directory: Path) -> list[Path]:
    """List the files that earlier monitors left in a directory."""
    return [path for path in directory.iterdir() if path.name.startswith(f"{PREFIX}.")]


def complete(directory: Path) -> None:
    """Move the recent episodes of killed processes into their statistics.

    It does no harm to a recording that goes on: that one writes the same statistics, and more.

    Raises:
        OSError: A file cannot be read or written.
    """
    for recent in directory.glob(f"{PREFIX}.episode_batch.*{_RECENT}"):
        path = recent.with_name(recent.name.removesuffix(_RECENT) + _STATISTICS)
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            statistics = msgspec.json.decode(path.read_bytes(), type=EpisodeStatistics)
            for episode in _episodes(recent):
                if episode.number == len(statistics.timestamps):
                    statistics.append(episode)
            _replace(path, statistics)
            recent.unlink(missing_ok=True)


def _episodes(recent: Path) -> Iterator[Episode]:
    """Read recent episodes, up to one that a full disk has cut off."""
    with recent.open("rb") as lines, contextlib.suppress(msgspec.MsgspecError):
        for line in lines:
            yield msgspec.json.decode(line, type=Episode)


def _free_tag(directory: Path) -> str:
    number = 0
    while any(directory.glob(f"{PREFIX}.*.{number}.{os.getpid()}.*")):
        number += 1
    return f"{number}.{os.getpid()}"


def _replace(path: Path, content: object) -> int:
    """Write a file beside its place and move it there, so that a reader never sees half of it; return its size."""
    data = msgspec.json.encode(content)
    try:
        _write_and_move(path, data)
    except FileNotFoundError:  # a monitor with force has cleared the directory in between
        _write_and_move(path, data)
    return len(data)


def _write_and_move(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{PREFIX}.", suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # otherwise an empty file may have its name after a power failure
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
