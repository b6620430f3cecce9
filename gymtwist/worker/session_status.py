"""The session status: a few words of memory in which a worker shows the server the state of its session.

Every word is a float64, written with one aligned 8-byte store, so a reader never sees half of one. Times are seconds
of ``time.monotonic``, the same clock in every process of a machine. No message is sent, and no process is woken up.

An environment can write to this memory, too, but that affects only its own session: the memory's size is sealed, and
the server ignores words with impossible values.

The words are followed by the recovery state, from which another process resumes the session if this one dies; see
:mod:`~gymtwist.worker.recovery_state`. The server reads only the words that hold its size.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from time import monotonic  # by name: an environment may patch the module

#: The index of each word.
BUSY_SINCE, OPERATION, LAST_ACTIVITY, ANSWERED, STEPS, EPISODES, MADE, TAKEN, RECEIVED, OUT_OF_MEMORY = range(10)
REQUEST_SINCE = 10
_WORDS_SIZE = mmap.ALLOCATIONGRANULARITY
#: Bytes of the recovery state: a make message, and behind it the longest message. They cost nothing until written.
RECOVERY_SIZE = 17 * 1024 * 1024
_SIZE = _WORDS_SIZE + RECOVERY_SIZE
#: No time and no count is as large; float64 has every integer up to here.
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
        # If an environment could shorten the memory, reading it would kill the server with SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


class SessionStatus:
    """The status of one session, as both sides use it.

    Args:
        descriptor: What :func:`create` returned; it may be closed afterwards.
        with_recovery: Whether to map the recovery state, which the server does not use.

    Attributes:
        words: The words themselves, for the child to write; see the constants of this module.
        recovery: The memory of the recovery state; empty if it is not mapped.
    """

    def __init__(self, descriptor: int, *, with_recovery: bool = False) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE if with_recovery else _WORDS_SIZE)
        whole = memoryview(self._memory)
        self.words = whole[:_WORDS_SIZE].cast("d")
        self.recovery = whole[_WORDS_SIZE:]

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
        """The time when a request of several operations began, such as steps; None if there is none."""
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
        """True if the worker has not begun; impossible values of an environment count as a beginning."""
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
    def out_of_memory(self) -> bool:
        """True if the environment was refused memory, or the session's processes held too much together."""
        return self._number(OUT_OF_MEMORY) > 0.0

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return int(self._number(STEPS))

    @property
    def episodes(self) -> int:
        """The number of completed episodes."""
        return int(self._number(EPISODES))

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
        """Clear the times, until another process resumes the session."""
        for word in (BUSY_SINCE, LAST_ACTIVITY, OUT_OF_MEMORY, REQUEST_SINCE):
            self.words[word] = 0.0

    def close(self) -> None:
        """Unmap the memory."""
        self.words.release()
        self.recovery.release()
        # If a session's buffer is in this memory, it is unmapped together with that buffer.
        with contextlib.suppress(BufferError):
            self._memory.close()
