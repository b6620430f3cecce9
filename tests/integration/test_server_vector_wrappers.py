"""Wrappers of a vector environment at the server do what the same ones do around a local vector environment."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector

from gymtwist.client import EnvironmentFailed, RequestRefused, connect_vec
from tests.support.client_equivalence import RemoteVec, assert_same, local
from tests.support.scripted_server import Script, made

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 11
#: A wrapper as messages have it.
Layer = tuple[str, dict[str, Any]]
PER_ENVIRONMENT: list[Layer] = [
    ("RecordEpisodeStatistics", {}),
    ("ClipReward", {"max_reward": 0.5}),
    ("ReshapeObservation", {"shape": (2, 2)}),
    ("DtypeObservation", {"dtype": "float64"}),
]
STATISTICS: list[Layer] = [
    ("RecordEpisodeStatistics", {"stats_key": "stats"}),
    ("NormalizeObservation", {}),
    ("NormalizeReward", {"gamma": 0.9}),
]
PENDULUM: list[Layer] = [
    ("RescaleAction", {"min_action": -1.0, "max_action": 1.0}),
    ("ClipAction", {}),
    ("ReshapeObservation", {"shape": (3, 1)}),
    ("FlattenObservation", {}),
    ("NormalizeReward", {}),
]
#: As the constructor of a vector wrapper records its arguments.
NORMALIZE = WrapperSpec(
    "NormalizeObservation", "gymnasium.wrappers.vector.stateful_observation:NormalizeObservation", {"epsilon": 0.25}
)
SAME_ACTIONS: list[Layer] = [("RescaleAction", {"min_action": -2.0, "max_action": 2.0})]


def layers_of(layers: list[Layer]) -> list[dict[str, Any]]:
    """Return layers as the client takes them."""
    return [{"name": name, "kwargs": kwargs} for name, kwargs in layers]


def wrapped(environment: Any, layers: list[Layer]) -> Any:
    """Return a vector environment in layers."""
    for name, kwargs in layers:
        environment = getattr(vector, name)(environment, **kwargs)
    return environment


def make_local(environment: str, layers: list[Layer], mode: AutoresetMode = AutoresetMode.NEXT_STEP) -> Any:
    """Return three local environments in layers."""
    return wrapped(SyncVectorEnv([lambda: local(environment)] * 3, autoreset_mode=mode), layers)


def timeless(returned: Any) -> Any:
    """Return a result without the seconds that episodes took."""
    info = returned[-1]
    for each in info.values():
        if isinstance(each, dict) and "t" in each:
            each["t"] = np.zeros_like(each["t"])
    return returned


def assert_alike(theirs: Any, ours: Any, steps: int = 40) -> None:
    """Play some episodes with both and compare all that they return."""
    assert theirs.single_observation_space == ours.single_observation_space
    assert theirs.single_action_space == ours.single_action_space
    assert theirs.observation_space == ours.observation_space
    ours.unwrapped.action_space.seed(SEED)
    for seed in (SEED, None):
        assert_same(theirs.reset(seed=seed), ours.reset(seed=seed))
        for _ in range(steps):
            actions = ours.unwrapped.action_space.sample()
            expected = timeless(ours.step(np.copy(actions)))
            assert_same(timeless(theirs.step(actions)), expected)
            if ours.unwrapped.metadata["autoreset_mode"] is AutoresetMode.DISABLED and (ended := expected[2]).any():
                mask = {"reset_mask": np.asarray(ended)}
                assert_same(theirs.reset(options=dict(mask)), ours.reset(options=dict(mask)))


@pytest.mark.parametrize(("mode", "protocol"), [("sync", "int32"), ("async", "int32"), ("sync", "netstring")])
@pytest.mark.parametrize(
    ("environment", "layers"),
    [
        ("CartPole-v1", PER_ENVIRONMENT),
        ("CartPole-v1", STATISTICS),
        ("Pendulum-v1", PENDULUM),
        ("Pendulum-v1", SAME_ACTIONS),
    ],
)
def test_they_are_the_same_as_local_ones(
    remote_vec: RemoteVec, environment: str, layers: list[Layer], mode: str, protocol: str
) -> None:
    """Spaces, observations, rewards and infos of several episodes."""
    if protocol == "netstring":  # JSON has no arrays in infos
        layers = [each for each in layers if each[0] != "RecordEpisodeStatistics"]
    arguments: Any = {"vectorization_mode": mode, "protocol": protocol}
    theirs = remote_vec(environment, 3, vector_wrappers=layers_of(layers), **arguments)
    assert_alike(theirs, make_local(environment, layers))


@pytest.mark.parametrize(
    ("mode", "layers"), [(AutoresetMode.SAME_STEP, PER_ENVIRONMENT[:2]), (AutoresetMode.DISABLED, PER_ENVIRONMENT)]
)
def test_other_autoreset_modes(remote_vec: RemoteVec, mode: AutoresetMode, layers: list[Layer]) -> None:
    """Gymnasium's wrappers of observations do not support the first; in the second some are reset alone."""
    theirs = remote_vec(
        "CartPole-v1",
        3,
        vector_wrappers=layers_of(layers),
        vectorization_mode="sync",
        autoreset_mode=mode,
    )
    assert_alike(theirs, make_local("CartPole-v1", layers, mode))


def test_several_processes(remote_vec: RemoteVec) -> None:
    """Wrappers that treat each environment by itself do the same around each part."""
    theirs = remote_vec(
        "CartPole-v1", 3, vector_wrappers=layers_of(PER_ENVIRONMENT), vectorization_mode="sync", processes=2
    )
    ours = make_local("CartPole-v1", PER_ENVIRONMENT)
    ours.action_space.seed(SEED)
    assert_same(theirs.reset(seed=[1, 2, 3]), ours.reset(seed=[1, 2, 3]))
    for _ in range(40):
        actions = ours.action_space.sample()
        assert_same(timeless(theirs.step(actions)), timeless(ours.step(actions)))


@pytest.mark.parametrize("name", ["NormalizeObservation", "gymnasium.wrappers.vector:NormalizeReward"])
def test_statistics_of_all_environments_need_one_process(remote_vec: RemoteVec, name: str) -> None:
    """The error names the remedies."""
    layers = [{"name": "ClipReward"}, {"name": name}]
    with pytest.raises(
        ValueError, match=r"vector_wrappers\[1\] .* keeps statistics .*processes=1, with vectorization_"
    ):
        remote_vec("CartPole-v1", 3, vector_wrappers=layers, processes=2)


def test_both_kinds_of_wrappers(remote_vec: RemoteVec) -> None:
    """Those of each environment are inside."""
    theirs = remote_vec(
        "CartPole-v1",
        2,
        wrappers=[gymnasium.wrappers.FrameStackObservation.wrapper_spec(stack_size=3)],
        vector_wrappers=[NORMALIZE, {"name": "FlattenObservation"}],
    )
    assert theirs.single_observation_space.shape == (12,)
    assert theirs.reset(seed=SEED)[0].shape == (2, 12)


def test_the_vector_environment_of_its_own_is_wrapped(remote_vec: RemoteVec) -> None:
    """As a local one is."""
    theirs = remote_vec("CartPole-v1", 3, vector_wrappers=layers_of(STATISTICS))
    ours = wrapped(gymnasium.make_vec("CartPole-v1", 3, "vector_entry_point"), STATISTICS)
    assert_alike(theirs, ours)


@pytest.mark.parametrize("processes", [1, 2])
def test_an_episode_that_fails_ends(remote_vec: RemoteVec, processes: int) -> None:
    """The other one goes on, and the statistics have the steps of both."""
    theirs = remote_vec(
        "Mortal-v0",
        2,
        vector_wrappers=[{"name": "RecordEpisodeStatistics"}, {"name": "DtypeObservation", "kwargs": {"dtype": "f8"}}],
        on_failure="truncate",
        processes=processes,
    )
    theirs.reset(seed=SEED)
    theirs.step([0, 0])
    observations, _, _, truncated, infos = theirs.step([0, 1])
    assert observations.dtype == np.float64 and observations.ravel().tolist() == [2, 1]
    assert truncated.tolist() == infos["_error"].tolist() == infos["_episode"].tolist() == [False, True]
    assert (infos["episode"]["l"][1], infos["episode"]["r"][1]) == (2, 1.0)
    assert theirs.step([0, 0])[0].ravel().tolist() == [3, 0]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_attributes_are_those_of_the_environments(remote_vec: RemoteVec, mode: str) -> None:
    """They are read and changed inside the wrappers."""
    theirs = remote_vec("CartPole-v1", 2, vector_wrappers=layers_of(PER_ENVIRONMENT), vectorization_mode=mode)
    theirs.set_attr("gravity", [1.5, 2.5])
    assert list(theirs.get_attr("gravity")) == [1.5, 2.5]


def test_a_specification_has_them(remote_vec: RemoteVec) -> None:
    """So the environments can be made again from JSON; a single one has none."""
    theirs = remote_vec("CartPole-v1", 2, vector_wrappers=[NORMALIZE])
    assert theirs.spec is not None
    stored = theirs.spec.to_json()
    assert json.loads(stored)["kwargs"]["connect_options"]["vector_wrappers"] == [
        {"name": "NormalizeObservation", "kwargs": {"epsilon": 0.25}}
    ]
    again = gymnasium.make_vec(EnvSpec.from_json(stored), 2)
    assert_same(again.reset(seed=SEED), theirs.reset(seed=SEED))
    again.close()
    with gymnasium.make(EnvSpec.from_json(stored)) as single:
        assert single.observation_space == local("CartPole-v1").observation_space


def test_a_fresh_environment_after_a_crash_has_them(remote_vec: RemoteVec) -> None:
    """As the first one had."""
    theirs = remote_vec("Fault/SegfaultInStep-v0", 2, vector_wrappers=layers_of(PER_ENVIRONMENT[3:]))
    first = theirs.reset(seed=SEED)
    assert first[0].dtype == np.float64
    with pytest.raises(EnvironmentFailed):
        theirs.step([0, 0])
    assert_same(theirs.reset(seed=SEED), first)


@pytest.mark.parametrize(
    ("name", "kwargs", "code", "text"),
    [
        ("RecordVideo", {"video_folder": "x"}, "wrapper-refused", "gymnasium,gymnasium.wrappers.vector:RecordVideo"),
        ("gymnasium.wrappers:TimeLimit", {"max_episode_steps": 1}, "wrapper-refused", "send it in `wrappers`"),
        ("FrameStackObservation", {"stack_size": 2}, "wrapper-refused", "vector:FrameStackObservation"),
        ("FilterObservation", {"filter_keys": ["../x"]}, "wrapper-refused", '"filter_keys" has "../x"'),
        (
            "RecordEpisodeStatistics",
            {"buffer_length": 10**9},
            "invalid-field",
            "would take 192,000,000,000 bytes for 2",
        ),
        ("GrayscaleObservation", {}, "invalid-field", "cannot wrap this environment"),
        ("NormalizeReward", {"gamma": 2.0}, "invalid-field", "should be in the interval"),
    ],
)
def test_a_wrapper_that_is_refused(
    remote_vec: RemoteVec, name: str, kwargs: dict[str, Any], code: str, text: str
) -> None:
    """The error names it."""
    with pytest.raises(RequestRefused) as caught:
        remote_vec("CartPole-v1", 2, vector_wrappers=[{"name": name, "kwargs": kwargs}])
    assert caught.value.code == code
    assert f'vector_wrappers[0] "{name}"' in str(caught.value) and text in str(caught.value)


@pytest.mark.parametrize("mode", ["same_step", "disabled"])
def test_an_autoreset_mode_that_a_wrapper_does_not_support(remote_vec: RemoteVec, mode: str) -> None:
    """The error has Gymnasium's words."""
    with pytest.raises(RequestRefused, match=r'vector_wrappers\[0\] "NormalizeObservation" cannot wrap .*NEXT_STEP'):
        remote_vec(
            "CartPole-v1",
            2,
            vector_wrappers=[{"name": "NormalizeObservation"}],
            vectorization_mode="sync",
            autoreset_mode=mode,
        )


def test_a_mask_that_a_wrapper_does_not_support(remote_vec: RemoteVec) -> None:
    """The episodes go on."""
    theirs = remote_vec("CartPole-v1", 2, vector_wrappers=[{"name": "NormalizeObservation"}], vectorization_mode="sync")
    theirs.reset(seed=SEED)
    with pytest.raises(RequestRefused, match="takes only resets of all"):
        theirs.reset(options={"reset_mask": np.array([True, False])})
    theirs.step([0, 0])
    theirs.reset(options={"reset_mask": np.array([True, True])})


@pytest.mark.parametrize(
    ("argument", "spec", "fits"),
    [
        ("vector_wrappers", gymnasium.wrappers.FlattenObservation.wrapper_spec(), "wrappers"),
        ("wrappers", WrapperSpec("", "gymnasium.wrappers.vector:NormalizeReward", {}), "vector_wrappers"),
    ],
)
def test_the_other_kind_of_wrapper(remote_vec: RemoteVec, argument: str, spec: Any, fits: str) -> None:
    """The client says where to give it."""
    given: dict[str, Any] = {argument: [spec]}
    with pytest.raises(ValueError, match=f"is not for {argument}: give it in {fits}"):
        remote_vec("CartPole-v1", 2, **given)


def test_a_server_that_does_not_know_of_them(scripted: Script) -> None:
    """It ignores the field: its environments would not be wrapped."""
    address = ("127.0.0.1", scripted(made(num_envs=1)).port)
    with pytest.raises(RequestRefused, match="without `vector_wrappers`: put them around the vector environment here"):
        connect_vec(address, "CartPole-v1", 1, vector_wrappers=[{"name": "ClipAction"}])
