"""The vitals: a few words of memory in which a child shows the server how its session is doing.

Every word is a float64, written with one aligned 8-byte store, so a reader never sees half of one. Times are seconds
of ``time.monotonic``, the same clock in every process of a machine. Nothing is sent and nobody is woken up.
"""

from __future__ import annotations

import enum
import mmap
import os
import tempfile
import time

#: Where each word lies.
BUSY_SINCE, OPERATION, LAST_ACTIVITY, ANSWERED, STEPS, EPISODES, LAST_RETURN = range(7)
_WORDS = 8
_SIZE = 8 * _WORDS


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
    """Make the memory for one session's vitals.

    Returns:
        A descriptor to map and to pass on.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("gymtwist-vitals")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Vitals:
    """One session's vitals, seen from either side.

    Args:
        descriptor: What :func:`create` returned; it may be closed once the vitals are made.

    Attributes:
        words: The words themselves, for the child to write; see the constants of this module.
    """

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _SIZE)
        self.words = memoryview(self._memory).cast("d")

    @property
    def busy_since(self) -> float | None:
        """When the environment was asked for what it has not done yet; None while it is the client's turn."""
        return self.words[BUSY_SINCE] or None

    @property
    def operation(self) -> Operation:
        """What the environment is doing, or did last."""
        return Operation(int(self.words[OPERATION]))

    @property
    def last_activity(self) -> float:
        """When it last became the client's turn; 0.0 before the session began."""
        return self.words[LAST_ACTIVITY]

    @property
    def answered(self) -> bool:
        """Whether the client has got the reply to its opening."""
        return bool(self.words[ANSWERED])

    @property
    def steps(self) -> int:
        """How many steps were taken."""
        return int(self.words[STEPS])

    @property
    def episodes(self) -> int:
        """How many episodes came to their end."""
        return int(self.words[EPISODES])

    @property
    def last_return(self) -> float:
        """The sum of rewards of the last episode that came to its end."""
        return self.words[LAST_RETURN]

    def begin(self, operation: Operation) -> None:
        """Note that the environment is asked for something."""
        self.words[OPERATION] = operation
        self.words[BUSY_SINCE] = time.monotonic()

    def end(self) -> None:
        """Note that the environment has done it, and that it is the client's turn."""
        self.words[LAST_ACTIVITY] = time.monotonic()
        self.words[BUSY_SINCE] = 0.0

    def close(self) -> None:
        """Unmap the memory."""
        self.words.release()
        self._memory.close()
