"""Reply slots: parts of shared memory for large replies, so that an observation needs no copy.

The server writes each large reply into the slot that the client chose, and the observation that the user gets is a view
of the slot. A slot is borrowed as long as that array exists, or anything that shares its memory: a slice, or an object
that another library made without a copy. All of these hold a reference to one array, the first one made over the slot,
and a weak reference tells when it is gone. If all slots are borrowed, the reply goes to the spare slot and is copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.client import fork_safety
from gymtwist.errors import ProtocolError
from gymtwist.protocol.framing import INT32_HEADER
from gymtwist.protocol.shared_memory import REPLY_AT, REPLY_MOST, SharedMemory

#: Bytes from which a reply counts as large: it is read without a copy, and always uses shared memory. Smaller replies
#: use it only if polling pays off, because the socket is as fast otherwise.
LARGE = 16 * 1024
#: How many observations can be borrowed at once: as many as a learner, or a wrapper that stacks them, uses.
_SLOTS = 8
#: The maximum bytes of memory for all slots; the server may limit what it maps.
_MAX_MEMORY = 32 << 20
#: Bytes of a cache line.
_CACHE_LINE = 64
#: Bytes of an Int32 frame before the observation in a step's reply, without the header of the MessagePack ``bin``,
#: which takes 5 bytes for 65,536 bytes or more, and 3 for fewer.
_BEFORE_OBSERVATION = INT32_HEADER + len(b"\x85\xa2op\xa4step\xabobservation")


def max_slots(reply_room: int) -> int:
    """Return how many slots fit into the memory, including the spare one.

    Args:
        reply_room: Bytes of a reply, with its frame.
    """
    return max(1, min(_SLOTS + 1, _MAX_MEMORY // reply_room))


def is_borrowed(buffer: Any) -> bool:
    """Return True if a buffer is a view of a slot, whose bytes do not change while anything references it."""
    return type(buffer) is memoryview and isinstance(buffer.obj, np.ndarray)


def _free() -> None:
    """Stand in for a reference to the borrower of a free slot."""


def _lost() -> bool:
    """Stand in for a reference to a borrower in a forked process, which this process cannot track."""
    return True


class ReplySlots:
    """The slots of a shared memory.

    Args:
        shared: The memory.
        count: How many slots, including the spare one, share the capacity for replies.
        usual: Bytes of a usual observation.
    """

    def __init__(self, shared: SharedMemory, count: int, usual: int) -> None:
        self._shared, self._words = shared, shared.words
        size = shared.reply_room // count
        # Align the observation to a cache line, assuming that the server writes its reply as gymtwist does.
        shift = -(_BEFORE_OBSERVATION + (5 if usual > 0xFFFF else 3)) % _CACHE_LINE
        self._starts = [index * size + shift for index in range(count)]
        #: For each slot except the spare one, which is last, a function that returns None once the slot is free.
        self._borrowers: list[Callable[[], object]] = [_free] * (count - 1)
        self._chosen = 0
        self._capacity = size - shift
        shared.words[REPLY_MOST] = self._capacity

    def choose(self) -> None:
        """Tell the server the slot for its next reply: the first free one, or the spare one if none is free."""
        index = 0
        for borrower in self._borrowers:
            if borrower() is None:
                break
            index += 1
        self._chosen = index
        self._words[REPLY_AT] = self._starts[index]

    def reply(self, length: int) -> bytes | memoryview:
        """Return the reply in the slot chosen last; a view of a large reply borrows the slot.

        Args:
            length: Bytes of the reply.

        Raises:
            ProtocolError: The reply does not fit into the slot.
        """
        if length > self._capacity:
            raise ProtocolError(f"a reply in shared memory has {length} bytes: expected {self._capacity} at most")
        index, start = self._chosen, self._shared.replies + self._starts[self._chosen]
        if length < LARGE:
            return self._shared.memory[start : start + length]
        if index == len(self._borrowers):
            return self._shared.view[start : start + length]
        forks = fork_safety.finished_forks()
        array = np.frombuffer(self._shared.memory, np.uint8, length, start)
        self._borrowers[index] = weakref.ref(array)
        if not fork_safety.no_fork_since(forks):
            # Another thread has forked since, so the child may have this array.
            self._borrowers[index] = _lost
        return array.data

    def before_fork(self) -> None:
        """Never reuse borrowed slots: the child may use them indefinitely."""
        borrowers = self._borrowers
        # One by one, because another thread may borrow meanwhile; at worst, a free slot is lost.
        for index in range(len(borrowers)):
            if borrowers[index]() is not None:
                borrowers[index] = _lost

    @property
    def are_lost(self) -> bool:
        """True if forks have lost all slots except the spare one."""
        return self._borrowers.count(_lost) == len(self._borrowers)
