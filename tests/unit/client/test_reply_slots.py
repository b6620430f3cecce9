"""Places in shared memory: which one is next, and that what is in use is left alone."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gymtwist.client import fork_safety
from gymtwist.client.reply_slots import LARGE, ReplySlots, is_borrowed, max_slots
from gymtwist.errors import ProtocolError
from gymtwist.protocol import shared_memory as wire_sharing
from gymtwist.protocol.shared_memory import REPLY_AT, REPLY_MOST, SharedMemory
from tests.support.shared_memory_env import borrowed

pytestmark = pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")

#: Room for one reply, and how many have room.
ROOM, COUNT = 2 * LARGE, 4

#: What users may keep of an array in place of the array itself.
USES: dict[str, Callable[[Any], Any]] = {
    "all": lambda array: array,
    "a part": lambda array: array[100:200],
    "a part of a part": lambda array: array.reshape(-1, 2)[:, 1][::3],
    "another type": lambda array: array.view(np.int16),
    "a buffer": lambda array: memoryview(array)[10:],
    "what was made of a buffer": lambda array: np.frombuffer(array.data, np.uint8)[5:],
    "the array below": lambda array: array.base,
}


@pytest.fixture
def shared() -> SharedMemory:
    """Memory."""
    return _shared()


def _shared() -> SharedMemory:
    descriptor = wire_sharing.create(4096, COUNT * ROOM)
    try:
        return SharedMemory(descriptor, 4096, COUNT * ROOM)
    finally:
        os.close(descriptor)


class Sharing:
    """A client and a server that fills as much of each place as it may."""

    def __init__(self, shared: SharedMemory) -> None:
        """Take their memory."""
        self.shared = shared
        self.places = ReplySlots(shared, COUNT, 2000)
        self.content = random.Random(4)

    def reply(self) -> bytes | memoryview:
        """Pass a reply."""
        self.places.choose()
        at, most = (self.shared.words[word] for word in (REPLY_AT, REPLY_MOST))
        start = self.shared.replies + at
        self.shared.memory[start : start + most] = self.content.randbytes(most)
        return self.places.reply(most)

    def observation(self) -> Any:
        """Pass an observation; return it."""
        buffer = self.reply()[:2000]
        return np.ndarray(2000, np.uint8, buffer if is_borrowed(buffer) else bytearray(buffer))


@given(st.lists(st.one_of(st.sampled_from(list(USES)), st.integers(0, 6), st.just("forked"), st.just("read"))))
def test_slots_in_use_do_not_change(doings: list[str | int]) -> None:
    """Whatever is kept of observations, for however long, in whichever order it is let go of."""
    sharing, kept = Sharing(_shared()), list[tuple[Any, bytes]]()
    for doing in doings:
        if doing == "forked":
            sharing.places.before_fork()
        elif doing == "read":
            sharing.observation()
        elif isinstance(doing, int):
            del kept[doing : doing + 1]
        else:
            use = USES[doing](sharing.observation())
            kept.append((use, bytes(use)))
        for use, content in kept:
            assert bytes(use) == content


def test_slots_are_used_again(shared: SharedMemory) -> None:
    """As soon as nothing there is in use: the first that is free, so that few are touched."""
    sharing = Sharing(shared)
    at = []
    previous = None
    for _ in range(10):
        previous = sharing.observation()
        at.append(shared.words[REPLY_AT])
    assert previous is not None
    assert at == at[:2] * 5
    assert len(set(at)) == 2


def test_where_all_are_in_use_it_is_copied(shared: SharedMemory) -> None:
    """From what lies where nobody keeps it; until one is free."""
    sharing = Sharing(shared)
    kept = [sharing.observation() for _ in range(COUNT + 2)]
    assert [borrowed(each) for each in kept] == [True] * (COUNT - 1) + [False] * 3
    at = shared.words[REPLY_AT]
    sharing.observation()
    assert shared.words[REPLY_AT] == at
    del kept[1]
    assert borrowed(sharing.observation())


def test_slots_do_not_overlap_and_stay_within_their_room(shared: SharedMemory) -> None:
    """All of them, with as many bytes as the server may use there."""
    sharing = Sharing(shared)
    kept, ends = [], [0]
    for _ in range(COUNT):
        kept.append(sharing.reply())
        at, most = shared.words[REPLY_AT], shared.words[REPLY_MOST]
        assert ends[-1] <= at
        ends.append(at + most)
    assert ends[-1] <= shared.reply_room


def test_a_reply_that_is_longer_than_its_place_breaks_the_protocol(shared: SharedMemory) -> None:
    """It would reach into the next one."""
    places = ReplySlots(shared, COUNT, 2000)
    places.choose()
    with pytest.raises(ProtocolError, match=r"has 32769 bytes: expected 32\d{3} at most"):
        places.reply(ROOM + 1)


@pytest.mark.parametrize("reply_room", [4096, 1 << 17, 1 << 22, 1 << 27])
def test_there_is_a_bound_to_all_of_them(reply_room: int) -> None:
    """Large observations have fewer places, and the largest none."""
    count = max_slots(reply_room)
    assert 1 <= count <= 9
    assert count == 1 or count * reply_room <= 1 << 25


@pytest.mark.parametrize("when", ["while", "behind"])
def test_what_another_thread_got_while_it_was_forked_stays(
    shared: SharedMemory, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """It came behind the look at what is in use, and before the fork or its end."""
    sharing = Sharing(shared)
    array = np.frombuffer

    def frombuffer(*arguments: Any) -> Any:
        fork_safety._before_fork()
        if when == "behind":
            fork_safety._after_fork_in_parent()
        return array(*arguments)

    with monkeypatch.context() as context:
        context.setattr(np, "frombuffer", frombuffer)
        sharing.observation()
    if when == "while":
        fork_safety._after_fork_in_parent()
    first = shared.words[REPLY_AT]
    sharing.observation()
    assert shared.words[REPLY_AT] != first
    sharing.observation()
    assert shared.words[REPLY_AT] != first
