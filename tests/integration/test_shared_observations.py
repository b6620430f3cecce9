"""Observations that lie in shared memory: they are the user's, and never change but by the user."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gymtwist.client import ResetNeeded
from gymtwist.client.reply_slots import LARGE
from gymtwist.protocol import shared_memory as wire_sharing
from gymtwist.protocol.adaptive_waiting import cores
from tests.support.client_equivalence import Remote, RemoteVec, assert_same
from tests.support.shared_memory_env import SEED, borrowed, connections, on, passed

pytest_plugins = ("tests.support.client_fixtures", "tests.support.shared_memory_fixtures")
pytestmark = [
    pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only"),
    pytest.mark.usefixtures("few_objects"),
]


@pytest.fixture
def kept() -> Iterator[list[tuple[Any, bytes]]]:
    """Collect views of observations with their bytes at arrival; at the end they must be unchanged."""
    kept: list[tuple[Any, bytes]] = []
    yield kept
    assert kept
    for use, content in kept:
        assert bytes(use) == content


@pytest.mark.parametrize(
    ("name", "way"), [("Bytes", "polling"), ("Bytes", "waiting"), ("Singles", "waiting"), ("Doubles", "polling")]
)
def test_an_observation_is_not_copied_and_belongs_to_the_user(
    remote: Remote, way: str, name: str, kept: list[tuple[Any, bytes]]
) -> None:
    """It can be written to and equals a copy, for each dtype."""
    theirs, ours = (on(which, remote, f"Sight/{name}-v0") for which in (way, "socket"))
    assert theirs.observation_space.sample().nbytes >= LARGE
    drawn, found = random.Random(8), []
    for episode in range(15):
        assert_same(theirs.reset(seed=SEED + episode), ours.reset(seed=SEED + episode))
        for _ in range(8):
            (observation, *rest), expected = theirs.step(1), ours.step(1)
            assert_same((observation, *rest), expected)
            found.append(borrowed(observation))
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
    """The observations of a vector environment in one process are views as well."""
    theirs, ours = (on(which, remote_vec, "Sight/Bytes-v0", 3) for which in (way, "socket"))
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    came = [theirs.step([1, 0, 1]) for _ in range(6)]
    assert all(borrowed(each[0]) for each in came)
    assert_same(came, [ours.step([1, 0, 1]) for _ in range(6)])


def test_an_observation_outlives_its_environment(remote: Remote, way: str, kept: list[tuple[Any, bytes]]) -> None:
    """It stays unchanged after memory is shared again or the connection is closed."""
    for _ in range(2):
        theirs = on(way, remote, "Sight/Bytes-v0")
        theirs.reset(seed=SEED)
        for _ in range(3):
            observation = theirs.step(1)[0]
            assert borrowed(observation)
            kept.append((observation, observation.tobytes()))
        theirs._session._share()
        theirs.step(1)
        theirs.close()
        del theirs, observation
        gc.collect()


def test_other_replies_leave_it_alone(remote: Remote, way: str, kept: list[tuple[Any, bytes]]) -> None:
    """Short replies, replies larger than a slot, and errors do not overwrite an observation."""
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
    assert all(borrowed(use) for use, _ in kept)
    assert passed(theirs) > 10


def forked(does: Callable[[], bool]) -> Callable[[], bool]:
    """Forks a process that waits for a signal, evaluates a predicate and exits; return a function for the signal."""
    (to_child, parent), (to_parent, worker) = os.pipe(), os.pipe()
    process = os.fork()
    if not process:
        os.close(parent)
        found = False
        try:
            found = bool(os.read(to_child, 1)) and does()
        finally:
            os.write(worker, b"y" if found else b"n")
            os._exit(0)
    os.close(to_child)
    os.close(worker)

    def tell() -> bool:
        os.write(parent, b"!")
        os.close(parent)
        with open(to_parent, "rb") as answer:
            found = answer.read()
        assert os.waitpid(process, 0)[1] == 0
        return found == b"y"

    return tell


def test_a_forked_process_keeps_its_observations(remote: Remote, way: str) -> None:
    """The parent continues and releases observations that the forked process still uses."""
    theirs = on(way, remote, "Sight/Bytes-v0")
    theirs.reset(seed=SEED)
    observations = [theirs.step(1)[0] for _ in range(3)]
    assert all(map(borrowed, observations))
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


def test_slots_that_forked_processes_hold_are_replaced(remote: Remote, way: str) -> None:
    """The next episode gets new slots, since a forked process may use the old ones forever."""
    theirs = on(way, remote, "Sight/Bytes-v0")
    theirs.reset(seed=SEED)
    observations = []
    for _ in range(8):
        observations.append(theirs.step(1)[0])
        assert borrowed(observations[-1])
    content = [each.tobytes() for each in observations]
    tell = forked(lambda: [each.tobytes() for each in observations] == content)
    observations.clear()
    theirs.reset()
    found = [borrowed(theirs.step(1)[0]) for _ in range(8)]
    assert tell()
    assert found == [True] * 8


def test_errors_that_are_kept_keep_no_place(remote: Remote, way: str) -> None:
    """A short reply occupies no slot, even while its error is referenced."""
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
    assert borrowed(theirs.step(1)[0])


def test_many_episodes_however_it_waits(remote: Remote, kept: list[tuple[Any, bytes]]) -> None:
    """Adaptive waiting tries each of its modes again, and results stay correct."""
    theirs, ours = remote("Sight/Bytes-v0"), remote("Sight/Bytes-v0", shared_memory=False)
    trials = []
    drawn = random.Random(3)
    for episode in range(150):
        assert_same(theirs.reset(seed=episode), ours.reset(seed=episode))
        for _ in range(8):
            stepped = theirs.step(1)
            assert_same(stepped, ours.step(1))
            if drawn.random() < 0.1:
                kept.append((stepped[0], stepped[0].tobytes()))
                del kept[: -drawn.randrange(1, 10)]
            (connection,) = connections(theirs)
            trials.append(connection._policy.is_trial)
    # One at first, and one again; none where there is nothing to choose from.
    assert set(trials) == ({True, False} if cores() > 1 else {False})
