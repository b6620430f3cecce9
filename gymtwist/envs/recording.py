"""The monitor: episode statistics and videos written into a directory.

It writes the same files as Gym's Monitor, so that programs that read its directories keep working; see
:mod:`gymtwist.envs.monitor_files`. Gymnasium's ``RecordVideo`` makes the videos, of the episodes 0, 1, 8, 27, ... and
every thousandth.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import DependencyNotInstalled
from gymnasium.wrappers import RecordVideo

from gymtwist.envs.environment_results import number
from gymtwist.envs.monitor_files import MonitorFiles, complete, earlier_files
from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import MonitorError
from gymtwist.spaces.layout import Array
from gymtwist.spaces.value_mismatch import quoted

#: The maximum length of a directory's name in bytes, which is Linux's limit, and the maximum depth below the root. The
#: time to resolve a name grows with the square of its depth, and each level is created by a recursive call.
MAX_NAME = 4096
MAX_DEPTH = 64
#: The info key that tells a client that its episodes are no longer recorded.
MONITOR_ERROR = "monitor_error"


def confine(directory: str, root: Path) -> Path:
    """Resolve a directory that a client named, symbolic links included.

    Args:
        directory: Absolute, or relative to the root.
        root: The resolved directory under which clients may write.

    Raises:
        MonitorError: The directory is not under the root, too long or too deep.
    """
    name = quoted(directory, MOST_SHOWN)
    if not directory or "\0" in directory:
        raise MonitorError(f"{name} is not a directory; name one under {root}")
    if (size := len(directory.encode("utf-8", "replace"))) > MAX_NAME:
        raise MonitorError(f"{name} cannot be resolved: it has {size} bytes; at most {MAX_NAME} are allowed")
    if (depth := directory.count("/")) > MAX_DEPTH + len(root.parts):
        raise MonitorError(
            f"{name} cannot be resolved: it is {depth} directories deep; at most {MAX_DEPTH} below {root} are allowed"
        )
    try:
        path = (root / directory).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise MonitorError(f"{name} cannot be resolved: {reason_of(error)}") from error
    if not path.is_relative_to(root):
        raise MonitorError(
            f"{name} is not under {root}, where this server writes; choose a directory there, or ask the "
            "operator for another --monitor-root"
        )
    return path


def start(
    environment: gymnasium.Env[Any, Any], directory: Path, *, resume: bool, force: bool, video: bool, every: int = 0
) -> EpisodeRecorder:
    """Wrap an environment so that its episodes are recorded from the next reset on.

    Args:
        environment: The environment; with ``video`` it must render RGB arrays.
        directory: The directory to write to; it is created if necessary.
        resume: Keep the files of an earlier monitor, complete those that a killed process left, and write beside them.
        force: Remove the files of an earlier monitor first.
        video: Record videos too.
        every: Record a video of each episode whose number is a multiple of this; 0 for cubes up to 1000, then every
            thousandth.

    Returns:
        The wrapped environment; closing it completes the files.

    Raises:
        MonitorError: The directory holds an earlier monitor's files, cannot be written, or videos cannot be made.
    """
    if video and environment.render_mode != "rgb_array":
        raise MonitorError("this environment renders no RGB frames, so no video can be recorded; ask without video")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        earlier = earlier_files(directory)
        if force:
            for path in earlier:
                path.unlink(missing_ok=True)  # another session may do the same
        elif resume:
            complete(directory)
        elif earlier:
            raise MonitorError(
                f"{quoted(str(directory), MOST_SHOWN)} holds an earlier monitor's files ({earlier[0].name}); resume to "
                "go on beside them, or force to remove them"
            )
        recorder = EpisodeRecorder(environment, directory, video=video, every=every)
        recorder.files.write()
    except OSError as error:
        raise MonitorError(f"cannot record into {quoted(str(directory), MOST_SHOWN)}: {reason_of(error)}") from error
    return recorder


class EpisodeRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Records the episodes of an environment.

    If a file or a video cannot be written, for example because the disk is full, the recording stops and the episode
    continues: the error is in the log, and in the info of the next step.

    Args:
        environment: The environment to record.
        directory: An existing directory.
        video: Whether videos are recorded too.
        every: Which episodes to film; see :func:`start`.

    Attributes:
        files: The recording's files.
        has_stopped: Whether the recording has stopped after an error.
    """

    def __init__(self, environment: gymnasium.Env[Any, Any], directory: Path, *, video: bool, every: int = 0) -> None:
        spec = environment.spec
        self.files = MonitorFiles(directory, spec.id if spec is not None else None)
        self.has_stopped = False
        self._video = _record_video(environment, directory, self.files.video_prefix, every) if video else None
        super().__init__(self._video or environment)
        self._length = 0
        self._reward = 0.0
        self._recording = False
        self._error: str | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; an unfinished one is recorded with its length so far."""
        if self._recording:
            self._finish_episode()
        result = super().reset(seed=seed, options=options)
        if not self.has_stopped:
            self.files.begin()
            self._length, self._reward, self._recording = 0, 0.0, True
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step, and count it if the episode began after the recording."""
        result = super().step(action)
        if self._recording:
            self._length += 1
            self._reward += number(result[1])
            if result[2] or result[3]:
                self._finish_episode()
        if self._error is None:
            return result
        message, self._error = self._error, None
        observation, reward, terminated, truncated, info = result
        return observation, reward, terminated, truncated, {**info, MONITOR_ERROR: message}

    def _finish_episode(self) -> None:
        self._recording = False
        try:
            has_video = self._finish_video()
            if self._length:
                self.files.add(self._length, self._reward, at_once=has_video)
            elif has_video:
                self.files.write()
        except Exception as error:  # RecordVideo and MoviePy raise many kinds
            self._stop(error)

    def _finish_video(self) -> bool:
        """Write the video of the episode; return whether there is one."""
        if self._video is None or not self._video.recording:
            return False
        has_frames = bool(self._video.recorded_frames)
        self._video.recorded_frames = [in_colour(frame) for frame in self._video.recorded_frames]
        path = Path(self._video.video_folder, f"{self._video._video_name}.mp4")
        try:
            # RecordVideo itself would write it only at the next reset, which may never come.
            self._video.stop_recording()  # type: ignore[no-untyped-call] # Gymnasium's own
            # MoviePy does not check ffmpeg's exit status.
            if has_frames and not _is_complete(path):
                raise OSError("the video is not complete")
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        return has_frames

    def _stop(self, error: Exception) -> None:
        reason = reason_of(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error!s:.{MOST_SHOWN}}"
        self._error = f"recording has stopped: {reason}"
        self.has_stopped = True
        if self._video is not None:
            self.env = self._video.env
            self._video = None
        with contextlib.suppress(Exception):  # the environment may have closed standard error
            print(self._error, file=sys.stderr)

    def stop(self) -> gymnasium.Env[Any, Any]:
        """Complete the files; return the environment, whose episode continues."""
        try:
            if not self.has_stopped:
                self._finish_video()
            self.files.write()
        except Exception as error:
            if not self.has_stopped:
                self._stop(error)
        return self.env if self._video is None else self._video.env

    def close(self) -> None:
        """Complete the files: the video of an unfinished episode, the statistics, and the manifest that names them."""
        try:
            if not self.has_stopped:
                self._finish_video()
        except Exception as error:
            self._stop(error)
        try:
            super().close()
        finally:
            try:
                # Also after an error: there may be disk space again.
                self.files.write()
            except OSError as error:
                if not self.has_stopped:
                    self._stop(error)


def _record_video(
    environment: gymnasium.Env[Any, Any], directory: Path, prefix: str, every: int
) -> RecordVideo[Any, Any]:
    trigger = (lambda episode: episode % every == 0) if every else None
    try:
        with warnings.catch_warnings():
            # It warns about overwriting if the directory exists, but these names are new.
            warnings.simplefilter("ignore")
            return RecordVideo(environment, str(directory), trigger, name_prefix=prefix)
    except DependencyNotInstalled as error:
        raise MonitorError(f'videos need more on the server: pip install "gymtwist[video]" ({error})') from error


def in_colour(frame: Any) -> Array:
    """Convert a frame for MoviePy: uint8 of shape (height, width, 3). Floats range from 0 to 1."""
    if frame.dtype.kind in "bf":
        frame = np.clip(frame, 0, 1) * 255
    if frame.ndim == 2:
        frame = frame[:, :, np.newaxis]
    height, width, channels = frame.shape
    colours = np.broadcast_to(frame, (height, width, 3)) if channels == 1 else frame[:, :, :3]
    made: Array = colours.astype(np.uint8, copy=False)
    return made


def _is_complete(video: Path) -> bool:
    """Return whether an MP4 file contains the box ``moov``, which ffmpeg writes last (ISO/IEC 14496-12)."""
    with contextlib.suppress(FileNotFoundError), video.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, kind = int.from_bytes(header[:4], "big"), header[4:8]
            if kind == b"moov":
                return True
            if size == 1:
                size = int.from_bytes(header[8:], "big")
            if size < 8:
                return False
            file.seek(size - len(header), os.SEEK_CUR)
    return False


def reason_of(error: Exception) -> str:
    """Return the reason of a failure without the full path, which a client may have chosen."""
    if not isinstance(error, OSError) or error.strerror is None:
        return f"{error!s:.{MOST_SHOWN}}"
    return error.strerror if error.filename is None else f"{error.strerror}: {quoted(os.path.basename(error.filename))}"
