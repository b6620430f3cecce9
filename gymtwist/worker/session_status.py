"""The session status: a few words of memory in which a worker shows the server the state of its session.

Every word is a float64, written with one aligned 8-byte store, so a reader never sees half of one. Times are seconds
of ``time.monotonic``, the same clock in every process of a machine. No message is sent, and no process is woken up.

An environment can write to this memory, too, but that affects only its own session: the memory's size is sealed, and
the server ignores words with impossible values.

The recovery state follows the words; another process resumes the session from it if this one dies; see
:mod:`~gymtwist.worker.recovery_state`. The server reads only the words that hold its size. Last comes room for one
frame, which the worker writes when the server asks for it; see :mod:`~gymtwist.worker.live_frames`.
"""

from __future__ import annotations

import bisect
import contextlib
import enum
import fcntl
import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from time import monotonic  # by name: an environment may patch the module
from typing import NamedTuple

from gymtwist.worker import memory_mapping

#: The index of each word.
BUSY_SINCE, OPERATION, LAST_ACTIVITY, ANSWERED, STEPS, EPISODES, MADE, TAKEN, RECEIVED, OUT_OF_MEMORY = range(10)
REQUEST_SINCE = 10
#: Values of ``OUT_OF_MEMORY``: the server has killed processes of the session, or an allocation has met a limit.
PROCESSES_KILLED, LIMIT_MET = 1.0, 2.0
#: The time when the client got its first observation; 0.0 before.
FIRST_OBSERVATION = 11
#: Set by the server when it requests something; the worker checks it after each step.
ATTENTION = 12
#: How many more steps the server wants timed, and whether it wants a frame.
STEPS_TO_TIME, FRAME_WANTED = 13, 14
#: The state and shape of the frame; see :class:`FrameState`.
FRAME_STATE, FRAME_WIDTH, FRAME_HEIGHT, FRAME_CHANNELS = 15, 16, 17, 18
#: How many snapshots were taken, how many of them are gone, and how many bytes of memory the rest share with no other
#: process. The playing process writes the first, the leader the others.
SNAPSHOTS_TAKEN, SNAPSHOTS_GONE, SNAPSHOT_BYTES = 19, 20, 21
#: Whether the client can continue the session over another connection, and the number of requests since its make
#: message, which is counted only then.
OUTLIVES, REQUESTS = 22, 23
#: How many clients have continued the session without knowing its counts.
TAKEOVERS = 24
#: Upper bounds of the step time histogram's buckets, in seconds.
STEP_TIME_BOUNDS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
#: A count for each bound and one for longer steps, followed by the sum of all counted durations.
STEP_TIMES = 32
_STEP_TIME_SUM = STEP_TIMES + len(STEP_TIME_BOUNDS) + 1
#: The last episodes: the return, the number of steps and the time of the end of each. Episode ``n``, counted from 0, is
#: at the index ``n % KEPT_EPISODES``.
_EPISODE_RING = 64
KEPT_EPISODES, _EPISODE_WORDS = 100, 3
#: The words that another machine is told, and those of them that are not times.
_TOLD_WORDS = _EPISODE_RING + KEPT_EPISODES * _EPISODE_WORDS
_TAKEN_OVER = (
    *(OPERATION, BUSY_SINCE, STEPS, EPISODES),
    *range(STEP_TIMES, _STEP_TIME_SUM + 1),
    *(word for word in range(_EPISODE_RING, _TOLD_WORDS) if (word - _EPISODE_RING) % _EPISODE_WORDS != 2),
)
_WORDS_SIZE = mmap.ALLOCATIONGRANULARITY
#: Bytes of the recovery state: a make message, then the longest message. They take no memory until written.
RECOVERY_SIZE = 17 * 1024 * 1024
#: Bytes for a frame; they take no memory until written, either.
FRAME_SIZE = 8 * 1024 * 1024
#: The offset of the frame.
FRAME_OFFSET = _WORDS_SIZE + RECOVERY_SIZE
_SIZE = FRAME_OFFSET + FRAME_SIZE
#: No valid time or count is larger; float64 represents every integer up to here.
_LARGEST = 2.0**53


class Operation(enum.IntEnum):
    """An operation of the environment."""

    MAKE = 0  # the environment is being made; the handshake is not answered yet
    RESET = 1
    STEP = 2
    SAMPLE = 3  # an action is drawn, or a space described
    MONITOR = 4
    RENDER = 5
    CLOSE = 6  # the client has left, and the environment is being closed
    GET = 7
    SET = 8
    CALL = 9
    SNAPSHOT = 10
    RESTORE = 11


class FrameState(enum.IntEnum):
    """What the worker has done about the requested frame."""

    NONE = 0  # nothing yet
    WRITTEN = 1
    NO_IMAGE = 2  # the environment renders no RGB frames, and its observations are no images
    FAILED = 3  # rendering raised an exception


class Episode(NamedTuple):
    """An episode that has ended.

    Attributes:
        number: The number of the episode, from 1.
        total: The sum of the episode's rewards.
        steps: The number of steps.
        ended: The time of the end.
    """

    number: int
    total: float
    steps: int
    ended: float


def create() -> int:
    """Create the memory for the status of one session.

    Returns:
        Its descriptor.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gymtwist-status", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    if hasattr(os, "memfd_create"):
        # If an environment could shrink the memory, reading it would kill the server with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


class SessionStatus:
    """The status of one session, as both sides use it.

    Args:
        descriptor: What :func:`create` returned; it may be closed afterwards.
        with_recovery: Whether to map the recovery state, which the server does not use.

    Attributes:
        words: The words themselves, for the worker to write; see the constants of this module.
        recovery: The memory of the recovery state; empty if it is not mapped.
        frame: The memory for a frame; empty if the recovery state is not mapped.
    """

    def __init__(self, descriptor: int, *, with_recovery: bool = False) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE if with_recovery else _WORDS_SIZE)
        whole = memoryview(self._memory)
        self.words = whole[:_WORDS_SIZE].cast("d")
        self.recovery = whole[_WORDS_SIZE:FRAME_OFFSET]
        self.frame = whole[FRAME_OFFSET:]

    def _number(self, word: int) -> float:
        """Return a time or a count; 0.0 if its value is impossible."""
        value = self.words[word]
        return value if math.isfinite(value) and 0.0 <= value < _LARGEST else 0.0

    @property
    def busy_since(self) -> float | None:
        """The time when the running operation began; None while the worker waits for the client."""
        return self._number(BUSY_SINCE) or None

    @property
    def request_since(self) -> float | None:
        """The time when a request began that consists of several operations, such as steps; None if there is none."""
        return self._number(REQUEST_SINCE) or None

    @property
    def operation(self) -> Operation:
        """The running operation, or the last one."""
        try:
            return Operation(int(self._number(OPERATION)))
        except ValueError:
            return Operation.STEP

    @property
    def last_activity(self) -> float:
        """The time when the last operation ended; 0.0 before the session began."""
        return self._number(LAST_ACTIVITY)

    @property
    def untouched(self) -> bool:
        """True if the worker has not begun; impossible values written by an environment count as a beginning."""
        return self.words[BUSY_SINCE] == self.words[LAST_ACTIVITY] == 0.0

    @property
    def answered(self) -> bool:
        """True if the client has received the reply to its handshake."""
        return bool(self.words[ANSWERED])

    @property
    def made(self) -> bool:
        """True if the client has made an environment, which another process can make again."""
        return bool(self.words[MADE])

    @property
    def can_be_resumed(self) -> bool:
        """True if another process could resume the session: no bytes from the client are lost."""
        return self.words[TAKEN] >= 0.0

    @property
    def outlives_connection(self) -> bool:
        """True if the client can continue the session over another connection."""
        return bool(self.words[OUTLIVES])

    @property
    def requests(self) -> int:
        """How many requests were received since the make message, if the session outlives its connection."""
        return int(self._number(REQUESTS))

    @property
    def takeovers(self) -> int:
        """How many clients have continued the session without knowing its counts."""
        return int(self._number(TAKEOVERS))

    @property
    def out_of_memory(self) -> bool:
        """True if the environment was refused memory, or the session's processes together held too much."""
        return self._number(OUT_OF_MEMORY) > 0.0

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return int(self._number(STEPS))

    @property
    def episodes(self) -> int:
        """The number of completed episodes."""
        return int(self._number(EPISODES))

    @property
    def snapshots(self) -> int:
        """The number of snapshots that the session holds."""
        return max(0, int(self._number(SNAPSHOTS_TAKEN)) - int(self._number(SNAPSHOTS_GONE)))

    @property
    def snapshots_taken(self) -> int:
        """The number of snapshots that the session has taken."""
        return int(self._number(SNAPSHOTS_TAKEN))

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of memory that the snapshots share with no other process, as last measured."""
        return int(self._number(SNAPSHOT_BYTES))

    @property
    def first_observation(self) -> float | None:
        """The time when the client got its first observation; None if it has none yet."""
        return self._number(FIRST_OBSERVATION) or None

    def keep_first_observation(self) -> None:
        """Record the time of the first observation that the client gets."""
        if not self.words[FIRST_OBSERVATION]:
            self.words[FIRST_OBSERVATION] = monotonic()

    def keep_episode(self, number: int, total: float, steps: int) -> None:
        """Add an ended episode to the last episodes.

        Args:
            number: How many episodes had ended before.
            total: The sum of the episode's rewards.
            steps: The number of steps.
        """
        at = _EPISODE_RING + number % KEPT_EPISODES * _EPISODE_WORDS
        self.words[at], self.words[at + 1], self.words[at + 2] = total, steps, self.words[LAST_ACTIVITY]

    def last_episodes(self, most: int = KEPT_EPISODES) -> list[Episode]:
        """Return the last episodes, oldest first, without those that have impossible values."""
        count = self.episodes
        found = []
        for number in range(max(0, count - min(most, KEPT_EPISODES)), count):
            at = _EPISODE_RING + number % KEPT_EPISODES * _EPISODE_WORDS
            total, steps = self.words[at], int(self._number(at + 1))
            if math.isfinite(total) and steps:
                found.append(Episode(number + 1, total, steps, self._number(at + 2)))
        return found

    def count_step_time(self, seconds: float) -> None:
        """Count the duration of a step."""
        self.words[STEP_TIMES + bisect.bisect_left(STEP_TIME_BOUNDS, seconds)] += 1.0
        self.words[_STEP_TIME_SUM] += seconds

    def step_times(self) -> tuple[list[int], float]:
        """Return the number of timed steps in each bucket (above the previous bound), and their total time."""
        counts = [int(self._number(word)) for word in range(STEP_TIMES, _STEP_TIME_SUM)]
        return counts, self._number(_STEP_TIME_SUM)

    def ask_for_step_times(self, steps: int) -> None:
        """Have the worker time its next steps; called by the server."""
        self.words[STEPS_TO_TIME] = steps
        self.words[ATTENTION] = 1.0

    def ask_for_frame(self) -> None:
        """Have the worker write a frame after its next step or reset; called by the server."""
        self.words[FRAME_STATE] = FrameState.NONE
        self.words[FRAME_WANTED] = 1.0
        self.words[ATTENTION] = 1.0

    @property
    def frame_state(self) -> FrameState:
        """What the worker has done about the frame."""
        try:
            return FrameState(int(self._number(FRAME_STATE)))
        except ValueError:
            return FrameState.NONE

    @property
    def frame_shape(self) -> tuple[int, int, int] | None:
        """The height, width and channels (1 or 3) of the frame; None if they are impossible."""
        height, width, channels = (int(self._number(each)) for each in (FRAME_HEIGHT, FRAME_WIDTH, FRAME_CHANNELS))
        possible = height and width and channels in (1, 3) and height * (1 + width * channels) <= FRAME_SIZE
        return (height, width, channels) if possible else None

    def told(self) -> bytes:
        """Return the words that describe the session's progress."""
        return bytes(self.words[:_TOLD_WORDS])

    def take_over(self, told: bytes, offset: float) -> None:
        """Show the progress of a session on another machine.

        Args:
            told: What :meth:`told` returned there.
            offset: This machine's clock minus the other machine's, in seconds.
        """
        theirs = memoryview(told).cast("d")[:_TOLD_WORDS]
        for word in _TAKEN_OVER:
            if word < len(theirs):
                self.words[word] = theirs[word]
        times = [BUSY_SINCE, LAST_ACTIVITY, FIRST_OBSERVATION, *range(_EPISODE_RING + 2, len(theirs), _EPISODE_WORDS)]
        for word in times:
            if word < len(theirs) and theirs[word]:
                self.words[word] = theirs[word] + offset

    def begin(self, operation: Operation) -> None:
        """Record that an operation of the environment begins."""
        self.words[OPERATION] = operation
        self.words[BUSY_SINCE] = monotonic()

    def end(self) -> None:
        """Record that the operation has ended, and that the worker waits for the client."""
        self.words[LAST_ACTIVITY] = monotonic()
        self.words[BUSY_SINCE] = 0.0

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Time a request of several operations within the context."""
        self.words[REQUEST_SINCE] = monotonic()
        try:
            yield
        finally:
            self.words[REQUEST_SINCE] = 0.0

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Answer the handshake within the context."""
        # Set before the reply is sent: if the environment crashes just then, the server must not send a second reply.
        self.words[ANSWERED] = 1.0
        try:
            yield
        except OSError:  # the client has left, or the environment has closed every descriptor
            self.words[ANSWERED] = 0.0
            raise

    def prepare_resume(self) -> None:
        """Clear the times until another process resumes the session, and forget the snapshots, which have ended."""
        for word in (BUSY_SINCE, LAST_ACTIVITY, OUT_OF_MEMORY, REQUEST_SINCE, SNAPSHOT_BYTES):
            self.words[word] = 0.0
        self.words[SNAPSHOTS_GONE] = self.words[SNAPSHOTS_TAKEN]

    def replace(self, descriptor: int) -> None:
        """Replace the memory with other memory, in this process only; all users of this object then use it.

        Args:
            descriptor: What :func:`create` returned; -1 for private memory with the same words.

        Raises:
            OSError: The memory cannot be mapped.
        """
        kept = bytes(self.words) if descriptor < 0 else None
        memory_mapping.replace(self._memory, descriptor)
        if kept is not None:
            self.words.cast("B")[:] = kept

    def close(self) -> None:
        """Unmap the memory."""
        self.words.release()
        self.recovery.release()
        self.frame.release()
        # If a session's buffer is in this memory, the memory is unmapped together with that buffer.
        with contextlib.suppress(BufferError):
            self._memory.close()
