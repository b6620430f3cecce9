"""The files of a monitor, with the names and formats of Gym's Monitor.

``openaigym.episode_batch.*.stats.json`` has the statistics of all episodes, and
``openaigym.manifest.*.manifest.json`` names that file and the videos. Both can be written only as a whole. To avoid
rewriting the first episodes of a long recording again and again, each episode is appended to
``openaigym.episode_batch.*.recent.jsonl``, whose contents are moved into the statistics from time to time.
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

#: The prefix of all files of a monitor; no other files are touched.
PREFIX = "openaigym"
_STATISTICS, _RECENT = ".stats.json", ".recent.jsonl"

#: The statistics are rewritten when the missing episodes are this fraction of those they have, so that everything ever
#: written is at most nine times as large as the last version.
_PART = 1 / 8
#: They are also rewritten after a number of seconds: their size divided by this, in bytes per second.
_RATE = 64 * 1024
#: But not sooner than this, in seconds.
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
        number: The episode's index in the lists of the statistics.
        timestamp: The time when it ended, in seconds since 1970.
        length: The number of steps.
        reward: The sum of the rewards; None if that is not finite.
        type: ``t`` for training. Gym's Monitor also had ``e`` for evaluation, which the protocol cannot express.
    """

    number: int
    timestamp: float
    length: int
    reward: float | None
    type: str = "t"


class MonitorFiles:
    """The files of one recording. A killed process loses no episode, and leaves no incomplete file.

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
        """Record the time of the first reset."""
        if self._statistics.initial_reset_timestamp is None:
            self._statistics.initial_reset_timestamp = time.time()

    def add(self, length: int, reward: float, *, at_once: bool) -> None:
        """Add an episode.

        Args:
            length: The number of steps.
            reward: The sum of the rewards.
            at_once: Whether the statistics and the manifest must be written now, as after a video.

        Raises:
            OSError: A file cannot be written.
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
            OSError: They cannot be written; the earlier versions remain.
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

    This does not harm a recording in progress, which writes the same statistics and more.

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
    """Read recent episodes, up to one that was cut off by a full disk."""
    with recent.open("rb") as lines, contextlib.suppress(msgspec.MsgspecError):
        for line in lines:
            yield msgspec.json.decode(line, type=Episode)


def _free_tag(directory: Path) -> str:
    number = 0
    while any(directory.glob(f"{PREFIX}.*.{number}.{os.getpid()}.*")):
        number += 1
    return f"{number}.{os.getpid()}"


def _replace(path: Path, content: object) -> int:
    """Write a file elsewhere and move it into place, so that a reader never sees half of it; return its size."""
    data = msgspec.json.encode(content)
    try:
        _write_and_move(path, data)
    except FileNotFoundError:  # a monitor with force has just cleared the directory
        _write_and_move(path, data)
    return len(data)


def _write_and_move(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{PREFIX}.", suffix=".part", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # otherwise, a power failure may leave an empty file under the name
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
