"""A remote environment is what it would be here: spaces, steps, infos, rendering, and what it says about itself."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from gymtwist.client import EnvironmentFailed, RequestRefused
from tests.support.client_environments import SPACES, shown
from tests.support.client_equivalence import Remote, assert_same, local
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

READS_LOG = True

SEED = 77


@pytest.mark.parametrize(
    "environment", ["CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Acrobot-v1", "CliffWalking-v1"]
)
def test_a_trajectory_is_the_local_one(remote: Remote, protocol: str, environment: str) -> None:
    """Results equal the local ones to the last bit and have the types of Gymnasium's spaces."""
    ours, theirs = (
        local(environment, max_episode_steps=30),
        remote(environment, max_episode_steps=30, protocol=protocol),
    )
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    ours.action_space.seed(SEED)
    for _ in range(100):
        action = ours.action_space.sample()
        stepped = ours.step(action)
        given = theirs.step(action)
        assert_same(given[0], stepped[0])
        assert type(given[0]) is type(stepped[0])
        assert given[1:4] == (float(stepped[1]), bool(stepped[2]), bool(stepped[3]))
        assert [type(each) for each in given[1:]] == [type(stepped[1]), bool, bool, dict]
        assert given[4] == pytest.approx(stepped[4])
        if stepped[2] or stepped[3]:
            ours.reset()
            theirs.reset()


def _types(value: Any) -> Any:
    """Return the types of the parts of an observation."""
    return tuple(map(_types, value)) if isinstance(value, tuple) else type(value)


@pytest.mark.parametrize("environment", ["FrozenLake-v1", "Blackjack-v1", "Sampling/Discrete-v0", "Sampling/Packed-v0"])
def test_numbers_have_the_types_that_the_environment_gave(remote: Remote, protocol: str, environment: str) -> None:
    """Python's integers or NumPy's, in every part of an observation."""
    theirs = remote(environment, protocol=protocol, check_observations=True)
    theirs.reset(seed=SEED)
    ours = local(environment) if environment.endswith("v1") else None
    first, _ = theirs.reset(seed=SEED)
    second = theirs.step(theirs.action_space.sample())[0]
    expected = _types(theirs.observation_space.sample() if ours is None else ours.reset(seed=SEED)[0])
    assert _types(first) == _types(second) == expected


@pytest.mark.parametrize(("kind", "scalar"), [("int", int), ("float32", np.float32), ("float64", np.float64)])
def test_rewards_have_the_type_of_the_first(remote: Remote, protocol: str, kind: str, scalar: Any) -> None:
    """If it can hold them: none is changed for its type; and also after a reset."""
    theirs = remote("RewardTypes-v0", protocol=protocol, kind=kind)
    fits = {"int": [True, False, False, True], "float32": [True, False, True, False], "float64": [True] * 4}[kind]
    for _ in range(2):
        theirs.reset()
        rewards = [theirs.step(0)[1] for _ in range(4)]
        assert [float(each) for each in rewards] == pytest.approx([2.0, 0.1, np.inf, 1e300], rel=0)
        assert [type(each) for each in rewards] == [scalar if each else float for each in fits]
    assert theirs.step_many([0]).rewards.dtype == np.float64


@pytest.mark.parametrize("kind", SPACES)
def test_elements_of_every_space_come_and_go_exactly(remote: Remote, protocol: str, kind: str) -> None:
    """Observations and actions keep their values and types."""
    theirs = remote(f"Sampling/{kind}-v0", protocol=protocol)
    space: Any = SPACES[kind]
    assert theirs.observation_space == theirs.action_space == space
    space.seed(SEED)
    observation, _ = theirs.reset(seed=SEED)
    assert shown(observation) == shown(space.sample())
    theirs.action_space.seed(3)
    for _ in range(8):
        action = theirs.action_space.sample()
        observation, *_, info = theirs.step(action)
        assert info == {"action": shown(action), "contained": True}
        assert shown(observation) == shown(space.sample())
        assert theirs.observation_space.contains(observation)


@pytest.mark.parametrize("kind", ["Box", "Scalar", "Dict", "Packed", "Tuple", "Graph", "Stacked"])
def test_observations_are_the_users_own(remote: Remote, protocol: str, kind: str) -> None:
    """They can be kept and written to, and nothing else changes them."""
    theirs = remote(f"Sampling/{kind}-v0", protocol=protocol)
    observation, _ = theirs.reset(seed=SEED)
    before = shown(observation)
    theirs.step(theirs.action_space.sample())
    assert shown(observation) == before
    for array in _arrays(observation):
        assert array.flags.writeable
        assert array.flags.aligned
        array[...] = 0


def _arrays(value: Any) -> list[np.ndarray[Any, Any]]:
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    return [array for each in value for array in _arrays(each)] if isinstance(value, tuple) else []


def test_an_info_comes_as_it_was(remote: Remote) -> None:
    """Arrays keep dtype and shape; NumPy scalars become Python numbers."""
    theirs = remote("Info-v0")
    theirs.reset()
    info = theirs.step(0)[4]
    assert (info["integer"], info["truth"], info["text"], info["none"]) == (7, True, "größer", None)
    assert_same(info["array"], np.arange(6).reshape(2, 3))
    assert_same(info["nested"]["deep"]["array"], np.zeros(2))
    assert_same(info["array of both"], np.array([np.nan, -np.inf, 1.0]))
    assert np.isnan(info["nan"])


@pytest.mark.parametrize(("wanted", "expected"), [("all", [True] * 8), ("episode", [False] * 7 + [True])])
def test_infos_can_be_left_out(remote: Remote, wanted: str, expected: list[bool]) -> None:
    """A client can ask for the infos of final steps only, or for none."""
    theirs = remote("Sampling/Discrete-v0", info=wanted)
    assert theirs.reset(seed=SEED)[1] == {"options": None}
    assert [bool(theirs.step(10)[4]) for _ in range(8)] == expected
    assert remote("Sampling/Discrete-v0", info="none").reset()[1] == {}


def test_options_and_seeds_reach_the_environment(remote: Remote, protocol: str) -> None:
    """A seed may be any kind of integer."""
    theirs = remote("Sampling/Discrete-v0", protocol=protocol)
    options = {"a": [1, 2.5, None, "x"], "b": {"c": True}}
    seed: Any = np.int32(5)
    first, info = theirs.reset(seed=seed, options=options)
    assert info == {"options": options}
    assert theirs.reset(seed=5)[0] == first


def test_a_lenient_server_leaves_actions_and_ends_to_the_environment(remote: Remote, protocol: str) -> None:
    """As it is here: MuJoCo and Pendulum clip an action, and CartPole goes on after its end with a warning."""
    ours, theirs = local("Pendulum-v1").unwrapped, remote("Pendulum-v1", protocol=protocol, lenient=True)
    assert_same(theirs.reset(seed=SEED), ours.reset(seed=SEED))
    outside = np.array([100.0], np.float32)
    assert_same(theirs.step(outside), ours.step(outside))
    with pytest.raises(RequestRefused, match="is an array of shape"):
        theirs.step(np.zeros(2, np.float32))
    ended = remote("CartPole-v1", protocol=protocol, lenient=True, max_episode_steps=1)
    ended.reset(seed=SEED)
    assert ended.step(0)[3]
    assert ended.step(0)[1] == 1.0
    assert ended.step_many([0]).rewards.tolist() == [1.0]


def test_a_lenient_environment_is_copied_as_such(remote: Remote) -> None:
    """Its specification has it."""
    theirs = remote("Pendulum-v1", lenient=True)
    assert theirs.spec is not None
    stored = EnvSpec.from_json(theirs.spec.to_json())
    with gymnasium.make(stored, disable_env_checker=True) as again:
        again.reset()
        again.step(np.array([100.0], np.float32))


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_an_invalid_seed_is_refused(remote: Remote, seed: Any) -> None:
    """The environment remains usable."""
    theirs = remote("CartPole-v1")
    with pytest.raises(RequestRefused, match="expected an integer from 0"):
        theirs.reset(seed=seed)
    theirs.reset()


def test_keyword_arguments_of_any_name_reach_the_environment(remote: Remote) -> None:
    """`kwargs` passes names that connect uses itself."""
    assert remote("Kwargs-v0", kwargs={"timeout": 7.5}).reset()[0] == [7.5]
    assert remote("Pendulum-v1", g=1.0).spec.kwargs["g"] == 1.0  # type: ignore[union-attr]
    with pytest.raises(TypeError, match=r"given twice.* g"):
        remote("Pendulum-v1", g=1.0, kwargs={"g": 2.0})


def test_it_describes_itself_like_a_local_environment(remote: Remote) -> None:
    """It has the same specification, metadata and render mode, except for windows on the server's screen."""
    theirs, ours = remote("CartPole-v1"), local("CartPole-v1")
    assert theirs.spec is not None and ours.spec is not None
    for name in ("id", "name", "namespace", "version", "max_episode_steps", "reward_threshold", "nondeterministic"):
        assert getattr(theirs.spec, name) == getattr(ours.spec, name)
    assert theirs.metadata == {**ours.metadata, "render_modes": ["rgb_array"]}
    assert theirs.render_mode is None
    assert "CartPole-v1" in repr(theirs)
    assert theirs.unwrapped is theirs


def test_its_specification_makes_another(remote: Remote) -> None:
    """The new environment has its own connection and the same or changed arguments."""
    theirs = remote("Pendulum-v1", g=3.0)
    assert theirs.spec is not None
    with theirs.spec.make() as same, theirs.spec.make(g=5.0, render_mode="rgb_array") as other:
        assert same.unwrapped is not theirs
        theirs.reset(seed=SEED)
        same.reset(seed=SEED)
        assert_same(same.step([1.0])[0], theirs.step([1.0])[0])
        assert other.unwrapped.spec is not None
        assert other.render_mode == "rgb_array"
        other.reset(seed=SEED)
        assert (other.step([1.0])[0] != theirs.step([1.0])[0]).any()


def test_a_stored_specification_makes_another(remote: Remote) -> None:
    """JSON has all that it takes but the token."""
    theirs = remote("Pendulum-v1", g=3.0, token="a secret", max_episode_steps=300)
    assert theirs.spec is not None
    stored = theirs.spec.to_json()
    assert "a secret" not in stored
    with gymnasium.make(EnvSpec.from_json(stored)) as again:
        assert_same(again.reset(seed=SEED), theirs.reset(seed=SEED))
        assert_same(again.step(np.ones(1, np.float32)), theirs.step(np.ones(1, np.float32)))
        assert again.spec is not None and again.spec.max_episode_steps == 300


def test_windows_of_a_specification_are_on_this_side(remote: Remote) -> None:
    """As where gymnasium.make knows that an environment has none."""
    theirs = remote("CartPole-v1")
    assert theirs.spec is not None
    with theirs.spec.make(render_mode="human") as shown_here:
        assert "HumanRendering" in str(shown_here)
        assert shown_here.unwrapped.render_mode == "rgb_array"


def test_it_renders(remote: Remote, protocol: str) -> None:
    """A frame is an array of the user's own, text, or a list of frames."""
    theirs = remote("Episodes-v0", render_mode="rgb_array", protocol=protocol)
    theirs.reset()
    theirs.step(0)
    assert_same(theirs.render(), np.full((64, 64, 3), 20, np.uint8))
    text = remote("FrozenLake-v1", render_mode="ansi", protocol=protocol)
    text.reset()
    assert "S" in text.render()
    frames = remote("Episodes-v0", render_mode="rgb_array_list", protocol=protocol)
    frames.reset()
    frames.step(0)
    assert [frame.shape for frame in frames.render()] == [(64, 64, 3)] * 2


def test_before_the_first_reset_it_renders_as_a_local_one(remote: Remote, protocol: str) -> None:
    """Gymnasium's wrapper refuses; without that it is up to the environment."""
    text = remote("FrozenLake-v1", render_mode="ansi", protocol=protocol)
    with pytest.raises(EnvironmentFailed, match="AttributeError in render") as caught:
        text.render()
    assert not caught.value.reset_needed
    picture = remote("CartPole-v1", render_mode="rgb_array", protocol=protocol)
    assert picture.render() is None
    wrapped = gymnasium.wrappers.OrderEnforcing(picture)
    with pytest.raises(gymnasium.error.ResetNeeded):
        wrapped.render()
    wrapped.reset()
    frame: Any = wrapped.render()
    assert frame.shape == (400, 600, 3)


def test_without_a_render_mode_it_warns_as_a_local_one(remote: Remote) -> None:
    """The result is None."""
    theirs = remote("CartPole-v1")
    theirs.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert theirs.render() is None


def test_the_server_draws_actions(remote: Remote, protocol: str) -> None:
    """Equal seeds draw equal actions of the action space's type."""
    theirs = remote("Sampling/Packed-v0", protocol=protocol)
    theirs.reset()
    first = theirs.sample(seed=SEED)
    theirs.action_space.seed(SEED)
    assert shown(first) == shown(theirs.action_space.sample())
    assert shown(theirs.sample()) == shown(theirs.action_space.sample())
    assert theirs.step(first)[4]["contained"]


def test_a_context_closes_it(remote: Remote, served: ServerProcess) -> None:
    """The server's session ends, and closing again does nothing."""
    since = served.mark()
    with remote("CartPole-v1") as theirs:
        theirs.reset()
    theirs.close()
    theirs.close()
    served.wait_for("ended: the client left; CartPole-v1", since=since)


def test_what_no_message_can_carry_is_told(remote: Remote, protocol: str, served: ServerProcess) -> None:
    """Once by a warning here, and once in the log of the server; arrays of other libraries need no warning."""
    mark = served.mark()
    theirs = remote("Odd-v0", protocol=protocol)
    with pytest.warns(UserWarning, match=r"the server leaves out 'info\.model'") as warned:
        info = theirs.reset(seed=1)[1]
        assert (list(info), info["value"], list(info["mask"])) == (["value", "mask"], 2.7, [1, 0])
        for _ in range(2):
            assert theirs.step(0)[4]["list"] == [1, None]
    assert len(warned) == 1
    served.wait_for("the client does not get info.model", since=mark)
    assert sum("the client does not get" in line for line in served.lines[mark:]) == 1
