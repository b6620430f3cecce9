"""Through shared memory comes what would come through a socket, whatever is asked and in whichever order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from gymtwist.client import EnvironmentFailed, RequestRefused, ResetNeeded
from gymtwist.protocol import shared_memory as wire_sharing
from tests.support.client_environments import SIGHTS
from tests.support.client_equivalence import Remote, RemoteVec, assert_same
from tests.support.shared_memory_env import SEED, SHARING, WAYS, on, passed, play, shares

pytest_plugins = ("tests.support.client_fixtures", "tests.support.shared_memory_fixtures")
pytestmark = pytest.mark.skipif(not wire_sharing.IS_POSSIBLE, reason="memory can be shared on Linux on x86-64 only")

SMALL = [
    "CartPole-v1",
    "Pendulum-v1",
    "FrozenLake-v1",
    "Varied-v0",
    *(f"Sampling/{name}-v0" for name in ("Tuple", "Dict", "Packed", "Text", "Bytes", "Large", "Sequence")),
]
COMBINATIONS = [(protocol, way) for protocol in ("int32", "netstring") for way in SHARING]


def each(cases: list[Any]) -> list[tuple[Any, str, str]]:
    """Return each case with a protocol and a way to wait; those of four cases have all combinations of these."""
    return [(case, *COMBINATIONS[index % 4]) for index, case in enumerate(cases)]


def pairs(cases: list[Any]) -> list[tuple[Any, str, str]]:
    """Return each case with two protocols and two ways, which the other two combinations of these have at the next."""
    return [
        (case, protocol, SHARING[(index + place) % 2])
        for index, case in enumerate(cases)
        for place, protocol in enumerate(("int32", "netstring"))
    ]


@pytest.mark.parametrize(
    ("environment", "protocol", "way"), [*each(SMALL), *pairs([f"Sight/{name}-v0" for name in SIGHTS])]
)
def test_steps_are_the_same_as_here(remote: Remote, protocol: str, way: str, environment: str) -> None:
    """Steps through memory and through the socket equal local ones to the last bit."""
    theirs, ours = on(way, remote, environment, protocol=protocol), on("socket", remote, environment, protocol=protocol)
    ours.action_space.seed(SEED)
    # JSON has each number of a large observation as text.
    count = 10 if environment.startswith("Sight/") and protocol == "netstring" else 60
    actions = [ours.action_space.sample() for _ in range(count)]
    assert_same(play(theirs, actions), play(ours, actions))
    assert passed(theirs) >= count + 1


def test_frames_of_pong_are_the_same(remote: Remote, way: str) -> None:
    """Frames of 100 KB are views of the memory until they are copied."""
    pytest.importorskip("ale_py")
    theirs, ours = (on(which, remote, "ALE/Pong-v5", max_episode_steps=20) for which in (way, "socket"))
    actions = np.random.default_rng(2).integers(6, size=50).tolist()
    assert_same(play(theirs, actions), play(ours, actions))
    assert passed(theirs) > len(actions)


@pytest.mark.parametrize(
    ("case", "protocol", "way"),
    pairs([("CartPole-v1", 1), ("Varied-v0", 2), ("Sampling/Packed-v0", 1), ("Sampling/Packed-v0", 2)]),
)
def test_several_step_the_same(remote_vec: RemoteVec, protocol: str, way: str, case: tuple[str, int]) -> None:
    """A vector environment in one or several processes steps like a local one."""
    environment, processes = case
    theirs, ours = (
        on(which, remote_vec, environment, 4, processes=processes, protocol=protocol) for which in (way, "socket")
    )
    ours.action_space.seed(SEED)
    actions = [ours.action_space.sample() for _ in range(30)]
    for told in ("reset", *range(30)):
        if told == "reset":
            assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
        else:
            assert_same(theirs.step(actions[told]), ours.step(actions[told]))
    assert passed(theirs) >= 31 * processes


@pytest.mark.parametrize("which", WAYS)
def test_observations_of_those_that_are_not_reset_stay(remote_vec: RemoteVec, which: str) -> None:
    """Other requests to their process do not change them."""
    theirs = on(
        which, remote_vec, "Observe/Frame-v0", 2, processes=2, autoreset_mode=AutoresetMode.DISABLED,
        render_mode="rgb_array",
    )  # fmt: skip
    theirs.reset(seed=SEED)
    seen = theirs.step(np.zeros(2, np.int64))[0].copy()
    theirs.sample()
    theirs.render()
    again, _ = theirs.reset(options={"reset_mask": np.array([True, False])})
    assert np.array_equal(again, seen)


@pytest.mark.parametrize(("ahead", "protocol", "way"), each([1, 2, 3, 17]))
def test_steps_that_are_sent_ahead(remote: Remote, protocol: str, way: str, ahead: int) -> None:
    """The first passes through memory and the rest through the socket; replies keep their order."""
    theirs, ours = on(way, remote, "CartPole-v1", protocol=protocol), on("socket", remote, "CartPole-v1")
    for seed in range(8):
        assert_same(theirs.reset(seed=seed), ours.reset(seed=seed))
        for _ in range(3):
            action = seed % 2
            for _ in range(ahead):
                theirs.send(action)
            for _ in range(ahead):
                assert_same(received(theirs.recv), received(lambda: ours.step(action)))  # noqa: B023
            assert_same(received(lambda: theirs.step(1)), received(lambda: ours.step(1)))
            assert_same(theirs.sample(seed), ours.sample(seed))


def received(take: Callable[[], Any]) -> Any:
    """Return a step, or that the episode has ended."""
    try:
        return take()
    except ResetNeeded:
        return "ended"


@pytest.mark.parametrize(
    ("protocol", "way", "rounds"), [("int32", "polling", 2), ("int32", "waiting", 2), ("netstring", "waiting", 1)]
)
def test_a_reply_that_has_no_room_comes_through_the_socket(
    remote: Remote, protocol: str, way: str, rounds: int
) -> None:
    """A reply larger than its slot uses the socket."""
    theirs, ours = (on(which, remote, "Observe/Frame-v0", protocol=protocol) for which in (way, "socket"))
    for _ in range(rounds):
        assert_same(theirs.reset(), ours.reset())
        told = tuple(theirs.step_many(0, 2, observations="all"))
        assert sum(part.nbytes for part in told[:1]) > 200_000
        assert_same(told, tuple(ours.step_many(0, 2, observations="all")))
        assert_same(theirs.step(0), ours.step(0))


def test_a_request_that_has_no_room_goes_through_the_socket(remote: Remote, protocol: str, way: str) -> None:
    """A request larger than the memory's room for requests uses the socket."""
    theirs = on(way, remote, "Sampling/Box-v0", protocol=protocol)
    options = {"long": "x" * 300_000}
    for _ in range(3):
        before = passed(theirs)
        theirs.reset(seed=SEED, options=options)
        assert passed(theirs) == before
        theirs.step(theirs.action_space.sample())
        assert passed(theirs) == before + 1


def test_a_refusal_has_a_reason(remote: Remote, protocol: str, way: str) -> None:
    """The reason passes through memory, and the environment remains usable."""
    theirs = on(way, remote, "CartPole-v1", protocol=protocol)
    with pytest.raises(ResetNeeded):
        theirs.step(0)
    theirs.reset()
    with pytest.raises(RequestRefused):
        theirs.step(7)
    theirs.step(0)
    assert shares(theirs)


def test_an_environment_that_raises_goes_on_through_memory(remote: Remote, protocol: str, way: str) -> None:
    """Memory is used again by the next episode at the latest."""
    theirs = on(way, remote, "Fault/RaiseInStep-v0", protocol=protocol)
    for _ in range(3):
        theirs.reset()
        with pytest.raises(EnvironmentFailed):
            theirs.step(0)
    theirs.reset()
    assert shares(theirs)
