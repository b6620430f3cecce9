"""Remote environments that step together are what a local vector environment is, in one process or in several."""

from __future__ import annotations

import itertools
import json
import urllib.request
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from gymtwist.client import (
    Closed,
    EnvironmentFailed,
    RemoteVectorEnv,
    RequestRefused,
    ResetNeeded,
    connect_vec,
)
from tests.support.client_environments import SPACES, shown
from tests.support.client_equivalence import RemoteVec, assert_same
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 77
PROCESSES = pytest.mark.parametrize("processes", [1, 3])


def sessions(server: ServerProcess) -> set[int]:
    """Return the numbers of the sessions that run."""
    with urllib.request.urlopen(f"http://localhost:{server.port}/api/sessions", timeout=PATIENCE) as answer:
        return {each["number"] for each in json.load(answer)["sessions"]}


def local_vec(environment: str, count: int, mode: Any = AutoresetMode.NEXT_STEP, **arguments: Any) -> Any:
    """Return a local vector environment."""
    return gymnasium.make_vec(
        environment, count, "sync", {"autoreset_mode": mode}, disable_env_checker=True, **arguments
    )


def arrays_in(value: Any) -> list[Any]:
    """Return the arrays in an observation."""
    if isinstance(value, np.ndarray):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [array for each in inner for array in arrays_in(each)]


@pytest.mark.parametrize(
    ("environment", "processes", "mode"),
    [
        (environment, (1, 3)[(place + index) % 2], mode)
        for place, environment in enumerate(("CartPole-v1", "Varied-v0", "Pendulum-v1"))
        for index, mode in enumerate(AutoresetMode)
    ],
)
def test_a_trajectory_is_the_local_one(
    remote_vec: RemoteVec, mode: AutoresetMode, processes: int, environment: str
) -> None:
    """Results and infos with their masks equal the local ones in every autoreset mode, with partial resets."""
    ours = local_vec(environment, 5, mode, max_episode_steps=20)
    theirs = remote_vec(
        environment, 5, processes=processes, vectorization_mode="sync", autoreset_mode=mode, max_episode_steps=20
    )
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space", "num_envs"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert theirs.metadata["autoreset_mode"] is mode
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    ours.action_space.seed(SEED)
    for _ in range(50):
        actions = ours.action_space.sample()
        stepped = ours.step(actions)
        assert_same(theirs.step(actions), stepped)
        ended = stepped[2] | stepped[3]
        if mode is AutoresetMode.DISABLED and ended.any():
            options = {"reset_mask": ended}
            assert_same(theirs.reset(options=options), ours.reset(options={**options}))
            assert options == {"reset_mask": ended}


@PROCESSES
def test_in_json_all_but_the_dtypes_of_infos_is_the_same(remote_vec: RemoteVec, processes: int) -> None:
    """In JSON an info has lists and numbers instead of arrays."""
    ours = local_vec("Varied-v0", 3)
    theirs = remote_vec("Varied-v0", 3, processes=processes, protocol="netstring")
    assert_same(theirs.reset(seed=SEED)[0], ours.reset(seed=SEED)[0])
    for _ in range(10):
        stepped, expected = theirs.step([0] * 3), ours.step([0] * 3)
        assert_same(stepped[:4], expected[:4])
        assert list(stepped[4]) == list(expected[4])
        for key in ("steps", "half", "text", "_text", "_array"):
            if key in expected[4]:
                assert stepped[4][key].tolist() == expected[4][key].tolist()


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.sweep), 2])
@pytest.mark.parametrize("kind", SPACES)
def test_elements_of_every_space_come_and_go_exactly(remote_vec: RemoteVec, kind: str, processes: int) -> None:
    """Batches keep values and types and belong to the user."""
    ours = local_vec(f"Sampling/{kind}-v0", 3)
    theirs = remote_vec(f"Sampling/{kind}-v0", 3, processes=processes, vectorization_mode="sync")
    theirs.action_space.seed(SEED)
    assert shown(theirs.reset(seed=SEED)[0]) == shown(ours.reset(seed=SEED)[0])
    actions = theirs.action_space.sample()
    stepped, expected = theirs.step(actions), ours.step(actions)
    assert shown(stepped[0]) == shown(expected[0])
    assert stepped[4]["action"].tolist() == expected[4]["action"].tolist()
    before = shown(stepped[0])
    theirs.step(actions)
    assert shown(stepped[0]) == before


@PROCESSES
def test_every_environment_can_have_its_own_seed(remote_vec: RemoteVec, processes: int) -> None:
    """A list may have a seed or None for each environment."""
    ours, theirs = (
        local_vec("CartPole-v1", 3),
        remote_vec("CartPole-v1", 3, processes=processes, vectorization_mode="sync"),
    )
    assert_same(theirs.reset(seed=[5, 0, 9]), ours.reset(seed=[5, 0, 9]))
    assert_same(theirs.reset(seed=[5, None, 9]), ours.reset(seed=[5, None, 9]))
    assert_same(theirs.reset(seed=0), ours.reset(seed=0))


@PROCESSES
def test_it_has_the_attributes_of_a_vector_environment(remote_vec: RemoteVec, processes: int) -> None:
    """Those that libraries ask for, and the generator of `reset`."""
    theirs = remote_vec("Varied-v0", 3, processes=processes, autoreset_mode="same_step")
    assert theirs.autoreset_mode is theirs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    theirs.reset(seed=SEED)
    assert theirs.np_random_seed == SEED
    assert theirs.np_random.random() == np.random.default_rng(SEED).random()
    theirs.reset(seed=[1, 2, 3])
    assert theirs.np_random_seed == SEED


@PROCESSES
def test_step_many_equals_single_steps(remote_vec: RemoteVec, processes: int) -> None:
    """It continues past the ends of episodes."""
    arguments: Any = {"processes": processes, "vectorization_mode": "sync"}
    one, many = remote_vec("Varied-v0", 4, **arguments), remote_vec("Varied-v0", 4, **arguments)
    one.reset(seed=SEED)
    many.reset(seed=SEED)
    actions = [np.full(4, index % 2) for index in range(10)]
    single = [one.step(each) for each in actions]
    steps = many.step_many(actions)
    assert_same(steps.observations, single[-1][0])
    assert_same(steps.rewards, np.array([each[1] for each in single]))
    assert_same(steps[2:], single[-1][2:])
    every = many.step_many(np.zeros(4, np.int64), 3, observations="all")
    assert [shown(each) for each in every.observations] == [shown(one.step([0] * 4)[0]) for _ in range(3)]


@PROCESSES
def test_all_observations_of_several_steps_are_stacked(remote_vec: RemoteVec, processes: int) -> None:
    """The first axis counts steps, the second environments."""
    theirs = remote_vec("CartPole-v1", 4, processes=processes)
    theirs.reset(seed=SEED)
    steps = theirs.step_many([[0] * 4] * 3, observations="all")
    assert (steps.observations.shape, steps.rewards.shape) == ((3, 4, 4), (3, 4))
    assert steps.observations.dtype == np.float32


@PROCESSES
def test_replies_come_in_the_order_of_the_requests(remote_vec: RemoteVec, processes: int) -> None:
    """Until all replies are received, other requests are refused."""
    arguments: Any = {"processes": processes, "vectorization_mode": "sync"}
    ahead, beside = remote_vec("Varied-v0", 4, **arguments), remote_vec("Varied-v0", 4, **arguments)
    ahead.reset(seed=SEED)
    beside.reset(seed=SEED)
    for _ in range(20):
        ahead.send([0] * 4)
    for use in (ahead.reset, lambda: ahead.step([0] * 4), lambda: ahead.step_many([0] * 4, 2), ahead.sample):
        with pytest.raises(RequestRefused, match="outstanding"):
            use()
    for _ in range(20):
        assert_same(ahead.recv(), beside.step([0] * 4))
    with pytest.raises(RequestRefused, match="nothing was sent"):
        ahead.recv()
    assert_same(ahead.step([1] * 4), beside.step([1] * 4))


@PROCESSES
def test_a_batch_of_actions_has_one_for_each(remote_vec: RemoteVec, processes: int) -> None:
    """A batch with a wrong number or kind of actions is refused as a whole."""
    theirs = remote_vec("CartPole-v1", 4, processes=processes)
    beside = remote_vec("CartPole-v1", 4, processes=processes)
    theirs.reset(seed=SEED)
    beside.reset(seed=SEED)
    for actions in ([0] * 3, [0] * 5, 0, None, [[0]] * 4, [0.5] * 4):
        with pytest.raises(RequestRefused) as caught:
            theirs.step(actions)
        assert caught.value.code == "invalid-action"
    assert_same(theirs.step(np.zeros(4, np.int32)), beside.step([0] * 4))


@pytest.mark.parametrize(("processes", "protocol"), [(1, "int32"), (3, "netstring")])
def test_an_invalid_action_names_its_environment_and_costs_no_episode(
    remote_vec: RemoteVec, protocol: str, processes: int
) -> None:
    """Nothing is sent if an action is out of bounds, has a wrong type, or is in a list of several."""
    theirs, beside = (remote_vec("Pendulum-v1", 5, processes=processes, protocol=protocol) for _ in range(2))
    theirs.reset(seed=SEED)
    beside.reset(seed=SEED)
    actions, wrong = np.ones((5, 1), np.float32), np.ones((5, 1), np.float32)
    wrong[4] = 9
    uses: list[Any] = [
        lambda: theirs.step(wrong),
        lambda: theirs.step_many(wrong, 3),
        lambda: theirs.step_many([actions, wrong]),
    ]
    for use in uses:
        with pytest.raises(
            RequestRefused, match=r"^environment 4: .*action\[0\] is 9.0: send a number from -2"
        ) as caught:
            use()
        assert (caught.value.code, caught.value.environments) == ("invalid-action", (4,))
    assert_same(theirs.step(actions), beside.step(actions))


@pytest.mark.parametrize(("processes", "protocol"), [(1, "netstring"), (3, "int32")])
def test_a_lenient_server_leaves_bounds_to_the_environments(
    remote_vec: RemoteVec, protocol: str, processes: int
) -> None:
    """Each clips its action, as Pendulum does here."""
    theirs, beside = (
        remote_vec("Pendulum-v1", 3, processes=processes, protocol=protocol, lenient=True) for _ in range(2)
    )
    theirs.reset(seed=SEED)
    beside.reset(seed=SEED)
    assert_same(theirs.step(np.full((3, 1), 100, np.float32)), beside.step(np.full((3, 1), 2, np.float32)))


@pytest.mark.parametrize(("on_failure", "protocol"), [("raise", "netstring"), ("truncate", "int32")])
@pytest.mark.parametrize("kind", ["Dict", "Graph", "Sequence", "Stacked"])
def test_observations_are_the_callers_own(remote_vec: RemoteVec, kind: str, protocol: str, on_failure: str) -> None:
    """Those that a partial reset returns again are copies: a user may change what was returned before."""
    envs = remote_vec(f"Sampling/{kind}-v0", 2, processes=2, protocol=protocol, on_failure=on_failure)
    returned = [envs.reset(seed=1)[0]]
    for _ in range(2):
        returned.append(envs.step(envs.sample(seed=1))[0])
        returned.append(envs.reset(options={"reset_mask": np.array([True, False])})[0])
    for one, other in itertools.combinations(map(arrays_in, returned), 2):
        assert not any(np.shares_memory(*pair) for pair in itertools.product(one, other))


@pytest.mark.parametrize(("kind", "spoiled"), [("Dict", "a"), ("Tuple", 0), ("MultiDiscrete", None), ("Text", None)])
@PROCESSES
def test_the_environment_of_an_invalid_action_is_found_in_every_space(
    remote_vec: RemoteVec, kind: str, spoiled: Any, processes: int
) -> None:
    """Its index is not the first in the batches of all spaces."""
    theirs = remote_vec(f"Sampling/{kind}-v0", 3, processes=processes, vectorization_mode="sync")
    theirs.reset(seed=SEED)
    actions: Any = theirs.action_space.sample()
    if isinstance(actions, tuple) and spoiled is None:
        actions = (*actions[:2], 7)
    else:
        part = actions if spoiled is None else actions[spoiled]
        part[2, ...] = 100
    with pytest.raises(RequestRefused, match=r"^environment 2: action") as caught:
        theirs.step(actions)
    assert caught.value.environments == (2,)


# Faults of one of several


@pytest.mark.parametrize(("processes", "mode"), [(1, "sync"), (1, "async"), (3, "sync")])
def test_a_fault_names_its_environment(remote_vec: RemoteVec, mode: Any, processes: int) -> None:
    """Whatever steps it."""
    theirs = remote_vec("Fragile-v0", 3, processes=processes, vectorization_mode=mode)
    theirs.reset()
    with pytest.raises(EnvironmentFailed, match=r"^environment 2: .*raised ValueError in step: the glass") as caught:
        theirs.step([0, 0, 1])
    assert (caught.value.environments, caught.value.reset_needed) == ((2,), True)
    assert_same(theirs.reset()[0], np.zeros((3, 1), np.int64))


@pytest.mark.parametrize("processes", [1, 2])
def test_an_environment_that_was_killed_is_said_to_be(remote_vec: RemoteVec, processes: int) -> None:
    """It has a process of its own, whose end alone shows nothing but a broken pipe."""
    theirs = remote_vec("Fragile-v0", 4, processes=processes, vectorization_mode="async")
    for _ in range(2):
        theirs.reset()
        with pytest.raises(EnvironmentFailed, match=r"^environment 3: .* was killed by SIGKILL in step") as caught:
            theirs.step([0, 0, 0, 2])
        assert caught.value.environments == (3,)


def test_the_others_go_on_after_a_fault(remote_vec: RemoteVec) -> None:
    """Only those that share its process must be reset."""
    theirs = remote_vec("Fragile-v0", 5, processes=3)
    with pytest.raises(ResetNeeded, match="environments 0 to 1: reset all"):
        theirs.reset(options={"reset_mask": np.array([True, False, False, False, False])})
    theirs.reset()
    theirs.step([0] * 5)
    with pytest.raises(EnvironmentFailed, match=r"^environment 3: "):
        theirs.step([0, 0, 0, 1, 0])
    with pytest.raises(ResetNeeded, match=r"^environments 2, 3 have no episode") as caught:
        theirs.step([0] * 5)
    assert caught.value.environments == (2, 3)
    with pytest.raises(ResetNeeded, match=r"^environments 2 to 3: .* reset all of them"):
        theirs.reset(options={"reset_mask": np.array([False, False, True, False, True])})
    observations, _ = theirs.reset(options={"reset_mask": np.array([False, False, True, True, False])})
    assert observations.ravel().tolist() == [2, 2, 0, 0, 2]
    assert theirs.step([0] * 5)[0].ravel().tolist() == [3, 3, 1, 1, 3]


def test_a_step_after_the_end_of_one_episode_costs_no_other(remote_vec: RemoteVec) -> None:
    """Where autoreset is disabled: nothing is sent before it is reset."""
    theirs = remote_vec("Varied-v0", 4, processes=2, autoreset_mode="disabled", vectorization_mode="sync")
    beside = remote_vec("Varied-v0", 4, autoreset_mode="disabled", vectorization_mode="sync")
    theirs.reset(seed=[0, 4, 2, 9])
    beside.reset(seed=[0, 4, 2, 9])
    ended = np.zeros(4, np.bool_)
    while not ended.any():
        *_, terminated, truncated, _ = theirs.step([0] * 4)
        beside.step([0] * 4)
        ended = terminated | truncated
    for envs in (theirs, beside):
        for use in (envs.step, partial(envs.step_many, count=2)):
            with pytest.raises(ResetNeeded, match="have no episode") as caught:
                use([0] * 4)
            assert caught.value.environments == tuple(np.flatnonzero(ended).tolist())
    options = {"reset_mask": ended}
    assert_same(theirs.reset(seed=1, options=options), beside.reset(seed=1, options=options))
    assert_same(theirs.step([0] * 4), beside.step([0] * 4))


@pytest.mark.parametrize(
    "options",
    [
        {"reset_mask": [True] * 4},
        {"reset_mask": np.ones(3, np.bool_)},
        {"reset_mask": np.ones(4)},
        {"reset_mask": np.zeros(4, np.bool_)},
    ],
)
def test_a_mask_is_an_array_with_a_bool_for_each(remote_vec: RemoteVec, options: Any) -> None:
    """At least one of them must be true."""
    theirs = remote_vec("CartPole-v1", 4)
    with pytest.raises(RequestRefused, match="reset_mask"):
        theirs.reset(options=options)


def test_seeds_are_as_many_as_environments(remote_vec: RemoteVec) -> None:
    """A single seed is allowed as well."""
    with pytest.raises(RequestRefused, match="one for each of 4"):
        remote_vec("CartPole-v1", 4).reset(seed=[1, 2])


@PROCESSES
def test_a_failed_environment_is_reported_once(remote_vec: RemoteVec, processes: int) -> None:
    """All environments must then be reset and work again."""
    theirs = remote_vec("Fault/RaiseInStep-v0", 3, processes=processes)
    for _ in range(2):
        theirs.reset()
        with pytest.raises(EnvironmentFailed, match="the pole is not there"):
            theirs.step([0] * 3)
        with pytest.raises(ResetNeeded):
            theirs.step([0] * 3)


def test_processes_that_end_an_episode_apart_must_be_reset(remote_vec: RemoteVec) -> None:
    """If step_many stops early in one process, the others are ahead of it."""
    theirs = remote_vec("Varied-v0", 2, processes=2, autoreset_mode="disabled")
    theirs.reset(seed=[0, 4])
    with pytest.raises(ResetNeeded, match="different numbers of steps"):
        theirs.step_many([0, 0], 9)
    with pytest.raises(ResetNeeded, match="reset all"):
        theirs.reset(options={"reset_mask": np.array([True, False])})
    theirs.reset(seed=[0, 4])
    theirs.step([0, 0])


@PROCESSES
def test_they_render_together(remote_vec: RemoteVec, processes: int) -> None:
    """There is a frame for each environment, or None with a warning."""
    theirs = remote_vec("Episodes-v0", 3, processes=processes, render_mode="rgb_array")
    theirs.reset()
    theirs.step([0] * 3)
    frames = theirs.render()
    assert isinstance(frames, tuple)
    for frame in frames:
        assert_same(frame, np.full((64, 64, 3), 20, np.uint8))
    blind = remote_vec("Episodes-v0", 3)
    blind.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert blind.render() is None


@PROCESSES
def test_the_server_draws_actions_for_all(remote_vec: RemoteVec, processes: int) -> None:
    """Equal seeds draw equal batches."""
    theirs = remote_vec("Sampling/Packed-v0", 3, processes=processes)
    first = theirs.sample(seed=SEED)
    assert theirs.action_space.contains(first)
    assert shown(theirs.sample(seed=SEED)) == shown(first)
    assert shown(theirs.sample()) != shown(first)


@PROCESSES
def test_a_closed_environment_stays_closed(served: ServerProcess, processes: int) -> None:
    """Every session ends, and closing again does nothing."""
    before = sessions(served)
    with connect_vec(("127.0.0.1", served.port), "CartPole-v1", 3, processes=processes) as theirs:
        theirs.reset()
        assert isinstance(theirs, RemoteVectorEnv)
        begun = sessions(served) - before
        assert len(begun) == processes
    theirs.close()
    assert theirs.closed
    with pytest.raises(Closed):
        theirs.step([0] * 3)
    with pytest.raises(Closed):
        theirs.reset()
    eventually(lambda: not begun & sessions(served), PATIENCE, "the end of its sessions")


@pytest.mark.parametrize("processes", [0, 3])
def test_processes_are_no_more_than_environments(processes: int) -> None:
    """Each process has at least one environment."""
    with pytest.raises(ValueError, match="expected 1 to 2"):
        connect_vec(5001, "CartPole-v1", 2, processes=processes)


def test_autoreset_modes_have_names(remote_vec: RemoteVec) -> None:
    """Gymnasium's enum and the names of the protocol are accepted."""
    for mode in ("same_step", "SameStep", AutoresetMode.SAME_STEP):
        theirs = remote_vec("Varied-v0", 2, autoreset_mode=mode)
        assert theirs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    with pytest.raises(ValueError, match="unknown autoreset mode 'sometimes'; expected one of next_step"):
        remote_vec("Varied-v0", 2, autoreset_mode="sometimes")


def test_one_that_cannot_be_made_leaves_no_connection(served: ServerProcess) -> None:
    """The connections that were opened for the others are closed."""
    before = sessions(served)
    with pytest.raises(RequestRefused, match="no kwarg"):
        connect_vec(("127.0.0.1", served.port), "CartPole-v1", 4, processes=2, gravity=3)
    eventually(lambda: sessions(served) <= before, PATIENCE, "the end of its sessions")


def test_the_environments_own_vector_environment_is_used(remote_vec: RemoteVec) -> None:
    """It is the default where it exists."""
    ours = gymnasium.make_vec("CartPole-v1", 3, "vector_entry_point")
    theirs = remote_vec("CartPole-v1", 3)
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    actions = np.array([0, 1, 0])
    for _ in range(30):
        expected = ours.step(actions)
        assert_same(theirs.step(actions), (expected[0], expected[1].astype(np.float64), *expected[2:]))


@pytest.mark.parametrize("kind", SPACES)
def test_final_observations_are_elements_of_their_space(remote_vec: RemoteVec, kind: str, protocol: str) -> None:
    """They have the types of the observation space although they come in an info."""
    ours = local_vec(f"Sampling/{kind}-v0", 2, AutoresetMode.SAME_STEP)
    theirs = remote_vec(
        f"Sampling/{kind}-v0", 2, vectorization_mode="sync", autoreset_mode="same_step", protocol=protocol
    )
    ours.reset(seed=SEED)
    theirs.reset(seed=SEED)
    actions = theirs.action_space.sample()
    for _ in range(8):
        infos, expected = theirs.step(actions)[4], ours.step(actions)[4]
    assert list(infos) == list(expected)
    assert_same(infos["_final_obs"], expected["_final_obs"])
    assert infos["final_obs"].dtype == object
    assert [shown(each) for each in infos["final_obs"]] == [shown(each) for each in expected["final_obs"]]


@pytest.mark.parametrize(("processes", "mode"), [(1, "sync"), (1, "async"), (3, "sync")])
def test_nothing_is_cut_of_infos_of_different_types(remote_vec: RemoteVec, processes: int, mode: str) -> None:
    """In one process or several; Gymnasium makes 2 of 2.7 and raises for None."""
    theirs = remote_vec("Odd-v0", 3, processes=processes, vectorization_mode=mode)
    with pytest.warns(UserWarning, match="info.model"):
        assert theirs.reset(seed=[3, 4, 3])[1]["value"].tolist() == [2.0, 2.7, 2.0]
        infos = theirs.reset(seed=[0, 1, 2])[1]
    assert infos["value"].tolist() == [2, 2.7, None]
    assert infos["_value"].all()
    assert_same(infos["mask"], np.array([[1, 0]] * 3, np.int8))


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("four values", "returned 4 values from step; Gymnasium expects 5 values"),
        ("shape", "returned a value outside its space from step: "),
        ("array reward", "returned an array of shape .*; Gymnasium expects a number|returned an array as the reward"),
        ("text reward", 'returned "x" as the reward from step; Gymnasium expects a number'),
        ("array flag", "returned an array as the reward or as a flag from step"),
        ("info", "returned no info from step"),
    ],
)
def test_a_wrong_result_of_one_environment(remote_vec: RemoteVec, what: str, words: str, mode: str) -> None:
    """It is described as such and not as an exception, and the environment is named."""
    envs = remote_vec("WrongResults-v0", 3, vectorization_mode=mode, what=what)
    envs.reset()
    envs.step(np.array([0, 0, 0]))
    with pytest.raises(EnvironmentFailed, match=words) as caught:
        envs.step(np.array([0, 1, 0]))
    if (what, mode) != ("shape", "sync"):  # Gymnasium joins the observations of all environments at once
        assert str(caught.value).startswith("environment 1: ")
        assert caught.value.environments == (1,)
    envs.reset()
