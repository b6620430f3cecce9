"""Each of several environments may have an id, keyword arguments, options and seeds of its own."""

from __future__ import annotations

import copy
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from gymtwist.client import EnvironmentFailed, RequestRefused, UnknownKwarg, connect_vec
from tests.support.client_equivalence import RemoteVec, assert_same

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

#: The second process has one environment.
PROCESSES = pytest.mark.parametrize("processes", [1, 2])
MODES = pytest.mark.parametrize(("processes", "mode"), [(1, "sync"), (1, "async"), (2, "sync")])
GRAVITIES = [9.8, 1.6, 20.0]


def made_here(*environments: Any) -> Any:
    """Return a local vector of environments that may differ."""
    each = iter(environments)
    return SyncVectorEnv([lambda: next(each)] * len(environments))


@pytest.mark.parametrize(
    ("processes", "mode", "protocol"), [(1, "sync", "int32"), (1, "async", "netstring"), (2, "sync", "netstring")]
)
def test_keyword_arguments_of_each(remote_vec: RemoteVec, protocol: str, mode: Any, processes: int) -> None:
    """They are added to those of all."""
    ours = made_here(*(gymnasium.make("Pendulum-v1", g=each) for each in GRAVITIES))
    theirs = remote_vec(
        "Pendulum-v1",
        3,
        processes=processes,
        vectorization_mode=mode,
        protocol=protocol,
        kwargs=[{"g": each} for each in GRAVITIES],
    )
    assert_same(theirs.reset(seed=3), ours.reset(seed=3))
    for _ in range(20):
        actions = np.ones((3, 1), np.float32)
        assert_same(theirs.step(actions), ours.step(actions))


@PROCESSES
def test_an_id_of_each(remote_vec: RemoteVec, processes: int) -> None:
    """Without a number, there are as many as ids."""
    ids = ["CartPole-v0", "CartPole-v1", "CartPole-v0"]
    ours = made_here(*map(gymnasium.make, ids))
    theirs = remote_vec(ids, None, processes=processes)
    assert theirs.num_envs == 3
    assert_same(theirs.reset(seed=3), ours.reset(seed=3))
    for _ in range(20):
        assert_same(theirs.step([1] * 3), ours.step([1] * 3))


@MODES
def test_wrappers_are_around_each(remote_vec: RemoteVec, mode: Any, processes: int) -> None:
    """As they are if all are alike."""
    theirs = remote_vec(
        "Pendulum-v1",
        3,
        processes=processes,
        vectorization_mode=mode,
        wrappers=[{"name": "TimeAwareObservation"}],
        kwargs=[{"g": each} for each in GRAVITIES],
        max_episode_steps=2,
    )
    assert theirs.single_observation_space.shape == (4,)
    theirs.reset()
    theirs.step(np.ones((3, 1), np.float32))
    assert theirs.step(np.ones((3, 1), np.float32))[3].all()
    assert theirs.spec is not None
    assert theirs.spec.max_episode_steps == 2


@MODES
def test_options_and_seeds_of_resets_that_have_none(remote_vec: RemoteVec, mode: Any, processes: int) -> None:
    """Autoreset begins with them; a reset that has its own does not."""
    envs = remote_vec(
        "Arguments-v0",
        3,
        processes=processes,
        vectorization_mode=mode,
        autoreset_options=[{"level": 1}, {"level": 2}, {}],
        autoreset_seeds=[[10, 11], [20], []],
    )

    def begun(infos: Any) -> list[Any]:
        return [(infos["seed"][index], infos["level"][index] if infos["_level"][index] else None) for index in range(3)]

    assert begun(envs.reset(seed=5, options={"level": 7})[1]) == [("5", 7), ("6", 7), ("7", 7)]
    for expected in (
        [("10", 1), ("20", 2), ("None", None)],
        [("11", 1), ("None", 2), ("None", None)],
        [("None", 1), ("None", 2), ("None", None)],
    ):
        envs.step([0] * 3)
        assert begun(envs.step([0] * 3)[4]) == expected


def test_a_copy_has_the_same(remote_vec: RemoteVec) -> None:
    """A specification and a copied object keep what each environment has of its own."""
    envs = remote_vec("Arguments-v0", 2, processes=2, kwargs=[{"value": 1}, {"value": 2}], autoreset_seeds=[[10], [20]])
    assert envs.spec is not None
    with copy.copy(envs) as copied, closing(gymnasium.make_vec(envs.spec, 2)) as again:
        for each in (envs, copied, again):
            infos = each.reset(options={})[1]
            assert infos["value"].tolist() == [1, 2]
            assert infos["seed"].tolist() == ["10", "20"]


@pytest.mark.parametrize(
    "given",
    [
        {"env_id": ["CartPole-v1"] * 2},
        {"kwargs": [{}] * 4},
        {"autoreset_options": [{}] * 2},
        {"autoreset_seeds": [[1]]},
    ],
)
def test_there_is_one_for_each(given: dict[str, Any]) -> None:
    """The error says which list is too long or too short."""
    (name,) = given
    with pytest.raises(ValueError, match=rf"{name} has \d elements: expected one for each of 3 environments"):
        connect_vec("localhost:1", **{"env_id": "CartPole-v1", "num_envs": 3, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"env_id": ["CartPole-v1", None]},
        {"kwargs": [1, 2]},
        {"autoreset_options": [1, 2]},
        {"autoreset_seeds": 7},
        {"autoreset_seeds": [1, 2]},
        {"autoreset_seeds": [[None]] * 2},
    ],
)
def test_other_types_are_refused(given: dict[str, Any]) -> None:
    """Before a connection is made; the error names the argument."""
    (name,) = given
    with pytest.raises(ValueError, match=f"{name} .*expected"):
        connect_vec("localhost:1", **{"env_id": "CartPole-v1", "num_envs": 2, **given})


def test_a_keyword_argument_is_given_once() -> None:
    """Either to all or to each."""
    with pytest.raises(TypeError, match=r"given twice.*: g"):
        connect_vec("localhost:1", "Pendulum-v1", 2, kwargs=[{"g": 1}, {}], g=2)


@PROCESSES
def test_an_error_names_the_environment(remote_vec: RemoteVec, processes: int) -> None:
    """By its index among those of all processes."""
    with pytest.raises(UnknownKwarg, match=r'environment 2: .*takes no kwarg "gee"') as caught:
        remote_vec("Pendulum-v1", 3, processes=processes, kwargs=[{}, {"g": 1}, {"gee": 2}])
    assert caught.value.environments == (2,)
    with pytest.raises(RequestRefused, match=r"environment 2: .*NoSuch-v0") as refused:
        remote_vec(["CartPole-v1", "CartPole-v1", "NoSuch-v0"], 3, processes=processes)
    assert refused.value.environments == (2,)
    with pytest.raises(RequestRefused, match=r'environment 2: kwarg "g" has ./etc'):
        remote_vec("Pendulum-v1", 3, processes=processes, kwargs=[{}, {}, {"g": "/etc/passwd"}])


@MODES
def test_a_constructor_that_fails_is_that_of_an_environment(remote_vec: RemoteVec, mode: Any, processes: int) -> None:
    """The error names it, although the others could be made."""
    kwargs = [{}, {}, {"map_name": "9x9"}]
    with pytest.raises(EnvironmentFailed, match=r"^environment 2: the environment raised KeyError in make") as caught:
        remote_vec("FrozenLake-v1", 3, processes=processes, vectorization_mode=mode, kwargs=kwargs)
    assert caught.value.environments == (2,)


@MODES
def test_their_spaces_are_the_same(remote_vec: RemoteVec, mode: Any, processes: int) -> None:
    """As Gymnasium demands; the error names the environment that differs."""
    with pytest.raises(RequestRefused, match=r"^environment 2: .*(action|observation)_space") as caught:
        remote_vec(["CartPole-v1", "CartPole-v1", "Acrobot-v1"], 3, processes=processes, vectorization_mode=mode)
    assert (caught.value.code, caught.value.environments) == ("invalid-field", (2,))


def test_a_vector_environment_of_its_own_has_no_differences(remote_vec: RemoteVec) -> None:
    """It makes all environments alike."""
    with pytest.raises(RequestRefused, match="makes all environments alike"):
        remote_vec(["CartPole-v1"] * 2, 2, vectorization_mode="vector_entry_point")
