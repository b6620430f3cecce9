"""Places in shared memory: an observation that lies in one is the user's, and never changes but by the user."""

from __future__ import annotations

import gc
import mmap
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gymtwist.client import ResetNeeded, forks
from gymtwist.client.places import LARGE, Places, is_lent, most_places
from gymtwist.errors import ProtocolError
from gymtwist.wire import sharing as wire_sharing
from gymtwist.wire.polling import cores
from gymtwist.wire.sharing import REPLY_AT, REPLY_MOST, SharedMemory

from .client_alike import Remote, RemoteVec, assert_same
from .client_environments import SIGHTS
from .sharing_client import SEED, on, passed

pytest_plugins = ("tests.client_fixtures", "tests.sharing_fixtures")
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


def lent(observation: Any) -> bool:
    """Tells whether an observation lies in a place: what NumPy says of an array that was copied is other."""
    return isinstance(observation.base, np.ndarray) and isinstance(observation.base.base, (mmap.mmap, memoryview))


class Sharing:
    """A client and a server that fills as much of each place as it may."""

    def __init__(self, shared: SharedMemory) -> None:
        """Takes their memory."""
        self.shared = shared
        self.places = Places(shared, COUNT, 2000)
        self.content = random.Random(4)

    def reply(self) -> bytes | memoryview:
        """Passes a reply."""
        self.places.choose()
        at, most = (self.shared.words[word] for word in (REPLY_AT, REPLY_MOST))
        start = self.shared.replies + at
        self.shared.memory[start : start + most] = self.content.randbytes(most)
        return self.places.reply(most)

    def observation(self) -> Any:
        """Passes an observation; returns it."""
        buffer = self.reply()[:2000]
        return np.ndarray(2000, np.uint8, buffer if is_lent(buffer) else bytearray(buffer))


@given(st.lists(st.one_of(st.sampled_from(list(USES)), st.integers(0, 6), st.just("forked"), st.just("read"))))
@settings(deadline=None)
def test_what_is_in_use_stays_as_it_is(doings: list[str | int]) -> None:
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


def test_places_are_used_again(shared: SharedMemory) -> None:
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
    assert [lent(each) for each in kept] == [True] * (COUNT - 1) + [False] * 3
    at = shared.words[REPLY_AT]
    sharing.observation()
    assert shared.words[REPLY_AT] == at
    del kept[1]
    assert lent(sharing.observation())


def test_places_do_not_overlap_and_lie_in_their_room(shared: SharedMemory) -> None:
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
    places = Places(shared, COUNT, 2000)
    places.choose()
    with pytest.raises(ProtocolError, match=r"has 32769 bytes: expected 32\d{3} at most"):
        places.reply(ROOM + 1)


@pytest.mark.parametrize("reply_room", [4096, 1 << 17, 1 << 22, 1 << 27])
def test_there_is_a_bound_to_all_of_them(reply_room: int) -> None:
    """Large observations have fewer places, and the largest none."""
    count = most_places(reply_room)
    assert 1 <= count <= 9
    assert count == 1 or count * reply_room <= 1 << 25


# With a real server


@pytest.fixture
def kept() -> Iterator[list[tuple[Any, bytes]]]:
    """Takes what is kept of observations, and their bytes when they came; they must not have changed in the end."""
    kept: list[tuple[Any, bytes]] = []
    yield kept
    assert kept
    for use, content in kept:
        assert bytes(use) == content


@pytest.mark.parametrize("name", [name for name in SIGHTS if name != "Dict"])
def test_an_observation_is_not_copied_and_all_the_same_ones_own(
    remote: Remote, way: str, name: str, kept: list[tuple[Any, bytes]]
) -> None:
    """Whatever its dtype; it can be written to, and is as a copy would be."""
    theirs, ours = (on(which, remote, f"Sight/{name}-v0") for which in (way, "socket"))
    assert theirs.observation_space.sample().nbytes >= LARGE
    drawn, found = random.Random(8), []
    for episode in range(15):
        assert_same(theirs.reset(seed=SEED + episode), ours.reset(seed=SEED + episode))
        for _ in range(8):
            (observation, *rest), expected = theirs.step(1), ours.step(1)
            assert_same((observation, *rest), expected)
            found.append(lent(observation))
            if drawn.random() < 0.3:
                observation *= 0
                assert not observation.any()
            use = drawn.choice([observation, observation[3:5], observation[::2], observation.T])
            kept.append((use, bytes(use)))
            drawn.shuffle(kept)
            del kept[drawn.randrange(1, 14) :]
    # Some came when all places were in use.
    assert {True, False} == set(found)


def test_several_are_not_copied_either(remote_vec: RemoteVec, way: str) -> None:
    """The observations of environments that step together, in one process."""
    theirs, ours = (on(which, remote_vec, "Sight/Bytes-v0", 3) for which in (way, "socket"))
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    came = [theirs.step([1, 0, 1]) for _ in range(6)]
    assert all(lent(each[0]) for each in came)
    assert_same(came, [ours.step([1, 0, 1]) for _ in range(6)])


def test_what_is_observed_outlives_its_environment(remote: Remote, way: str, kept: list[tuple[Any, bytes]]) -> None:
    """As anything that one got; and it stays when memory is shared anew, or the connection is closed."""
    for _ in range(2):
        theirs = on(way, remote, "Sight/Bytes-v0")
        theirs.reset(seed=SEED)
        for _ in range(3):
            observation = theirs.step(1)[0]
            assert lent(observation)
            kept.append((observation, observation.tobytes()))
        theirs._session._share()
        theirs.step(1)
        theirs.close()
        del theirs, observation
        gc.collect()


def test_other_replies_leave_it_alone(remote: Remote, way: str, kept: list[tuple[Any, bytes]]) -> None:
    """Short ones, those that have no room in a place, and errors."""
    theirs = on(way, remote, "Sight/Bytes-v0", render_mode="rgb_array")
    theirs.reset(seed=SEED)
    for _ in range(4):
        observation = theirs.step(1)[0]
        kept.append((observation, observation.tobytes()))
        theirs.sample()
        theirs.render()
        theirs.step_many(1, 1, observations="all")
    with pytest.raises(Exception, match="reset"):
        theirs.step(1)
    theirs.reset(seed=SEED)
    assert theirs.step_many(1, 8, observations="all").observations.nbytes > 200_000
    assert all(lent(use) for use, _ in kept)
    assert passed(theirs) > 10


def forked(does: Callable[[], bool]) -> Callable[[], bool]:
    """Forks a process that does something once it is told to, and ends; returns what tells it, and what it found."""
    (to_child, parent), (to_parent, child) = os.pipe(), os.pipe()
    process = os.fork()
    if not process:
        os.close(parent)
        found = False
        try:
            found = bool(os.read(to_child, 1)) and does()
        finally:
            os.write(child, b"y" if found else b"n")
            os._exit(0)
    os.close(to_child)
    os.close(child)

    def tell() -> bool:
        os.write(parent, b"!")
        os.close(parent)
        with open(to_parent, "rb") as answer:
            found = answer.read()
        assert os.waitpid(process, 0)[1] == 0
        return found == b"y"

    return tell


def test_a_process_that_is_forked_has_what_it_had(remote: Remote, way: str) -> None:
    """Its parent goes on, and lets go of what the other still has."""
    theirs = on(way, remote, "Sight/Bytes-v0")
    theirs.reset(seed=SEED)
    observations = [theirs.step(1)[0] for _ in range(3)]
    assert all(map(lent, observations))
    content = [each.tobytes() for each in observations]
    tell = forked(lambda: [each.tobytes() for each in observations] == content)
    observations.clear()
    try:
        for _ in range(5):
            theirs.reset()
            for _ in range(8):
                assert theirs.step(1)[0].tobytes() not in content
    finally:
        same = tell()
    assert same


def test_places_that_processes_have_are_replaced(remote: Remote, way: str) -> None:
    """At the next episode, once there are no others: what was forked may use them for ever."""
    theirs = on(way, remote, "Sight/Bytes-v0")
    theirs.reset(seed=SEED)
    observations = []
    for _ in range(8):
        observations.append(theirs.step(1)[0])
        assert lent(observations[-1])
    content = [each.tobytes() for each in observations]
    tell = forked(lambda: [each.tobytes() for each in observations] == content)
    observations.clear()
    theirs.reset()
    found = [lent(theirs.step(1)[0]) for _ in range(8)]
    assert tell()
    assert found == [True] * 8


@pytest.mark.parametrize("when", ["while", "behind"])
def test_what_another_thread_got_while_it_was_forked_stays(
    shared: SharedMemory, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """It came behind the look at what is in use, and before the fork or its end."""
    sharing = Sharing(shared)
    array = np.frombuffer

    def frombuffer(*arguments: Any) -> Any:
        forks._begin()
        if when == "behind":
            forks._end()
        return array(*arguments)

    with monkeypatch.context() as context:
        context.setattr(np, "frombuffer", frombuffer)
        sharing.observation()
    if when == "while":
        forks._end()
    first = shared.words[REPLY_AT]
    sharing.observation()
    assert shared.words[REPLY_AT] != first
    sharing.observation()
    assert shared.words[REPLY_AT] != first


def test_errors_that_are_kept_keep_no_place(remote: Remote, way: str) -> None:
    """Nor does anything else that is short."""
    theirs = on(way, remote, "Sight/Bytes-v0")
    theirs.reset(seed=SEED)
    kept = []
    for _ in range(8):
        theirs.step(1)
    for _ in range(20):
        with pytest.raises(ResetNeeded) as caught:
            theirs.step(1)
        kept.append(caught.value)
    theirs.reset()
    assert lent(theirs.step(1)[0])


def test_many_episodes_however_it_waits(remote: Remote, kept: list[tuple[Any, bytes]]) -> None:
    """It chooses for itself between waking up early, polling and sleeping, and tries each again."""
    theirs, ours = remote("Sight/Bytes-v0"), remote("Sight/Bytes-v0", shared_memory=False)
    trials = []
    drawn = random.Random(3)
    for episode in range(400):
        assert_same(theirs.reset(seed=episode), ours.reset(seed=episode))
        for _ in range(8):
            stepped = theirs.step(1)
            assert_same(stepped, ours.step(1))
            if drawn.random() < 0.1:
                kept.append((stepped[0], stepped[0].tobytes()))
                del kept[: -drawn.randrange(1, 10)]
            trials.append(theirs._session.connection._polling.is_trial)
    # One at first, and one again; none where there is nothing to choose from.
    assert set(trials) == ({True, False} if cores() > 1 else {False})
