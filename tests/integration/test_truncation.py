"""With `on_failure="truncate"` the failure of an environment ends its episode, and nothing else."""

from __future__ import annotations

import os
import pickle
import signal
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from gymtwist.client import Closed, ConnectionLost, EnvironmentFailed, RequestRefused, connect_vec
from tests.support.client_environments import shown
from tests.support.client_equivalence import RemoteVec, assert_same

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

#: The actions of a Mortal environment that fail, with the words of the error.
DEATHS = [
    (1, "raised ValueError in step: the glass"),
    (2, "was killed by SIGKILL in step"),
    (3, "exited with status 0 in step"),
    (4, "was killed by SIGSEGV in step"),
]
#: The others are failures of a process, too.
SOME_DEATHS = [*DEATHS[:2], *(pytest.param(*death, marks=pytest.mark.sweep) for death in DEATHS[2:])]


def truncating(remote_vec: RemoteVec, environment: str, count: int, **arguments: Any) -> Any:
    """Connect to environments whose failures end their episodes, each in a process of its own."""
    return remote_vec(environment, count, **{"processes": count, "on_failure": "truncate", **arguments})


def kill(process: int) -> None:
    """Kill a process, which is in no request."""
    descriptor = os.pidfd_open(process)
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)


@pytest.mark.parametrize(("action", "words"), DEATHS)
@pytest.mark.parametrize(("shared_memory", "protocol"), [(True, "int32"), (False, "netstring")])
def test_the_others_never_notice(
    remote_vec: RemoteVec, action: int, words: str, shared_memory: bool, protocol: str
) -> None:
    """The step that failed repeats the last observation; the next one begins an episode, as after every other end."""
    envs = truncating(remote_vec, "Mortal-v0", 3, shared_memory=shared_memory, protocol=protocol)
    envs.reset(seed=1)
    envs.step([0, 0, 0])
    for _ in range(2):
        observations, rewards, terminated, truncated, infos = envs.step([0, action, 0])
        assert observations[1].tolist() == [1]
        assert (rewards.tolist(), terminated.tolist()) == ([1, 0, 1], [False] * 3)
        assert truncated.tolist() == [False, True, False]
        assert infos["_error"].tolist() == [False, True, False]
        assert infos["error"][1].startswith("the environment")
        assert words in infos["error"][1]
        assert infos["_count"].tolist() == [True, False, True]
        observations, rewards, terminated, truncated, infos = envs.step([0, action, 0])
        assert (observations[1].tolist(), rewards.tolist()) == ([0], [1, 0, 1])
        assert not (terminated | truncated)[1]
        assert "error" not in infos
        assert envs.step([0, 0, 0])[0][1].tolist() == [1]
        envs.reset()
        envs.step([0, 0, 0])


@pytest.mark.parametrize(("action", "words"), SOME_DEATHS)
def test_in_the_same_step(remote_vec: RemoteVec, action: int, words: str) -> None:
    """The first observation of the next episode is there at once, and the last one of the failed is in the info."""
    envs = truncating(remote_vec, "Mortal-v0", 3, autoreset_mode="same_step")
    envs.reset(seed=1)
    envs.step([0, 0, 0])
    observations, rewards, terminated, truncated, infos = envs.step([0, 0, action])
    assert (observations.ravel().tolist(), rewards.tolist()) == ([2, 2, 0], [1, 1, 0])
    assert (terminated.tolist(), truncated.tolist()) == ([False] * 3, [False, False, True])
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [False, False, True]
    assert infos["final_obs"][2].tolist() == [1]
    assert words in infos["error"][2]
    assert infos["final_info"]["error"][2] == infos["error"][2]
    assert envs.step([0, 0, 0])[0].ravel().tolist() == [3, 3, 1]


@pytest.mark.parametrize(("action", "words"), SOME_DEATHS)
def test_without_autoreset(remote_vec: RemoteVec, action: int, words: str) -> None:
    """The user resets what has ended, whatever has ended it."""
    envs = truncating(remote_vec, "Mortal-v0", 3, autoreset_mode="disabled")
    envs.reset(seed=1)
    envs.step([0, 0, 0])
    observations, *_, truncated, infos = envs.step([action, 0, 0])
    assert (observations.ravel().tolist(), truncated.tolist()) == ([1, 2, 2], [True, False, False])
    assert words in infos["error"][0]
    with pytest.raises(RequestRefused, match="environments 0 have no episode"):
        envs.step([0, 0, 0])
    assert envs.reset(options={"reset_mask": truncated})[0].ravel().tolist() == [0, 2, 2]
    assert envs.step([0, 0, 0])[0].ravel().tolist() == [1, 3, 3]


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_lost_connection_is_a_failure_like_others(remote_vec: RemoteVec, mode: AutoresetMode) -> None:
    """Whoever ends a process between two steps leaves nobody who could answer the next."""
    envs = truncating(remote_vec, "Mortal-v0", 3, autoreset_mode=mode)
    envs.reset(seed=1)
    processes = envs.step([0, 0, 0])[4]["process"]
    kill(processes[1])
    # The connection's end may be seen when a step is sent, or when its reply is awaited.
    observations, *_, truncated, infos = envs.step([0, 0, 0])
    assert truncated.tolist() == [False, True, False]
    assert "connection" in infos["error"][1]
    if mode is AutoresetMode.DISABLED:
        observations = envs.reset(options={"reset_mask": truncated})[0]
    elif mode is AutoresetMode.NEXT_STEP:
        observations = envs.step([0, 0, 0])[0]
    assert observations[1].tolist() == [0]
    infos = envs.step([0, 0, 0])[4]
    assert infos["process"][1] != processes[1]
    assert infos["process"][[0, 2]].tolist() == processes[[0, 2]].tolist()


@pytest.mark.parametrize("processes", [1, 2])
def test_environments_of_one_process_share_its_fate(remote_vec: RemoteVec, processes: int) -> None:
    """All of them begin again; the results of other processes are not lost."""
    envs = truncating(remote_vec, "Mortal-v0", 4, processes=processes, vectorization_mode="sync")
    envs.reset()
    envs.step([0] * 4)
    *_, truncated, infos = envs.step([0, 0, 0, 4])
    assert truncated.tolist() == infos["_error"].tolist() == [processes == 1] * 2 + [True] * 2
    assert envs.step([0] * 4)[0].ravel().tolist() == ([0] * 4 if processes == 1 else [3, 3, 0, 0])


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize(
    ("vectorization", "processes", "protocol"),
    [("sync", 1, "int32"), ("sync", 2, "netstring"), ("async", 1, "netstring"), ("async", 2, "int32")],
)
def test_an_exception_concerns_no_other_environment_of_its_process(
    remote_vec: RemoteVec, protocol: str, mode: AutoresetMode, vectorization: Any, processes: int
) -> None:
    """It ends the episode of its environment alone, of which another is made."""
    envs = truncating(
        remote_vec,
        "Mortal-v0",
        4,
        processes=processes,
        vectorization_mode=vectorization,
        autoreset_mode=mode,
        protocol=protocol,
    )
    envs.reset(seed=1)
    made = envs.step([0] * 4)[4]["made"]
    observations, rewards, terminated, truncated, infos = envs.step([0, 0, 1, 0])
    same_step = mode is AutoresetMode.SAME_STEP
    assert observations.ravel().tolist() == [2, 2, 0 if same_step else 1, 2]
    assert (rewards.tolist(), terminated.tolist()) == ([1, 1, 0, 1], [False] * 4)
    assert truncated.tolist() == infos["_error"].tolist() == [False, False, True, False]
    assert infos["error"][2] == "the environment raised ValueError in step: the glass is broken"
    if mode is AutoresetMode.DISABLED:
        assert envs.reset(options={"reset_mask": truncated})[0].ravel().tolist() == [2, 2, 0, 2]
    elif mode is AutoresetMode.NEXT_STEP:
        assert envs.step([0] * 4)[0].ravel().tolist() == [3, 3, 0, 3]
    else:
        assert infos["final_obs"][2].tolist() == [1]
    stepped = envs.step([0] * 4)
    assert stepped[0].ravel().tolist()[2] == 1
    assert (stepped[4]["made"] != made).tolist() == [False, False, True, False]


def test_an_autoreset_that_fails_is_tried_again(remote_vec: RemoteVec) -> None:
    """With a fresh environment; nobody notices."""
    envs = truncating(remote_vec, "Awkward-v0", 2, processes=1, vectorization_mode="sync", autoreset_mode="same_step")
    envs.reset(seed=1)
    *_, terminated, truncated, infos = envs.step([0, 0])
    assert (terminated.tolist(), truncated.tolist()) == ([True] * 2, [False] * 2)
    assert "error" not in infos


def test_seeds_go_on_after_an_exception(remote_vec: RemoteVec) -> None:
    """An environment that is made again has the next of its seeds."""
    envs = truncating(
        remote_vec, "Mortal-v0", 2, processes=1, vectorization_mode="sync", autoreset_seeds=[[10, 11], [20, 21]]
    )
    envs.reset(seed=1)
    for expected in ("10", "11"):
        envs.step([1, 0])
        assert envs.step([0, 0])[4]["seed"][0] == expected


def test_whoever_is_ready_may_have_failed(remote_vec: RemoteVec) -> None:
    """It is a row like others, and so is the first observation of the next episode."""
    envs = truncating(remote_vec, "Mortal-v0", 3)
    envs.async_reset(seed=1)
    envs.recv()
    envs.send([0, 2, 0])
    rows: dict[int, Any] = {}
    while len(rows) < 3:
        observations, _, _, truncated, infos = envs.recv(min_ready=1)
        rows[int(infos["env_id"][0])] = observations.tolist(), truncated.tolist(), "error" in infos
    assert rows == {0: ([[1]], [False], False), 1: ([[0]], [True], True), 2: ([[1]], [False], False)}
    envs.send([4], [1])
    observations, rewards, _, truncated, infos = envs.recv(min_ready=1)
    assert (observations.tolist(), rewards.tolist(), truncated.tolist()) == ([[0]], [0.0], [False])
    envs.send([0], [1])
    assert envs.recv(min_ready=1)[0].tolist() == [[1]]


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_observations_of_other_spaces_survive(remote_vec: RemoteVec, mode: str) -> None:
    """The last one belongs to the user, and has the types of its space."""
    envs = truncating(remote_vec, "Varied-v0", 2, autoreset_mode=mode, vectorization_mode="sync")
    beside = remote_vec("Varied-v0", 2, autoreset_mode=mode, vectorization_mode="sync")
    envs.reset(seed=4)
    beside.reset(seed=4)
    last = envs.step([0, 0])[0]
    assert_same(last, beside.step([0, 0])[0])
    envs._sessions[1].connection.close(ConnectionLost("the cable is cut"))
    observations, *_, truncated, infos = envs.step([0, 0])
    assert truncated.tolist() == [False, True]
    if mode == "next_step":
        assert shown({key: each[1] for key, each in observations.items()}) == shown(
            {key: each[1] for key, each in last.items()}
        )
    else:
        assert shown(infos["final_obs"][1]) == shown({"n": np.int64(1), "pair": np.full(2, 0.1, np.float32)})


def test_a_reset_that_the_user_asks_for_still_raises(remote_vec: RemoteVec) -> None:
    """There is no episode that could end."""
    envs = truncating(remote_vec, "Raising-v0", 2)
    with pytest.raises(EnvironmentFailed, match="no door"):
        envs.reset(options={"kind": "KeyError"})


def test_an_environment_that_cannot_begin_is_given_up(remote_vec: RemoteVec) -> None:
    """After some attempts its error is raised."""
    envs = truncating(remote_vec, "Doomed-v0", 2)
    envs.reset(options={"fine": True})
    # The exception of its step, then that of the reset that follows, which ends its process.
    for words in ("no life", "no second life"):
        *_, truncated, infos = envs.step([0, 0])
        assert truncated.all()
        assert words in infos["error"][1]
    with pytest.raises(EnvironmentFailed, match="no second life"):
        envs.step([0, 0])


def test_single_steps_are_asked_for(remote_vec: RemoteVec) -> None:
    """Nobody could say when in several steps an episode has ended."""
    envs = truncating(remote_vec, "Fragile-v0", 2)
    envs.reset()
    with pytest.raises(RequestRefused, match="single steps"):
        envs.step_many([0, 0], 3)
    envs.send([0, 0])
    with pytest.raises(RequestRefused, match="outstanding"):
        envs.send([0, 0])
    envs.recv()


def test_a_closed_one_stays_closed(remote_vec: RemoteVec) -> None:
    """The user's own end is no failure."""
    envs = truncating(remote_vec, "Fragile-v0", 2)
    envs.reset()
    envs.close()
    for use in (envs.reset, lambda: envs.step([0, 0])):
        with pytest.raises(Closed):
            use()


def test_copies_do_the_same(remote_vec: RemoteVec) -> None:
    """A specification and a pickle keep the choice; an unknown one is refused."""
    envs = truncating(remote_vec, "Fragile-v0", 2)
    assert envs.spec.kwargs["connect_options"]["on_failure"] == "truncate"
    with pickle.loads(pickle.dumps(envs)) as copy:
        copy.reset()
        assert copy.step([0, 1])[3].tolist() == [False, True]
    with pytest.raises(ValueError, match="on_failure is 'ignore'"):
        connect_vec("localhost:1", "Fragile-v0", 2, on_failure="ignore")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("processes", "look"), [(1, lambda envs: envs.render()), (3, lambda envs: envs.call("look"))], ids=["one", "three"]
)
@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_failure_between_two_steps_ends_episodes_too(
    remote_vec: RemoteVec, mode: AutoresetMode, processes: int, look: Any
) -> None:
    """The request raises the error, and the next step returns it."""
    options: dict[str, Any] = {"autoreset_mode": mode, "render_mode": "rgb_array", "vectorization_mode": "sync"}
    envs = truncating(remote_vec, "Unseen-v0", 3, processes=processes, **options)
    envs.reset(seed=1)
    for expected in (1, 2):
        envs.step([0] * 3)
        with pytest.raises(EnvironmentFailed, match="exited with status 0"):
            look(envs)
        observations, _, _, truncated, infos = envs.step([0] * 3)
        assert "exited with status 0" in infos["error"][0]
        assert truncated[0]
        if mode is AutoresetMode.SAME_STEP:
            observations = infos["final_obs"]
        assert observations[0].tolist() == [1]
        if mode is AutoresetMode.DISABLED:
            envs.reset(options={"reset_mask": truncated})
        elif mode is AutoresetMode.NEXT_STEP:
            assert not envs.step([0] * 3)[3][0]
        if processes > 1 and expected == 1:
            envs.reset()


def test_attributes_of_who_has_no_process(remote_vec: RemoteVec) -> None:
    """The request fails, and the others never notice."""
    envs = truncating(remote_vec, "Unseen-v0", 3)
    envs.reset(seed=1)
    processes = envs.step([0] * 3)[4]["process"]
    kill(processes[1])
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            envs.call("lives")
    assert envs.step([0] * 3)[3].tolist() == [False, True, False]
    with pytest.raises(ConnectionLost):
        envs.call("lives")
    observations, _, _, truncated, _ = envs.step([0] * 3)
    assert observations.ravel().tolist() == [3, 0, 3]
    assert not truncated.any()


@pytest.mark.parametrize("processes", [1, 2])
def test_errors_of_the_environment_itself_are_left_alone(remote_vec: RemoteVec, processes: int) -> None:
    """An info may have such a key, whatever it is about."""
    envs = truncating(
        remote_vec, "Measuring-v0", 2, processes=processes, vectorization_mode="sync", autoreset_mode="same_step"
    )
    envs.reset()
    infos = envs.step([0, 1])[4]
    assert infos["error"].tolist() == ["small", "the environment raised ValueError in step: the glass is broken"]
    for _ in range(3):
        assert envs.step([0, 0])[4]["error"].tolist() == ["small", "small"]
    infos = envs.step([0, 0])[4]
    assert infos["_final_info"].tolist() == [True, False]
    assert infos["error"].tolist() == [None, "small"]
    assert infos["_error"].tolist() == [False, True]
