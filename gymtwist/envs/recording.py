"""The monitor: episode statistics and videos written into a directory.

It writes what Gym's Monitor wrote, under the same names, so that programs that read such directories keep working:
``openaigym.episode_batch.*.stats.json`` with the statistics and ``openaigym.manifest.*.manifest.json`` naming them.
Videos are made by Gymnasium's ``RecordVideo``, of the episodes 0, 1, 8, 27, ... and every thousandth.
"""

from __future__ import annotations

import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import msgspec
from gymnasium.error import DependencyNotInstalled
from gymnasium.wrappers import RecordVideo

from gymtwist.errors import MonitorError

#: Every file of a monitor begins with this, and no other file is touched.
PREFIX = "openaigym"


def confine(directory: str, root: Path) -> Path:
    """Resolve a directory that a client named, symbolic links included.

    Args:
        directory: Absolute, or relative to the root.
        root: Where clients may write; resolved.

    Raises:
        MonitorError: It is not under the root.
    """
    if not directory or "\0" in directory:
        raise MonitorError(f"{directory!r} is no directory; name one under {root}")
    try:
        path = (root / directory).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise MonitorError(f"{directory!r} cannot be resolved: {error}") from error
    if not path.is_relative_to(root):
        raise MonitorError(
            f"{directory} is not under {root}, where this server writes; choose a directory there, or ask the "
            "operator for another --monitor-root"
        )
    return path


def start(
    environment: gymnasium.Env[Any, Any], directory: Path, *, resume: bool, force: bool, video: bool
) -> gymnasium.Env[Any, Any]:
    """Wrap an environment so that its episodes are recorded from the next reset on.

    Args:
        environment: The environment; with ``video`` it must render RGB arrays.
        directory: Where to write; it is created if necessary.
        resume: Keep the files of an earlier monitor, and write beside them.
        force: Remove the files of an earlier monitor first.
        video: Record videos too.

    Returns:
        The wrapped environment; closing it completes the files.

    Raises:
        MonitorError: The directory holds an earlier monitor's files, cannot be written, or videos cannot be made.
    """
    if video and environment.render_mode != "rgb_array":
        raise MonitorError("this environment renders no RGB frames, so no video can be recorded; ask without video")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in directory.iterdir() if path.name.startswith(f"{PREFIX}.")]
        if force:
            for path in earlier:
                path.unlink(missing_ok=True)  # another session may do the same
        elif earlier and not resume:
            raise MonitorError(
                f"{directory} holds an earlier monitor's files ({earlier[0].name}); resume to go on beside them, "
                "or force to remove them"
            )
        recorder = EpisodeRecorder(environment, directory, video=video)
        recorder.write()
    except OSError as error:
        raise MonitorError(f"cannot record into {directory}: {error}") from error
    return recorder


class EpisodeStatistics(msgspec.Struct):
    """The statistics file of Gym's Monitor; the lists have one element an episode."""

    initial_reset_timestamp: float | None = None
    timestamps: list[float] = []
    episode_lengths: list[int] = []
    episode_rewards: list[float] = []
    episode_types: list[str] = []


class EpisodeRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Records the episodes of an environment; its files are complete after every episode.

    Args:
        environment: The environment to record.
        directory: An existing directory.
        video: Whether videos are recorded too.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], directory: Path, *, video: bool) -> None:
        self._directory = directory
        self._tag = self._free_tag(directory)
        self._video_prefix = f"{PREFIX}.video.{self._tag}"
        self._video = self._record_video(environment) if video else None
        super().__init__(self._video or environment)
        self._statistics = EpisodeStatistics()
        self._length = 0
        self._reward = 0.0
        self._recording = False

    @staticmethod
    def _free_tag(directory: Path) -> str:
        number = 0
        while list(directory.glob(f"{PREFIX}.*.{number}.{os.getpid()}.*")):
            number += 1
        return f"{number}.{os.getpid()}"

    def _record_video(self, environment: gymnasium.Env[Any, Any]) -> RecordVideo[Any, Any]:
        try:
            with warnings.catch_warnings():
                # It warns of overwriting whenever the directory exists; the names given here are new.
                warnings.simplefilter("ignore")
                return RecordVideo(environment, str(self._directory), name_prefix=self._video_prefix)
        except DependencyNotInstalled as error:
            raise MonitorError(f'videos need more on the server: pip install "gymtwist[video]" ({error})') from error

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; one that was begun and not finished is written down with its length so far."""
        if self._recording and self._length:
            self._finish_episode()
        result = super().reset(seed=seed, options=options)
        if self._statistics.initial_reset_timestamp is None:
            self._statistics.initial_reset_timestamp = time.time()
        self._length, self._reward, self._recording = 0, 0.0, True
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step, and count it if the episode began after the monitor did."""
        result = super().step(action)
        if self._recording:
            self._length += 1
            self._reward += float(result[1])
            if result[2] or result[3]:
                self._finish_episode()
        return result

    def _finish_episode(self) -> None:
        self._recording = False
        if self._video is not None and self._video.recording:
            # RecordVideo itself would write it at the next reset, which may never come.
            self._video.stop_recording()  # type: ignore[no-untyped-call] # Gymnasium's own
        self._statistics.timestamps.append(time.time())
        self._statistics.episode_lengths.append(self._length)
        self._statistics.episode_rewards.append(self._reward)
        # Gym's Monitor had "t" for training and "e" for evaluation; nothing over the wire ever said evaluation.
        self._statistics.episode_types.append("t")
        self.write()

    def write(self) -> None:
        """Write the statistics, then the manifest that names them."""
        statistics = f"{PREFIX}.episode_batch.{self._tag}.stats.json"
        self._replace(statistics, self._statistics)
        videos = sorted(path.name for path in self._directory.glob(f"{self._video_prefix}-*.mp4"))
        spec = self.env.spec
        self._replace(
            f"{PREFIX}.manifest.{self._tag}.manifest.json",
            {
                "stats": statistics,
                "videos": [[video, None] for video in videos],
                "env_info": {
                    "gym_version": f"gymnasium {gymnasium.__version__}",
                    "env_id": spec.id if spec is not None else None,
                },
            },
        )

    def _replace(self, name: str, content: object) -> None:
        """Write a file beside its place and move it there, so that a reader never sees half of it."""
        try:
            self._write_and_move(name, content)
        except FileNotFoundError:  # a monitor with force has cleared the directory in between
            self._write_and_move(name, content)

    def _write_and_move(self, name: str, content: object) -> None:
        with tempfile.NamedTemporaryFile(
            dir=self._directory, prefix=f"{PREFIX}.", suffix=".part", delete=False
        ) as file:
            try:
                file.write(msgspec.json.encode(content))
                file.flush()
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, self._directory / name)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise

    def close(self) -> None:
        """Complete the files: the video of an unfinished episode, and the manifest that names it."""
        try:
            super().close()
        finally:
            self.write()


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
