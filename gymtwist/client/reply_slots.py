"""Where in shared memory large replies are to lie, so that an observation in one of them needs no copy.

A place is the user's for as long as anything there is in use: the array that came to lie there, a part of it, or what
another library made of it without a copy. All of these hold the one array that was made of the place first, and it is
known when that has gone. Then the next reply may lie there. Where every place is in use, it lies in one that is
nobody's, and is copied.
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

#: Replies of so many bytes are not copied before they are read; and they go through the memory in any case, while
#: smaller ones do where polling pays: otherwise the socket is as fast.
LARGE = 16 * 1024
#: How many observations can be in use without a copy: those that a learner, or a wrapper that stacks them, has at once.
_PLACES = 8
#: Bytes of memory at most: the server may have a limit to what it maps.
_MOST = 32 << 20
#: Bytes of a line of the processor's cache.
_LINE = 64
#: Bytes of an Int32 frame that lie before the observation in a reply to a step, but for what MessagePack has before
#: many bytes: 5 of them from 65,536 on, else 3.
_BEFORE = INT32_HEADER + len(b"\x85\xa2op\xa4step\xabobservation")


def max_slots(reply_room: int) -> int:
    """Tell for how many replies at once there can be room.

    Args:
        reply_room: Bytes that one of them may have, with its frame.
    """
    return max(1, min(_PLACES + 1, _MOST // reply_room))


def is_borrowed(buffer: Any) -> bool:
    """Tell whether bytes lie in a place, and stay there as they are for as long as anything uses them."""
    return type(buffer) is memoryview and isinstance(buffer.obj, np.ndarray)


def _nobody() -> None:
    return None


def _somebody_else() -> bool:
    return True


class ReplySlots:
    """Places in shared memory.

    Args:
        shared: The memory.
        count: How many of them share its room for replies.
        usual: Bytes of an observation.
    """

    def __init__(self, shared: SharedMemory, count: int, usual: int) -> None:
        self._shared, self._words = shared, shared.words
        size = shared.reply_room // count
        # So that the observation begins with a line of the processor's cache, if the server has it where gymtwist has.
        shift = -(_BEFORE + (5 if usual > 0xFFFF else 3)) % _LINE
        self._starts = [index * size + shift for index in range(count)]
        #: Who tells whether the last reply that lay in a place is still in use; nobody's comes last.
        self._users: list[Callable[[], object]] = [_nobody] * (count - 1)
        self._index = 0
        self._room = size - shift
        shared.words[REPLY_MOST] = self._room

    def choose(self) -> None:
        """Choose where the next reply is to lie."""
        index = 0
        for user in self._users:
            if user() is None:
                break
            index += 1
        self._index = index
        self._words[REPLY_AT] = self._starts[index]

    def reply(self, length: int) -> bytes | memoryview:
        """Return the reply that lies in the place that was chosen last: it stays there, if that is worth it.

        Args:
            length: How many bytes it has.

        Raises:
            ProtocolError: It has more than there is room for.
        """
        if length > self._room:
            raise ProtocolError(f"a reply in shared memory has {length} bytes: expected {self._room} at most")
        index, start = self._index, self._shared.replies + self._starts[self._index]
        if length < LARGE:
            return self._shared.memory[start : start + length]
        if index == len(self._users):
            return self._shared.view[start : start + length]
        forked = fork_safety.ended()
        whole = np.frombuffer(self._shared.memory, np.uint8, length, start)
        self._users[index] = weakref.ref(whole)
        if not fork_safety.is_alone(forked):
            # By another thread: the other process may have it, too.
            self._users[index] = _somebody_else
        return whole.data

    def before_fork(self) -> None:
        """Leave what is in use alone from now on: another process is about to use it as well."""
        users = self._users
        # Each by itself, as another thread may go on: at the worst a place is lost that nobody uses.
        for index in range(len(users)):
            if users[index]() is not None:
                users[index] = _somebody_else

    @property
    def are_gone(self) -> bool:
        """Whether there are none left for the user, as processes were forked that may use them for ever."""
        return self._users.count(_somebody_else) == len(self._users)
