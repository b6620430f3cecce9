"""Wrappers at the server do what the same ones do around a local environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.registration import EnvSpec, WrapperSpec
from gymnasium.vector import SyncVectorEnv

from gymtwist.client import EnvironmentFailed, RequestRefused, connect
from tests.support.client_equivalence import Remote, RemoteVec, assert_same, local
from tests.support.scripted_server import Script, made

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

SEED = 11
Wrap = Callable[[Any], Any]

CARTPOLE: list[Wrap] = [
    lambda env: wrappers.FrameStackObservation(env, 3, padding_type="zero"),
    lambda env: wrappers.ReshapeObservation(env, (4, 3)),
    lambda env: wrappers.NormalizeObservation(env),
    lambda env: wrappers.NormalizeReward(env, gamma=0.9),
    lambda env: wrappers.DtypeObservation(env, np.float64),
]
PENDULUM: list[Wrap] = [
    lambda env: wrappers.RescaleAction(env, np.float32(-1.0), np.array([1.0], np.float32)),
    lambda env: wrappers.DiscretizeAction(env, 5),
    lambda env: wrappers.TimeAwareObservation(env),
    lambda env: wrappers.ClipReward(env, -1.0, 0.0),
    lambda env: wrappers.StickyAction(env, 0.3, (1, 2)),
]
PONG: list[Wrap] = [
    lambda env: wrappers.AtariPreprocessing(env, noop_max=5, screen_size=(42, 84)),
    lambda env: wrappers.FrameStackObservation(env, 4),
]


def wrapped(environment: Any, layers: list[Wrap]) -> Any:
    """Return an environment in layers."""
    for each in layers:
        environment = each(environment)
    return environment


def layers_of(environment: str) -> list[Wrap]:
    """Return the layers for an environment."""
    if environment == "ALE/Pong-v5":
        pytest.importorskip("ale_py")
        pytest.importorskip("cv2")
        return PONG
    return CARTPOLE if environment == "CartPole-v1" else PENDULUM


@pytest.mark.parametrize("protocol", ["int32", "netstring"])
@pytest.mark.parametrize(
    ("environment", "kwargs"), [("CartPole-v1", {}), ("Pendulum-v1", {}), ("ALE/Pong-v5", {"frameskip": 1})]
)
def test_they_are_the_same_as_local_ones(
    remote: Remote, environment: str, kwargs: dict[str, Any], protocol: str
) -> None:
    """As the specification of the local environment has them: spaces, observations, rewards and infos."""
    layers = layers_of(environment)
    ours = wrapped(local(environment, **kwargs), layers)
    theirs = remote(environment, wrappers=ours.spec.additional_wrappers, protocol=protocol, **kwargs)
    assert theirs.observation_space == ours.observation_space
    assert theirs.action_space == ours.action_space
    ours.action_space.seed(SEED)
    seed: int | None = SEED
    for _ in range(2):
        observation, info = ours.reset(seed=seed)
        if "seeds" in info:  # ale-py's is a tuple, which messages do not have
            info["seeds"] = list(map(int, info["seeds"]))
        assert_same(theirs.reset(seed=seed), (observation, info))
        for _ in range(40):
            action = ours.action_space.sample()
            expected = ours.step(action)
            assert_same(theirs.step(action), expected)
            if expected[2] or expected[3]:
                break
        seed = None
    ours.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_each_environment_of_a_vector_has_its_own(remote_vec: RemoteVec, processes: int) -> None:
    """As in a local vector of wrapped environments."""
    layers = CARTPOLE[:3]
    ours = SyncVectorEnv([lambda: wrapped(local("CartPole-v1"), layers)] * 3)
    specs = wrapped(local("CartPole-v1"), layers).spec.additional_wrappers
    theirs = remote_vec("CartPole-v1", 3, wrappers=specs, processes=processes)
    assert theirs.single_observation_space == ours.single_observation_space
    ours.action_space.seed(SEED)
    assert_same(theirs.reset(seed=[1, 2, 3]), ours.reset(seed=[1, 2, 3]))
    for _ in range(40):
        actions = ours.action_space.sample()
        assert_same(theirs.step(actions), ours.step(actions))


def test_a_specification_has_them(remote: Remote) -> None:
    """So the environment can be made again from JSON, wrapped once."""
    theirs = remote("CartPole-v1", wrappers=[wrappers.FrameStackObservation.wrapper_spec(stack_size=3)])
    assert theirs.spec is not None and theirs.spec.additional_wrappers == ()
    stored = theirs.spec.to_json()
    assert json.loads(stored)["kwargs"]["connect_options"]["wrappers"] == [
        {"name": "FrameStackObservation", "kwargs": {"stack_size": 3}}
    ]
    with gymnasium.make(EnvSpec.from_json(stored)) as again:
        assert again.observation_space == theirs.observation_space
        assert_same(again.reset(seed=SEED), theirs.reset(seed=SEED))


def test_a_fresh_environment_after_a_crash_has_them(remote: Remote) -> None:
    """As the first one had."""
    theirs = remote("Fault/SegfaultInStep-v0", wrappers=[{"name": "DelayObservation", "kwargs": {"delay": 1}}])
    first = theirs.reset(seed=SEED)
    with pytest.raises(EnvironmentFailed):
        theirs.step(0)
    assert_same(theirs.reset(seed=SEED), first)
    assert theirs.get_wrapper_attr("delay") == 1


def test_statistics_and_a_limit(remote: Remote) -> None:
    """What wrappers add to infos arrives; the specification has the limit."""
    names: list[Any] = [
        {"name": "TimeLimit", "kwargs": {"max_episode_steps": 2}},
        {"name": "RecordEpisodeStatistics"},
    ]
    theirs = remote("CartPole-v1", wrappers=names)
    assert theirs.spec is not None and theirs.spec.max_episode_steps == 2
    theirs.reset(seed=SEED)
    theirs.step(0)
    *_, truncated, info = theirs.step(0)
    assert truncated and (info["episode"]["r"], info["episode"]["l"]) == (2.0, 2)


@pytest.mark.parametrize(
    ("name", "kwargs", "code", "text"),
    [
        (
            "RecordVideo",
            {"video_folder": "x"},
            "wrapper-refused",
            "gymnasium,gymnasium.wrappers:RecordVideo",
        ),
        ("FilterObservation", {"filter_keys": ["../x"]}, "wrapper-refused", '"filter_keys" has "../x"'),
        ("FrameStackObservation", {"stack_size": 10**6}, "wrapper-refused", '"stack_size"'),
        ("DelayObservation", {"delay": 10**9}, "invalid-field", "delay 1000000000 would take 16,000,000,000 bytes"),
        ("GrayscaleObservation", {}, "invalid-field", "requires an image"),
    ],
)
def test_a_wrapper_that_is_refused(remote: Remote, name: str, kwargs: dict[str, Any], code: str, text: str) -> None:
    """The error names it."""
    with pytest.raises(RequestRefused) as caught:
        remote("CartPole-v1", wrappers=[{"name": name, "kwargs": kwargs}])
    assert caught.value.code == code
    assert f'wrappers[0] "{name}"' in str(caught.value) and text in str(caught.value)


def test_wrappers_have_a_limit_together(remote: Remote) -> None:
    """The error names the one that exceeds it."""
    layers = [{"name": "DelayObservation", "kwargs": {"delay": 5_000_000}} for _ in range(2)]  # of 16 bytes each
    with pytest.raises(RequestRefused, match=r"wrappers\[1\] .* of which the wrappers before it take 80,000,000"):
        remote("CartPole-v1", wrappers=layers)
    remote("CartPole-v1", wrappers=layers[:1])


@pytest.mark.parametrize(
    ("wrapper", "text"),
    [
        (wrappers.FlattenObservation, "is no wrapper: expected a gymnasium.envs.registration.WrapperSpec"),
        ({"title": "FlattenObservation"}, "is no wrapper"),
        ({"name": "FlattenObservation", "kwargs": None}, "is no wrapper"),
        ({"name": "FlattenObservation", "kwargs": [1]}, "is no wrapper"),
        (WrapperSpec("Mine", "mine:Mine", None), "the arguments of the wrapper Mine are unknown"),
    ],
)
def test_what_is_no_wrapper(remote: Remote, wrapper: Any, text: str) -> None:
    """The client says so."""
    with pytest.raises(ValueError, match=text):
        remote("CartPole-v1", wrappers=[wrapper])


def test_wrappers_are_a_list(remote: Remote) -> None:
    """Anything else is the caller's error."""
    with pytest.raises(ValueError, match="wrappers is None: expected a list of wrappers"):
        remote("CartPole-v1", wrappers=None)


def test_a_server_that_does_not_know_of_wrappers(scripted: Script) -> None:
    """It ignores the field: its environment would not be wrapped."""
    with pytest.raises(RequestRefused, match="put them around the environment here"):
        connect(("127.0.0.1", scripted(made()).port), "CartPole-v1", wrappers=[{"name": "FlattenObservation"}])
