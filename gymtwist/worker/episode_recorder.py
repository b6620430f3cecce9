"""Records a session's episodes into a journal, from which another process makes a dataset.

Each step costs a few copies into memory. If something cannot be recorded, for example because the disk is full, the
recording stops and the session continues: the error is in the log, and in the info of the next step.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gymtwist.envs.environment_plan import EnvironmentPlan
from gymtwist.envs.environment_results import reward_space_of
from gymtwist.envs.recorded_spec import spec_text
from gymtwist.envs.recording import in_colour, reason_of
from gymtwist.envs.vector_environments import MASK, autoreset_mode
from gymtwist.errors import InvalidField, QuotaExceeded, RecordingRefused
from gymtwist.protocol.make_messages import Recording
from gymtwist.recordings import dataset_names, episode_rows, journal_files
from gymtwist.recordings.dataset_catalogue import incomplete_datasets, journals_of
from gymtwist.recordings.dataset_names import DATA, DATASETS, JOURNALS
from gymtwist.recordings.episode_journal import COUNT, EpisodeJournal, Quota, Stopped
from gymtwist.recordings.episode_rows import BEGIN, FRAME, KIND, NOTHING, REWARD, STEP, TERMINATED, TRUNCATED
from gymtwist.recordings.journal_files import Header
from gymtwist.spaces.gymnasium_spaces import build, describe, space_of
from gymtwist.spaces.info_merging import FINAL_OBSERVATION
from gymtwist.worker.worker_settings import WorkerSettings

#: The info key that tells a client that its episodes are no longer recorded.
RECORD_ERROR = "record_error"
#: The packages that recording needs at the server.
_PACKAGES = ("h5py", "minari")
#: Files beside a dataset's data: its lock, and its spaces with the id of its environment.
_LOCK, _SPACES = "lock", "spaces"
#: Frames per second of video, if the environment does not set it.
_FPS = 30.0
#: The info entries about the finished episode, if the environment was reset in the same step.
_FINAL = (FINAL_OBSERVATION, "final_info")
Step = Callable[[Any], Any]


class Reservation:
    """A dataset that only this session records, from :meth:`__init__` until :meth:`release`.

    Args:
        request: What the client asked for.
        settings: The operator's options.
        resumes: Whether another process of the session has begun the dataset.

    Attributes:
        dataset: The full name of the dataset.
        root: The root of the datasets.
        request: What the client asked for.

    Raises:
        RecordingRefused: The server cannot record, or another session records this dataset.
        InvalidField: The name is invalid, or the dataset exists already.
    """

    def __init__(self, request: Recording, settings: WorkerSettings, *, resumes: bool) -> None:
        if settings.isolate.has_user:
            raise RecordingRefused(
                f"record: this server gives each session a user of its own (--isolate {settings.isolate}), and a "
                "dataset is not for several users; use a server with --isolate files or limits, or a monitor"
            )
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise RecordingRefused(
                f"record: the server needs {' and '.join(missing)} to record; install them there, not on this machine: "
                'pip install "gymtwist[record]"'
            )
        if request.frames == "video" and importlib.util.find_spec("imageio_ffmpeg") is None:
            raise RecordingRefused(
                'record.frames "video": the server needs imageio-ffmpeg for it; install it there: pip install '
                '"gymtwist[record]", or ask for "lossless"'
            )
        self.request = request
        self.dataset = dataset_names.full_name(request.dataset, settings.identity)
        self._lock: int | None = None
        try:
            self.root = Path(settings.monitor_root, DATASETS)
            self.root.mkdir(exist_ok=True)
            self.root = self.root.resolve()
            (self.root / JOURNALS).mkdir(mode=0o700, exist_ok=True)
            directory = self._directory = dataset_names.directory_of(self.root, self.dataset)
            self._lock = _locked(directory)
        except OSError as error:
            hint = ""
            if settings.isolate.has_files:
                hint = " (with --isolate, sessions can write there only if the operator names it by --monitor-root)"
            raise RecordingRefused(
                f'record.dataset "{request.dataset}": cannot be made: {error.strerror}{hint}'
            ) from error
        if self._lock is None:
            raise RecordingRefused(
                f'record.dataset "{request.dataset}": another session records it now; name another, such as one with '
                "the next version"
            )
        # What was recorded a moment ago may not be stored yet.
        self._exists = (directory / DATA).exists() or self.dataset in incomplete_datasets(self.root)
        if self._exists and not (request.append or resumes):
            self.release()
            raise RecordingRefused(
                f'record.dataset "{request.dataset}": exists already; send "append": true to add episodes to it, or '
                "name another, such as one with the next version"
            )

    def keep_spaces(self, header: Header) -> None:
        """Save the spaces of a new dataset, or check that an existing dataset has the same ones.

        Args:
            header: The header of the journal to append.

        Raises:
            InvalidField: Its spaces differ.
            RecordingRefused: They cannot be written.
        """
        path, name = self._directory / _SPACES, self.request.dataset
        own_id = None if header.env_spec is None else msgspec.json.decode(header.env_spec).get("id")
        content = msgspec.json.encode([header.observation_space, header.action_space, header.reward_shape, own_id])
        try:
            if not (path.exists() and self._exists):
                journal_files.write_whole(path, content)
                return
            found, own = (msgspec.json.decode(each) for each in (path.read_bytes(), content))
            if found[:3] != own[:3]:
                raise InvalidField(
                    f'record.append: the dataset "{name}" is of other spaces than those of this environment, or of '
                    "other rewards; name another dataset"
                )
            if found[3:] not in ([], own[3:]):  # older datasets do not have it
                raise InvalidField(
                    f'record.append: the dataset "{name}" is of {found[3]!r}, and this environment is {own_id!r}; name '
                    "another dataset"
                )
        except OSError as error:
            raise RecordingRefused(f"record: recordings cannot be written: {error.strerror}") from error

    def release(self) -> None:
        """Let other sessions record the dataset, and remove files that were made for nothing."""
        if self._lock is not None:
            directory = self._directory
            if not (directory / DATA).exists() and self.dataset not in incomplete_datasets(self.root):
                with contextlib.suppress(OSError):  # the directory is not empty
                    (directory / _SPACES).unlink(missing_ok=True)
                    (directory / _LOCK).unlink()
                    while directory != self.root:
                        directory.rmdir()
                        directory = directory.parent
            os.close(self._lock)
            self._lock = None


def _locked(directory: Path) -> int | None:
    """Make a dataset's directory and lock it; None if another session has locked it.

    Raises:
        OSError: The directory or its lock cannot be made.
    """
    path = directory / _LOCK
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        # Another session may remove the files that it has made for nothing.
        with contextlib.suppress(FileNotFoundError):
            lock = journal_files.lock(path)
            if lock is None or os.path.samestat(os.fstat(lock), path.stat()):
                return lock
            os.close(lock)


class EpisodeRecorder:
    """Records the episodes of an environment or a vector environment.

    Args:
        reservation: The dataset.
        environment: The environment.
        plan: The plan that it was made from.
        settings: The operator's options.

    Attributes:
        dataset: The full name of the dataset.
        render: Renders a frame, or one for each environment.
        has_stopped: Whether nothing more is recorded.

    Raises:
        InvalidField: Minari does not support the spaces, or the environment renders no frames.
        QuotaExceeded: There are too many recordings.
        RecordingRefused: The recordings cannot be written.
    """

    def __init__(
        self, reservation: Reservation, environment: Any, plan: EnvironmentPlan, settings: WorkerSettings
    ) -> None:
        self._reservation = reservation
        self.dataset = reservation.dataset
        request = self._request = reservation.request
        self.render = environment.render
        self._mode: str | None = None if plan.mode is None else autoreset_mode(environment)
        if request.frames != "none":
            self._check_frames(environment)
        self._num_envs: int | None = None if plan.mode is None else environment.num_envs
        self._header = _header(reservation, environment, plan, settings, self._num_envs)
        reservation.keep_spaces(self._header)
        self._quotas = _quotas(reservation, settings)
        self._journal: EpisodeJournal | None = None
        self._episodes = 0
        #: Whether steps are being recorded: an episode is in progress whose beginning was recorded.
        self._records = False
        self._is_paused = False
        #: The kind of the next row for each of several environments.
        self._kinds: Any = None
        self._error: str | None = None
        self.has_stopped = False
        #: Whether frames or infos are recorded, which most sessions do not want.
        self._has_more = request.infos or request.frames != "none"
        if request.frames == "none":  # otherwise the row size is known only after the first reset
            try:
                self._open(None)
            except Stopped as error:
                raise QuotaExceeded(f"record: {error}; remove some, or ask the operator for more") from error
            except OSError as error:
                raise RecordingRefused(f"record: recordings cannot be written: {error.strerror}") from error

    def _check_frames(self, environment: Any) -> None:
        if environment.render_mode != "rgb_array":
            raise InvalidField(
                f'record.frames "{self._request.frames}": the environment renders no frames; send the render_mode '
                '"rgb_array", too'
            )
        if self._mode == "same_step":
            raise InvalidField(
                f'record.frames "{self._request.frames}": with the autoreset_mode "same_step", the last frame of an '
                'episode cannot be rendered; ask for "next_step" or "disabled"'
            )

    def _open(self, frame_shape: tuple[int, ...] | None) -> EpisodeJournal:
        header = msgspec.structs.replace(self._header, frame_shape=frame_shape)
        directory = self._reservation.root / JOURNALS / f"{self._header.author}@{secrets.token_hex(8)}"
        journal = self._journal = EpisodeJournal(directory, header, self._quotas)
        return journal

    def wrap(self, step: Step) -> Step:
        """Return the function that takes a step and records it.

        Args:
            step: Takes a step.
        """
        return partial(self._step if self._num_envs is None else self._step_several, step)

    def pause(self) -> None:
        """Record nothing until :meth:`go_on`."""
        self._records, self._is_paused = False, True

    def go_on(self) -> None:
        """Record episodes that begin from now on."""
        self._is_paused = False

    # Episodes

    def begin(self, observation: Any, info: dict[str, Any], seed: Any, options: dict[str, Any]) -> None:
        """Record the beginning of an episode, or of one in each environment.

        Args:
            observation: The first observation.
            info: The info of the reset.
            seed: The seed, or one for each environment.
            options: The options of the reset; those of vector environments may have a mask.
        """
        if self._is_paused or self._is_complete:
            return
        mask = None if self._num_envs is None else options.pop(MASK, None)
        try:
            frame = None if self._request.frames == "none" else self._frame()
            journal = self._journal
            if journal is None:
                journal = self._open(None if frame is None else frame.shape[self._num_envs is not None :])
            if seed is not None or options:
                journal.note(**_reset_note(seed, options))
            kinds: Any = BEGIN if mask is None else np.where(mask, BEGIN, NOTHING)
            self._write_beginning(journal, kinds, observation, info, frame)
            if self._num_envs is not None:
                self._kinds = np.zeros(self._num_envs, np.uint8)
            self._records = True
        except Exception as error:
            self._stop(error)

    @property
    def _is_complete(self) -> bool:
        """Whether the recording is complete or has stopped."""
        most = self._request.episodes
        return self.has_stopped or (most is not None and self._episodes >= most)

    def _write_beginning(
        self, journal: EpisodeJournal, kinds: Any, observation: Any, info: dict[str, Any], frame: Any
    ) -> None:
        if journal.row == journal.capacity:
            journal.next_segment()
        row, rows = journal.row, journal.rows
        rows[KIND][row] = kinds
        journal.observations[row] = observation
        if frame is not None:
            rows[FRAME][row] = frame
        if self._request.infos and info:
            journal.note(info=info)
        journal.finish_row()

    def _frame(self) -> Any:
        """Render a frame, or one for each environment, as uint8."""
        rendered = self.render()
        if self._num_envs is None:
            return in_colour(rendered)
        return np.array([in_colour(each) for each in rendered])

    def _step(self, step: Step, action: Any) -> Any:
        # This runs in each step, so every call and attribute access counts.
        journal = self._journal
        if not self._records or journal is None:
            return self._told(step(action))
        try:
            if journal.row == journal.capacity:
                journal.next_segment()
            row = journal.row
            journal.actions[row] = action  # before the environment can change it
        except Exception as error:
            self._stop(error)
            return self._told(step(action))
        returned = step(action)
        try:
            observation, reward, terminated, truncated, info = returned
        except (TypeError, ValueError):
            return returned  # the caller refuses it
        try:
            journal.observations[row] = observation
            journal.rewards[row] = reward
            if self._has_more:
                self._write_more(journal, row, info)
            if terminated or truncated:
                self._end(journal, row, terminated, truncated)
            else:
                journal.row = journal.words[COUNT] = row + 1
        except Exception as error:
            self._stop(error)
            return self._told(returned)
        return returned

    def _end(self, journal: EpisodeJournal, row: int, terminated: Any, truncated: Any) -> None:
        """Complete the last row of an episode."""
        journal.rows[TERMINATED][row], journal.rows[TRUNCATED][row] = bool(terminated), bool(truncated)
        journal.finish_row()
        self._records = False
        self._count(1)

    def _write_more(self, journal: EpisodeJournal, row: int, info: Any) -> None:
        if self._request.frames != "none":
            journal.rows[FRAME][row] = self._frame()
        if self._request.infos and info:
            journal.note(info=info)

    def _step_several(self, step: Step, actions: Any) -> Any:
        journal = self._journal
        if not self._records or journal is None:
            return self._told(step(actions))
        try:
            if journal.row == journal.capacity:
                journal.next_segment()
            row = journal.row
            journal.actions[row] = actions
        except Exception as error:
            self._stop(error)
            return self._told(step(actions))
        returned = step(actions)
        if not isinstance(returned, (tuple, list)) or len(returned) != 5:
            return returned
        try:
            self._write_several(journal, row, returned)
        except Exception as error:
            self._stop(error)
            return self._told(returned)
        return returned

    def _write_several(self, journal: EpisodeJournal, row: int, returned: Any) -> None:
        observations, rewards, terminated, truncated, info = returned
        rows, kinds = journal.rows, self._kinds
        done = np.logical_or(terminated, truncated)
        has_ended = bool(done.any())
        journal.observations[row] = observations
        if np.ndim(rewards) == rows[REWARD].ndim - 1:  # otherwise, all environments were reset
            journal.rewards[row] = rewards
        rows[KIND][row], rows[TERMINATED][row], rows[TRUNCATED][row] = kinds, terminated, truncated
        is_same_step = has_ended and self._mode == "same_step"
        if is_same_step:
            for index in done.nonzero()[0].tolist():
                journal.observations[row, index] = info[FINAL_OBSERVATION][index]
        if self._has_more:
            kept = {key: each for key, each in info.items() if key.removeprefix("_") != FINAL_OBSERVATION}
            self._write_more(journal, row, kept)
        journal.finish_row()
        kinds[:] = STEP
        if not has_ended:
            return
        if is_same_step:
            begun = {key: each for key, each in info.items() if key.removeprefix("_") not in _FINAL}
            self._write_beginning(journal, np.where(done, BEGIN, NOTHING), observations, begun, None)
        else:
            kinds[done] = BEGIN if self._mode == "next_step" else NOTHING
        self._count(int(np.count_nonzero(done)))

    def _count(self, ended: int) -> None:
        """Count ended episodes, and stop after the last requested one."""
        self._episodes += ended
        if self._is_complete:
            self.close()

    # The end

    def _stop(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, Stopped) else reason_of(error)
        self._error = f"recording has stopped: {reason}"
        self.close()
        with contextlib.suppress(Exception):  # the environment may have closed it
            print(self._error, file=sys.stderr)

    def _told(self, returned: Any) -> Any:
        """Return the result of a step, with the error added to its info."""
        if self._error is None or not isinstance(returned, (tuple, list)) or len(returned) != 5:
            return returned
        message, self._error = self._error, None
        *results, info = returned
        if self._num_envs is None:
            return (*results, {**info, RECORD_ERROR: message})
        count = self._num_envs
        texts = {RECORD_ERROR: np.full(count, message), f"_{RECORD_ERROR}": np.ones(count, np.bool_)}
        return (*results, {**info, **texts})

    def close(self) -> None:
        """Stop recording. An unfinished episode is in the dataset, marked as such."""
        self._records, self.has_stopped = False, True
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
        self._reservation.release()


def _header(
    reservation: Reservation, environment: Any, plan: EnvironmentPlan, settings: WorkerSettings, num_envs: int | None
) -> Header:
    """Return the header of a journal.

    Raises:
        InvalidField: Minari does not support the spaces.
    """
    request, prefix = reservation.request, "" if num_envs is None else "single_"
    observations, actions = (
        describe(space_of(environment, f"{prefix}{name}_space"), f"{name}_space") for name in ("observation", "action")
    )
    rewards = reward_space_of(environment)
    shape = () if rewards is None else rewards.shape
    try:
        episode_rows.row_dtype(build(observations), build(actions), num_envs, shape)
    except ValueError as error:
        raise InvalidField(f"record: {error}; do without `record`") from error
    return Header(
        dataset=reservation.dataset,
        observation_space=observations,
        action_space=actions,
        num_envs=num_envs,
        reward_shape=shape,
        frame_shape=None,
        frames=request.frames,
        compression=request.compression,
        fps=float(environment.metadata.get("render_fps") or _FPS),
        env_spec=spec_text(environment, plan),
        author=settings.identity,
        byte_order=sys.byteorder,
    )


def _quotas(reservation: Reservation, settings: WorkerSettings) -> list[Quota]:
    """Return the limits on the disk space of recordings."""
    root, owner, request = reservation.root, settings.identity, reservation.request
    journals = root / JOURNALS

    def of_owner() -> list[Path]:
        return [root / owner, *journals.glob(f"{owner}@*")]

    quotas = []
    if settings.record_quota:
        quotas.append(Quota(lambda: [root], settings.record_quota, "--record-quota"))
    if settings.identity_record_quota:
        quotas.append(Quota(of_owner, settings.identity_record_quota, f'record-quota of the identity "{owner}"'))
    if request.megabytes is not None:
        name = reservation.dataset
        of_dataset = lambda: [root / name, *journals_of(root, name)]  # noqa: E731
        quotas.append(Quota(of_dataset, request.megabytes << 20, "record.megabytes"))
    return quotas


def _reset_note(seed: Any, options: dict[str, Any] | None) -> dict[str, Any]:
    note: dict[str, Any] = {}
    if seed is not None:
        note["seed"] = seed.tolist() if isinstance(seed, np.ndarray) else seed
    return note | {"options": options} if options else note
