"""The session status: a few words of memory in which a worker shows the server the state of its session.

Every word is a float64, written with one aligned 8-byte store, so a reader never sees half of one. Times are seconds
of ``time.monotonic``, the same clock in every process of a machine. Nothing is sent and nobody is woken up.

An environment can write to this memory, too. It then spoils what is known of its own session and nothing else: the
server finds no size but this one and takes no word that makes no sense.

Behind the words is what a session leaves behind if its process dies, for the one that goes on with it; see
:mod:`~gymtwist.worker.recovery_state`. The server does not look at it, but at the words that say how much there is.
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
from time import monotonic  # by name: an environment may replace what the module has

#: Where each word lies.
BUSY_SINCE, OPERATION, LAST_ACTIVITY, ANSWERED, STEPS, EPISODES, MADE, TAKEN, RECEIVED = range(9)
_WORDS_SIZE = mmap.ALLOCATIONGRANULARITY
#: Bytes of the recovery state: a make message, and behind it the longest message. They cost nothing until written.
RECOVERY_SIZE = 17 * 1024 * 1024
_SIZE = _WORDS_SIZE + RECOVERY_SIZE
#: No time and no count is as large; float64 has every integer up to here.
_LARGEST = 2.0**53


class Operation(enum.IntEnum):
    """What a child asks of its environment."""

    MAKE = 0  # the environment is being made; the opening is not answered yet
    RESET = 1
    STEP = 2
    SAMPLE = 3  # an action is drawn, or a space described
    MONITOR = 4
    RENDER = 5
    CLOSE = 6  # the client has gone, and the environment is being closed


def create() -> int:
    """Create the memory for the status of one session.

    Returns:
        A descriptor to map and to pass on.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gymtwist-status", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    if hasattr(os, "memfd_create"):
        # Were it shortened by an environment, the server would be killed by SIGBUS when it looks.
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
        """Read a time or a count; 0.0 if it can be neither."""
        value = self.words[word]
        return value if math.isfinite(value) and 0.0 <= value < _LARGEST else 0.0

    @property
    def busy_since(self) -> float | None:
        """When the environment was asked for what it has not done yet; None while it is the client's turn."""
        return self._number(BUSY_SINCE) or None

    @property
    def operation(self) -> Operation:
        """What the environment is doing, or did last."""
        try:
            return Operation(int(self._number(OPERATION)))
        except ValueError:
            return Operation.STEP

    @property
    def last_activity(self) -> float:
        """When it last became the client's turn; 0.0 before the session began."""
        return self._number(LAST_ACTIVITY)

    @property
    def answered(self) -> bool:
        """Whether the client has got the reply to its opening."""
        return bool(self.words[ANSWERED])

    @property
    def made(self) -> bool:
        """Whether the client has had an environment made, which can be made once more."""
        return bool(self.words[MADE])

    @property
    def can_be_resumed(self) -> bool:
        """Whether another process can go on where this one has died: what the client sent is not lost."""
        return self.words[TAKEN] >= 0.0

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return int(self._number(STEPS))

    @property
    def episodes(self) -> int:
        """How many episodes came to their end."""
        return int(self._number(EPISODES))

    def begin(self, operation: Operation) -> None:
        """Note that the environment is asked for something."""
        self.words[OPERATION] = operation
        self.words[BUSY_SINCE] = monotonic()

    def end(self) -> None:
        """Note that the environment has done it, and that it is the client's turn."""
        self.words[LAST_ACTIVITY] = monotonic()
        self.words[BUSY_SINCE] = 0.0

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Answer the opening within the context."""
        # Before it is sent: should the environment crash just then, the server must not answer once more.
        self.words[ANSWERED] = 1.0
        try:
            yield
        except OSError:  # the client has gone, or the environment has closed every descriptor: the server still can
            self.words[ANSWERED] = 0.0
            raise

    def prepare_resume(self) -> None:
        """Clear the times, until another process resumes the session."""
        self.words[BUSY_SINCE] = self.words[LAST_ACTIVITY] = 0.0

    def close(self) -> None:
        """Unmap the memory."""
        self.words.release()
        self.recovery.release()
        # Where a session's buffer lies in it, it goes with that.
        with contextlib.suppress(BufferError):
            self._memory.close()
