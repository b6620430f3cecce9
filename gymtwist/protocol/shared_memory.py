"""Memory that a client and a server on the same host share, and through which requests and replies pass.

It holds one request and its reply, and may have room for replies that the client goes on using. In front of them lie
words, uint32 of the machine's own byte order, and each that another side writes to has a line of the processor's cache
to itself. docs/reference/protocol/sharing.md says what they are for.

A number is written behind all that it announces, and whoever reads it reads the rest afterwards. Processors of the
x86-64 family let others see it in that order without being asked to; others need not, and Python cannot ask them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import repeat
from threading import Lock
from time import perf_counter  # by name: an environment may replace what the module has

from gymtwist.errors import SharingRefused
from gymtwist.protocol.framing import Framing
from gymtwist.protocol.messages import MAX_ROOM

#: Whether memory can be shared on this system.
IS_POSSIBLE = sys.platform == "linux" and os.uname().machine == "x86_64" and hasattr(os, "memfd_create")

#: Which word is which: the number of a request and how many bytes it has, where in its room the reply is to begin and
#: how many bytes it may have there, the number of a reply and how many bytes it has, whether a side waits at its
#: socket, and whether the client wishes the server to poll.
REQUEST, REQUEST_LENGTH, REPLY_AT, REPLY_MOST, REPLY, REPLY_LENGTH = 0, 1, 2, 3, 16, 17
CLIENT_WAITS, SERVER_WAITS, SERVER_POLLS = 32, 48, 64
#: What a word of waiting says besides 0; the second is a client's only: it polls for a large reply behind a bell.
WAITS, WAITS_TO_POLL = 1, 2
#: The greatest number; 0 follows it.
NUMBERS = 0xFFFF_FFFF
#: Where requests begin; replies begin where their room ends.
REQUESTS = 4096
#: How the names of sockets begin at which a server takes memory: in Linux's abstract namespace.
NAMES = "gymtwist-"
#: Bytes of the token with which memory comes.
TOKEN_SIZE = 16

_PAGE = 4096
#: How often a word is read before the clock is.
_READS = 64
_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def rooms(action: int | None, observation: int | None) -> tuple[int, int]:
    """Choose how much room there is for a request and for a reply: it costs nothing until it is used.

    Args:
        action: The bytes of an action; None if the space does not fix that.
        observation: The bytes of an observation, likewise.
    """
    request, reply = ((1 << 16) + (size or 1 << 16) for size in (action, observation))
    return min(-request % _PAGE + request, MAX_ROOM), min(-reply % _PAGE + reply, MAX_ROOM)


def doorbell(framing: Framing) -> bytes:
    """Return what is sent through the socket to whoever waits there: a frame with nothing in it."""
    return b"0:," if framing is Framing.NETSTRING else bytes(4)


def create(request_room: int, reply_room: int) -> int:
    """Make memory that can be neither shortened nor extended, by whoever has it.

    Returns:
        A descriptor.
    """
    import fcntl

    descriptor = os.memfd_create("gymtwist-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, REQUESTS + request_room + reply_room)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class SharedMemory:
    """Shared memory, seen from either side.

    Args:
        descriptor: Of the memory; it may be closed once this is made.
        request_room: Bytes that a request may have, with its frame.
        reply_room: Bytes that a reply may have, likewise.

    Attributes:
        memory: All of it, for slices that are copies.
        view: All of it, for slices that are not.
        words: See the constants of this module.
        request_room: As given.
        reply_room: As given.
        replies: Where replies begin.

    Raises:
        SharingRefused: The memory is not as it must be.
    """

    def __init__(self, descriptor: int, request_room: int, reply_room: int) -> None:
        size = REQUESTS + request_room + reply_room
        _check_memory(descriptor, size)
        try:
            self.memory = mmap.mmap(descriptor, size)
        except (OSError, ValueError) as error:
            raise SharingRefused(f"the memory cannot be mapped: {error}") from error
        self.view = memoryview(self.memory)
        self.words = self.view[:REQUESTS].cast("I")
        self.request_room, self.reply_room = request_room, reply_room
        self.replies = REQUESTS + request_room


def _check_memory(descriptor: int, size: int) -> None:
    """Check that memory has its size and keeps it.

    Raises:
        SharingRefused: It has not, or does not: whoever shortened it later would kill the other side (SIGBUS).
    """
    import fcntl

    seals = 0
    with contextlib.suppress(OSError):  # no memory of memfd_create
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    if not seals & fcntl.F_SEAL_SHRINK:
        raise SharingRefused("the memory could be shortened; make it by memfd_create and seal it (F_SEAL_SHRINK)")
    found = os.fstat(descriptor).st_size
    if found != size:
        raise SharingRefused(f"the memory has {found} bytes: expected {size}, as its rooms say")


def fence() -> tuple[Callable[[], bool], Callable[[], None]]:
    """Return two functions: once both were called in turn, what was written before is seen before any word is read.

    A side that writes a number must then look whether the other one waits; one that is about to wait says so, and must
    then look for a number. Were both to look first, neither would see the other. To take a lock and to release it are
    the instructions that Python has to keep that order. It is never waited for the lock: an interrupt between the two
    may have left it taken, and to release it is enough.
    """
    lock = Lock()
    return partial(lock.acquire, False), lock.release


def poll_word(words: memoryview, word: int, number: int, seconds: float) -> bool:
    """Poll a word until it has a value.

    Args:
        words: The words of shared memory.
        word: The index of the word.
        number: The value.
        seconds: How long to poll.

    Returns:
        True if the word got the value in time.
    """
    until = perf_counter() + seconds
    while True:
        for _ in repeat(None, _READS):
            if words[word] == number:
                return True
        # Whoever else wants this core is to have it, and other threads of this process are to run.
        _give_way()
        if perf_counter() > until:
            return False
