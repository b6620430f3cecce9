"""The layout of the memory that a client and a server on the same host share to exchange requests and replies.

It holds one request and its reply, and may have capacity for further replies that the client still uses. It begins with
words: uint32 in native byte order, in different cache lines for different writers. docs/reference/protocol/sharing.md
describes them.

A side writes the number of a message after everything that it announces, and the other side reads the number first. On
x86-64 other cores see writes in that order. Other processors would need memory barriers, which Python does not have.
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

#: True if memory can be shared on this system.
IS_POSSIBLE = sys.platform == "linux" and os.uname().machine == "x86_64" and hasattr(os, "memfd_create")

#: Which word is which: the number of a request and how many bytes it has, where in its room the reply is to begin and
#: how many bytes it may have there, the number of a reply and how many bytes it has, whether a side waits at its
#: socket, and whether the client wishes the server to poll.
REQUEST, REQUEST_LENGTH, REPLY_AT, REPLY_MOST, REPLY, REPLY_LENGTH = 0, 1, 2, 3, 16, 17
CLIENT_WAITS, SERVER_WAITS, SERVER_POLLS = 32, 48, 64
#: The value of a side's word while it waits.
WAITS = 1
#: The greatest number of a request; 0 follows it.
NUMBERS = 0xFFFF_FFFF
#: The offset of requests; replies follow the capacity for requests.
REQUESTS = 4096
#: The prefix of the names of sockets that receive descriptors, in Linux's abstract namespace.
NAMES = "gymtwist-"
#: Bytes of the token that accompanies a descriptor.
TOKEN_SIZE = 16

_PAGE = 4096
#: How often to read a word before reading the clock.
_READS = 64
_give_way: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


def rooms(action: int | None, observation: int | None) -> tuple[int, int]:
    """Choose the capacity for a request and for a reply; it costs nothing until it is used.

    Args:
        action: Bytes of an action; None if the space does not determine them.
        observation: Bytes of an observation, likewise.
    """
    request, reply = ((1 << 16) + (size or 1 << 16) for size in (action, observation))
    return min(-request % _PAGE + request, MAX_ROOM), min(-reply % _PAGE + reply, MAX_ROOM)


def doorbell(framing: Framing) -> bytes:
    """Return the doorbell that wakes up a side waiting at its socket: an empty frame."""
    return b"0:," if framing is Framing.NETSTRING else bytes(4)


def create(request_room: int, reply_room: int) -> int:
    """Create memory that no process can shorten or extend.

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
    """Shared memory, for either side.

    Args:
        descriptor: The memory's descriptor, which may be closed afterwards.
        request_room: Capacity for a request in bytes, with its frame.
        reply_room: Capacity for replies in bytes, likewise.

    Attributes:
        memory: The whole memory; its slices are copies.
        view: The whole memory; its slices are views.
        words: The words at its start; see the constants of this module.
        request_room: Capacity for a request in bytes.
        reply_room: Capacity for replies in bytes.
        replies: The offset of replies.

    Raises:
        SharingRefused: The memory has a wrong size or is not sealed.
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

    def close(self) -> None:
        """Unmap the memory now, with the descriptor that the mapping has, rather than when it is collected."""
        self.words.release()
        self.view.release()
        with contextlib.suppress(BufferError):  # somebody has a view of it, and it is unmapped with that
            self.memory.close()


def _check_memory(descriptor: int, size: int) -> None:
    """Check the size of memory, and that no process can shorten it, which would kill the other side (SIGBUS).

    Raises:
        SharingRefused: The check failed.
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
    """Return two functions that, called in turn, are a memory barrier between earlier writes and later reads.

    A side that has written a number must then check whether the other one waits. A side that is about to wait announces
    it, and must then check for a number. If both checked before their writes are visible, neither would see the other.
    Python's only barriers are in acquiring and releasing a lock. Acquiring never blocks, since an interrupt between the
    two calls may have left the lock acquired; then releasing it is enough.
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
        # Let other processes have this core, and other threads of this process run.
        _give_way()
        if perf_counter() > until:
            return False
