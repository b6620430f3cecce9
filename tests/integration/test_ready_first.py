"""Batches of whichever environments are ready: send to some, receive from the first that are done."""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gymtwist.client import EnvironmentFailed, RemoteVectorEnv, RequestRefused, ResetNeeded
from tests.support.client_equivalence import RemoteVec, assert_same
from tests.support.client_interrupts import interrupt
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)


@pytest.fixture
def gate() -> Iterator[socket.socket]:
    """A listener for environments that wait."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        yield listener


def gated(remote_vec: RemoteVec, gate: socket.socket, count: int, **arguments: Any) -> RemoteVectorEnv:
    """Connect to environments that wait at the gate in a step with action 1."""
    envs = remote_vec("Gated-v0", count, **{"processes": count, "port": gate.getsockname()[1], **arguments})
    envs.reset()
    return envs


def ids_of(stepped: Any) -> list[int]:
    """Return the environments of a batch."""
    ids = stepped[4]["env_id"]
    assert ids.dtype == np.int32
    return list(ids.tolist())


def interrupt_recv(envs: Any) -> None:
    """Have a signal interrupt the wait for batches."""
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
            envs.recv()
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("shared_memory", "protocol"), [(True, "int32"), (False, "netstring")])
def test_the_first_that_are_done_come_first(
    remote_vec: RemoteVec, gate: socket.socket, shared_memory: bool, protocol: str
) -> None:
    """Nobody waits for the others, which come when they are done."""
    envs = gated(remote_vec, gate, 4, shared_memory=shared_memory, protocol=protocol)
    envs.send([1, 0, 0, 1])
    waiting = [gate.accept()[0] for _ in range(2)]
    for count in (1, 2, 3):
        observations, rewards, terminated, truncated, infos = envs.recv(min_ready=2)
        assert infos["env_id"].tolist() == [1, 2]
        assert observations.tolist() == [[count], [count]]
        assert (rewards.tolist(), terminated.tolist(), truncated.tolist()) == ([1, 1], [False] * 2, [False] * 2)
        envs.send([0, 0], infos["env_id"])
    for each in waiting:
        each.close()
    seen = [ids_of(envs.recv(min_ready=1))[0] for _ in range(4)]
    assert sorted(seen) == [0, 1, 2, 3]
    assert envs.step([0] * 4)[0].ravel().tolist() == [2, 5, 5, 2]


def test_all_at_once_are_what_a_step_returns(remote_vec: RemoteVec) -> None:
    """With their infos, in any order of the actions, and where processes have several environments."""
    arguments: Any = {"processes": 2, "vectorization_mode": "sync"}
    ours, theirs = (remote_vec("Varied-v0", 5, **arguments) for _ in range(2))
    ours.reset(seed=3)
    theirs.reset(seed=3)
    for _ in range(9):
        theirs.send([0] * 5, [4, 2, 0, 1, 3])
        stepped = theirs.recv(min_ready=5)
        assert ids_of(stepped) == [0, 1, 2, 3, 4]
        infos = {key: each for key, each in stepped[4].items() if key != "env_id"}
        assert_same((*stepped[:4], infos), ours.step([0] * 5))


def test_actions_reach_the_environments_that_they_are_for(remote_vec: RemoteVec) -> None:
    """In the order of the indices that were sent."""
    envs = remote_vec("Sampling/Discrete-v0", 4, processes=3, vectorization_mode="sync")
    envs.reset(seed=1)
    envs.send(np.array([13, 10, 12, 11]), [3, 0, 2, 1])
    done = envs.recv(min_ready=4)
    assert [each.split()[-1] for each in done[4]["action"]] == [
        np.int64(each).tobytes().hex() for each in (10, 11, 12, 13)
    ]


def test_who_has_waited_longest_comes_first(remote_vec: RemoteVec) -> None:
    """Everyone gets as many steps as the others, if all are as fast."""
    envs = remote_vec("Fragile-v0", 4, processes=4)
    envs.reset()
    envs.send([0] * 4)
    for _ in range(3):
        # Both wait until all replies have come.
        for session in envs._sessions:
            while not session.connection.is_ready():
                pass
        for expected in ([0, 1], [2, 3]):
            stepped = envs.recv(min_ready=2)
            assert ids_of(stepped) == expected
            envs.send([0, 0], expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_environments_of_one_process_come_together(remote_vec: RemoteVec, processes: int) -> None:
    """A smaller batch is not possible, and part of them cannot be stepped."""
    envs = remote_vec("Fragile-v0", 4, processes=processes)
    envs.reset()
    with pytest.raises(RequestRefused, match=r"share a process: send actions for all .* processes=4") as caught:
        envs.send([0], [1])
    assert caught.value.code == "invalid-field"
    envs.send([0] * 4)
    assert len(ids_of(envs.recv(min_ready=1))) == 4 // processes


def test_episodes_begin_without_waiting(remote_vec: RemoteVec, gate: socket.socket) -> None:
    """The first observations come like those of a step, also after the end of an episode without autoreset."""
    envs = remote_vec("Gated-v0", 3, processes=3, port=gate.getsockname()[1], autoreset_mode="disabled")
    envs.async_reset(seed=5)
    observations, rewards, terminated, truncated, _ = envs.recv()
    assert (observations.ravel().tolist(), rewards.tolist()) == ([0] * 3, [0.0] * 3)
    assert not (terminated | truncated).any()
    envs.send([0, 0, 1])
    waiting = gate.accept()[0]
    for _ in range(4):
        envs.recv(min_ready=2)
        envs.send([0, 0], [0, 1])
    assert envs.recv(min_ready=2)[2].all()
    for ids in ([True, False], np.array([True, False])):
        with pytest.raises(RequestRefused, match=r"env_ids is .*different integers"):
            envs.send([0, 0], ids)
    with pytest.raises(RequestRefused, match="min_ready is True"):
        envs.recv(min_ready=True)
    with pytest.raises(ResetNeeded, match="environments 0 have no episode"):
        envs.send([0], [0])
    envs.async_reset(options={"reset_mask": np.array([True, False, False])})
    stepped = envs.recv(min_ready=1)
    assert (ids_of(stepped), stepped[0].tolist(), stepped[1].tolist()) == ([0], [[0]], [0.0])
    with pytest.raises(RequestRefused, match="outstanding"):
        envs.async_reset(options={"reset_mask": np.array([False, False, True])})
    envs.send([0], [0])
    assert ids_of(envs.recv(min_ready=1)) == [0]
    waiting.close()
    assert ids_of(envs.recv(min_ready=1)) == [2]


def test_a_single_process_begins_episodes_without_waiting(remote_vec: RemoteVec) -> None:
    """Steps go on as usual."""
    envs, beside = (remote_vec("CartPole-v1", 3) for _ in range(2))
    envs.async_reset(seed=5)
    assert_same(envs.recv()[0], beside.reset(seed=5)[0])
    assert_same(envs.step([0] * 3), beside.step([0] * 3))
    envs.send([1] * 3, [2, 1, 0])
    assert_same(envs.recv(), beside.step([1] * 3))


def test_wrong_indices_are_refused(remote_vec: RemoteVec) -> None:
    """Nothing is sent, so nothing is lost."""
    envs = remote_vec("Fragile-v0", 4, processes=4)
    wrong: list[Any] = [
        ([0], [4]), ([0], [-1]), ([0, 0], [1, 1]), ([0], [0.5]), ([], []), ([0], 0), ([0], [0, 1]),
    ]  # fmt: skip
    for actions, env_ids in wrong:
        envs.reset()
        with pytest.raises(RequestRefused):
            envs.send(actions, env_ids)
        assert envs.step([0] * 4)[0].ravel().tolist() == [1] * 4


def test_nothing_is_sent_with_one_invalid_action(remote_vec: RemoteVec) -> None:
    """It names its environment, and the others have not been stepped either."""
    envs, beside = (remote_vec("Pendulum-v1", 3, processes=3) for _ in range(2))
    for each in (envs, beside):
        each.reset(seed=1)
    with pytest.raises(RequestRefused, match=r"^environment 2: .* 9.0") as caught:
        envs.send(np.array([[1], [9]], np.float32), [0, 2])
    assert (caught.value.code, caught.value.environments) == ("invalid-action", (2,))
    assert_same(envs.step(np.ones((3, 1), np.float32)), beside.step(np.ones((3, 1), np.float32)))


def test_no_more_are_waited_for_than_were_sent(remote_vec: RemoteVec) -> None:
    """It would be for ever."""
    envs = remote_vec("Fragile-v0", 4, processes=4)
    envs.reset()
    envs.send([0, 0], [0, 1])
    for wrong in (3, 0, 1.5, "1"):
        with pytest.raises(RequestRefused, match=f"min_ready is {wrong!r}: expected 1 to 2"):
            envs.recv(min_ready=wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestRefused, match="outstanding"):
        envs.send([0], [1])
    with pytest.raises(RequestRefused, match=r"environment 2: nothing was sent .*recv\(min_ready=\.\.\.\)"):
        envs.recv()
    assert ids_of(envs.recv(min_ready=2)) == [0, 1]
    with pytest.raises(RequestRefused, match="nothing was sent"):
        envs.recv(min_ready=1)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_fault_is_told_at_once(remote_vec: RemoteVec, gate: socket.socket, shared_memory: bool) -> None:
    """Also that of a process that was killed, while another environment is still in its step."""
    envs = gated(remote_vec, gate, 3, shared_memory=shared_memory)
    envs.send([0, 2, 1])
    waiting = gate.accept()[0]
    with pytest.raises(EnvironmentFailed, match=r"^environment 1: .*SIGKILL"):
        while True:
            envs.recv(min_ready=1)
    waiting.close()
    while any(session.outstanding for session in envs._sessions):
        envs.recv(min_ready=1)
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.step([0] * 3)[0].ravel().tolist() == [2, 1, 2]


def test_replies_that_nobody_waits_for_any_more(remote_vec: RemoteVec, gate: socket.socket) -> None:
    """They are discarded, also those to resets: the next steps are not taken for them."""
    envs = gated(remote_vec, gate, 2)
    envs.send([1], [0])
    waiting = gate.accept()[0]
    envs.async_reset(options={"reset_mask": np.array([False, True])})
    interrupt_recv(envs)
    waiting.close()
    envs.reset()
    assert envs.step([0, 0])[0].ravel().tolist() == [1, 1]


# One process of the server, which has a process for each environment


def gated_async(remote_vec: RemoteVec, gate: socket.socket, count: int, **arguments: Any) -> RemoteVectorEnv:
    """Connect to environments that wait at the gate in a step with action 1, each in a process of one session."""
    return gated(remote_vec, gate, count, processes=1, vectorization_mode="async", **arguments)


@pytest.mark.parametrize(("shared_memory", "protocol"), [(True, "netstring"), (False, "int32")])
def test_the_first_of_one_session_come_first(
    remote_vec: RemoteVec, gate: socket.socket, shared_memory: bool, protocol: str
) -> None:
    """Environments with a process each do not wait for the others, though they share a session."""
    envs = gated_async(remote_vec, gate, 4, shared_memory=shared_memory, protocol=protocol)
    envs.send([1, 0, 0, 1], [3, 1, 2, 0])
    waiting = [gate.accept()[0] for _ in range(2)]
    for count in (1, 2, 3):
        observations, rewards, terminated, truncated, infos = envs.recv(min_ready=2)
        assert infos["env_id"].tolist() == [1, 2]
        assert infos["env_id"].dtype == np.int32
        assert observations.tolist() == [[count], [count]]
        assert (rewards.tolist(), terminated.tolist(), truncated.tolist()) == ([1, 1], [False] * 2, [False] * 2)
        envs.send([0], [2])
        envs.send([0], [1])
    for each in waiting:
        each.close()
    assert ids_of(envs.recv()) == [0, 1, 2, 3]
    assert envs.step([0] * 4)[0].ravel().tolist() == [2, 5, 5, 2]


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ("Varied-v0", "int32"),
        ("CartPole-v1", "netstring"),
        ("Sampling/Dict-v0", "netstring"),
        ("Sampling/Text-v0", "int32"),
    ],
)
def test_steps_of_one_session_are_those_of_all(remote_vec: RemoteVec, environment: str, protocol: str) -> None:
    """Whichever are stepped, values, infos and automatic resets are those of steps of all."""
    arguments: Any = {"vectorization_mode": "async", "protocol": protocol}
    ours, theirs = (remote_vec(environment, 3, **arguments) for _ in range(2))
    ours.reset(seed=3)
    theirs.reset(seed=3)
    ours.action_space.seed(1)
    for _ in range(30):
        actions = ours.action_space.sample()
        theirs.send(actions, [0, 1, 2])
        stepped = theirs.recv(min_ready=3)
        infos = {key: each for key, each in stepped[4].items() if key != "env_id"}
        assert_same((*stepped[:4], infos), ours.step(actions))


def test_the_episodes_of_a_session_have_their_lengths(remote_vec: RemoteVec, served: ServerProcess) -> None:
    """Whichever environments were stepped in between; the step by which one is reset is none of its episode."""
    envs = remote_vec("CartPole-v1", 2, vectorization_mode="async", max_episode_steps=3)
    envs.reset(seed=1)
    for index in [0, 0, 1, 0, *[1] * 6]:
        envs.send([0], [index])
        envs.recv(min_ready=1)
    place = f"http://localhost:{served.port}/api/sessions"
    with urllib.request.urlopen(place, timeout=PATIENCE) as answer:
        rows = json.load(answer)["sessions"]
    number = max(each["number"] for each in rows if each["environment"] == "CartPole-v1")
    with urllib.request.urlopen(f"{place}/{number}", timeout=PATIENCE) as answer:
        row = json.load(answer)
    assert [(each["return"], each["steps"]) for each in row["last_episodes"]] == 3 * [(3.0, 3)]
    assert row["steps"] == 10


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_fault_in_one_session_is_told_at_once(
    remote_vec: RemoteVec, gate: socket.socket, shared_memory: bool
) -> None:
    """Also that of a process that was killed; a reset of all makes all environments anew."""
    envs = gated_async(remote_vec, gate, 3, shared_memory=shared_memory)
    envs.send([0, 2, 1], [0, 1, 2])
    waiting = gate.accept()[0]
    with pytest.raises(EnvironmentFailed, match=r"^environment 1: .*SIGKILL"):
        while True:
            envs.recv(min_ready=1)
    waiting.close()
    with pytest.raises(ResetNeeded):
        envs.step([0] * 3)
    envs.reset()
    assert envs.step([0] * 3)[0].ravel().tolist() == [1, 1, 1]


def test_a_session_resets_while_some_are_in_a_step(remote_vec: RemoteVec, gate: socket.socket) -> None:
    """A reset of all waits for the steps, whose results are discarded; other requests are refused."""
    envs = gated_async(remote_vec, gate, 3, render_mode="rgb_array")
    envs.send([0, 1], [0, 1])
    assert ids_of(envs.recv(min_ready=1)) == [0]
    waiting = gate.accept()[0]
    for request in (lambda: envs.step([0] * 3), envs.render, lambda: envs.step_many([0] * 3, 2)):
        with pytest.raises(RequestRefused, match="in a step"):
            request()
    with pytest.raises(RequestRefused, match="in a step"):
        envs.send([0] * 3)
    with pytest.raises(RequestRefused, match=r"environments \[1\] are in a step"):
        envs.send([0, 0], [1, 2])
    waiting.close()
    envs.reset()
    assert envs.step([0] * 3)[0].ravel().tolist() == [1, 1, 1]


def test_a_session_refuses_wrong_steps(remote_vec: RemoteVec) -> None:
    """An action outside its space names its environment, and no environment is stepped."""
    envs = remote_vec("CartPole-v1", 3, vectorization_mode="async", autoreset_mode="disabled", max_episode_steps=1)
    envs.reset(seed=1)
    with pytest.raises(RequestRefused, match=r"^environment 2: "):
        envs.send([0, 7], [1, 2])
    envs.send([0], [1])
    assert envs.recv(min_ready=1)[3].all()
    envs.send([0], [0])
    with pytest.raises(ResetNeeded, match="environments 1 have no episode"):
        envs.send([0], [1])
    assert ids_of(envs.recv(min_ready=1)) == [0]
    envs.reset(options={"reset_mask": np.array([True, True, False])})
    assert not envs.step([0] * 3)[2].any()


def test_interrupted_steps_of_one_session(remote_vec: RemoteVec, gate: socket.socket) -> None:
    """Their replies are discarded, and a reset begins anew."""
    envs = gated_async(remote_vec, gate, 2)
    envs.send([1], [0])
    waiting = gate.accept()[0]
    interrupt_recv(envs)
    waiting.close()
    envs.reset()
    envs.send([0], [1])
    assert envs.recv(min_ready=1)[0].tolist() == [[1]]
