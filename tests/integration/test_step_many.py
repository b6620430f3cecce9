"""Several steps in one round trip, and steps that are sent before their replies are taken."""

from __future__ import annotations

import signal
from typing import Any

import numpy as np
import pytest

from gymtwist.client import Closed, RequestRefused, ResetNeeded, Steps
from gymtwist.protocol.framing import MAX_FRAME
from tests.support.client_environments import SPACES, shown
from tests.support.client_equivalence import Remote, assert_same

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 77


def test_step_many_equals_single_steps(remote: Remote, protocol: str) -> None:
    """It returns every reward and otherwise the results of the last step."""
    one, many = remote("CartPole-v1", protocol=protocol), remote("CartPole-v1", protocol=protocol)
    one.reset(seed=SEED)
    many.reset(seed=SEED)
    actions = [0, 1, 1, 0, 1]
    single = [one.step(action) for action in actions]
    steps = many.step_many(actions)
    assert isinstance(steps, Steps)
    assert_same(steps.observations, single[-1][0])
    assert_same(steps.rewards, np.array([each[1] for each in single]))
    assert steps[2:] == single[-1][2:]


def test_one_action_can_be_repeated(remote: Remote, protocol: str) -> None:
    """A count repeats one action."""
    theirs = remote("Episodes-v0", protocol=protocol)
    theirs.reset()
    steps = theirs.step_many(1, 4)
    assert steps.rewards.tolist() == [1, 2, 3, 4]
    assert not steps.terminated


def test_a_reply_may_be_larger_than_the_spaces(remote: Remote) -> None:
    """Only that to make is limited by them."""
    theirs = remote("Observe/Frame-v0", max_space_bytes=1 << 20)
    theirs.reset()
    observations = theirs.step_many(0, 200, observations="all").observations
    assert observations.nbytes == 200 * 210 * 160 * 3 > 2 * (1 << 20) + MAX_FRAME
    assert np.array_equal(observations[-1], observations[0])


def test_the_end_of_an_episode_ends_the_steps(remote: Remote) -> None:
    """The result has fewer steps than requested."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    steps = theirs.step_many(np.zeros(16, np.int64))
    assert (len(steps.rewards), steps.terminated, steps.truncated) == (10, True, False)
    with pytest.raises(ResetNeeded):
        theirs.step_many([0])


@pytest.mark.parametrize("kind", SPACES)
def test_all_observations_can_be_had(remote: Remote, protocol: str, kind: str) -> None:
    """Arrays and numbers are stacked; other observations come in a list."""
    space: Any = SPACES[kind]
    theirs = remote(f"Sampling/{kind}-v0", protocol=protocol)
    theirs.reset(seed=SEED)
    theirs.action_space.seed(1)
    steps = theirs.step_many([theirs.action_space.sample() for _ in range(3)], observations="all")
    space.seed(SEED)
    space.sample()
    expected = [space.sample() for _ in range(3)]
    assert [shown(each) for each in steps.observations] == [shown(each) for each in expected]
    stacked = kind in ("Box", "Bytes", "Scalar", "Discrete", "Small", "Large", "MultiBinary", "MultiDiscrete")
    assert isinstance(steps.observations, np.ndarray if stacked else list)
    if isinstance(steps.observations, np.ndarray):
        assert steps.observations.dtype == space.dtype
        assert steps.observations.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([],), "1 to 10000 steps"),
        ((0, 0), "1 to 10000 steps"),
        ((0, 10**6), "1 to 10000 steps"),
        ((0, "x"), "step_many"),
        ((5,), "step_many"),
        (([0, 0.5],), "0.5"),
        (([0, 7],), r"actions\[1\]"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(remote: Remote, arguments: Any, words: str) -> None:
    """No step is taken, and the episode continues."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    with pytest.raises(RequestRefused, match=words):
        theirs.step_many(*arguments)
    assert theirs.step(0)[1] == 1.0


def test_observations_are_the_last_or_all(remote: Remote) -> None:
    """Any other value is refused."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    with pytest.raises(RequestRefused, match='"last" or "all"'):
        theirs.step_many([0], observations="some")  # type: ignore[arg-type]


# Sent before replies are taken


def test_replies_come_in_the_order_of_the_requests(remote: Remote, protocol: str) -> None:
    """Any number of requests may be outstanding."""
    ahead, beside = remote("CartPole-v1", protocol=protocol), remote("CartPole-v1", protocol=protocol)
    ahead.reset(seed=SEED)
    beside.reset(seed=SEED)
    actions = [0, 1, 1, 0, 1, 0]
    for action in actions:
        ahead.send(action)
    for action in actions:
        assert_same(ahead.recv(), beside.step(action))
    assert_same(ahead.step(0), beside.step(0))


def test_thousands_can_be_under_way(remote: Remote) -> None:
    """Replies are read while requests are sent, so that full buffers cause no deadlock."""
    theirs = remote("Observe/Frame-v0")
    theirs.reset()
    for _ in range(300):
        theirs.send(0)
    frame = theirs.recv()[0]
    for _ in range(299):
        assert_same(theirs.recv()[0], frame)


def test_nothing_else_can_be_done_while_replies_are_outstanding(remote: Remote) -> None:
    """Replies must be received first."""
    theirs = remote("Episodes-v0", render_mode="rgb_array")
    theirs.reset()
    theirs.send(0)
    for use in (
        lambda: theirs.step(0),
        theirs.reset,
        theirs.render,
        theirs.sample,
        lambda: theirs.step_many([0]),
    ):
        with pytest.raises(RequestRefused, match=r"1 replies .* outstanding") as caught:
            use()
        assert caught.value.code == "replies-outstanding"
    assert theirs.recv()[1] == 1.0
    assert theirs.step(0)[1] == 2.0


def test_receive_without_send_is_an_error(remote: Remote) -> None:
    """Otherwise it would wait forever."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    with pytest.raises(RequestRefused, match="nothing was sent"):
        theirs.recv()
    theirs.send(0)
    theirs.recv()
    with pytest.raises(RequestRefused, match="nothing was sent"):
        theirs.recv()


def test_requests_after_the_end_of_an_episode_are_answered_in_order(remote: Remote) -> None:
    """Each gets an error, and a reset starts the next episode."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    for _ in range(12):
        theirs.send(0)
    assert [theirs.recv()[2] for _ in range(10)] == [False] * 9 + [True]
    for _ in range(2):
        with pytest.raises(ResetNeeded):
            theirs.recv()
    theirs.reset()
    assert theirs.step(0)[1] == 1.0


def test_it_can_be_closed_while_replies_are_outstanding(remote: Remote) -> None:
    """The replies are discarded."""
    theirs = remote("Episodes-v0")
    theirs.reset()
    theirs.send(0)
    theirs.close()
    with pytest.raises(Closed):
        theirs.recv()
    with pytest.raises(Closed):
        theirs.send(0)


def test_a_step_that_is_interrupted_leaves_the_environment_usable(remote: Remote) -> None:
    """Its late reply is discarded."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    theirs = remote("Fault/SlowStep-v0")
    theirs.reset()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            theirs.step(0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert theirs.reset()[0].shape == (2,)
    assert theirs.step(0)[1] == 1.0
