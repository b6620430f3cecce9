"""Gym's environments, old and new, behind Gymnasium's interface."""

from __future__ import annotations

import ctypes
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.envs.environment_plan import step_limit
from gymtwist.envs.gym_compatibility import GymEnvironment
from gymtwist.errors import EnvironmentFault
from gymtwist.protocol.dynamic_values import encode_value
from gymtwist.spaces.classic_codecs import decoder, encoder
from gymtwist.spaces.gymnasium_spaces import convert
from gymtwist_conformance.reference_client import strict_json
from tests.support.environment_making import make
from tests.support.sample_environments import NewGym, OldGym
from tests.support.space_strategies import equal

SPACES = gym.spaces


class Passing(gym.Wrapper):  # type: ignore[type-arg]
    """A wrapper of Gym 0.26, which passes on whatever it is given."""


class Ending(OldGym):
    """Says in its info, as Gym 0.21 did, that it was a time limit that ended the episode."""

    def __init__(self, info: dict[str, Any]) -> None:
        """Take the info."""
        super().__init__()
        self.info = info

    def step(self, action: Any) -> Any:
        """End with each step."""
        return np.zeros(2), 1.0, True, self.info


class Drawing(OldGym):
    """Renders as environments did before Gym 0.26."""

    metadata = {"render.modes": ["human", "rgb_array"]}

    def render(self, mode: str = "human") -> Any:
        """Return a picture, if that is what was asked for."""
        return np.zeros((2, 3, 3), np.uint8) if mode == "rgb_array" else None


class Printing(Drawing):
    """Has no mode for frames."""

    metadata = {"render.modes": ["human"]}


class Decided(Drawing):
    """Has decided on another mode."""

    render_mode = "human"


class Native(OldGym):
    """Is seeded by a method that is written in C and does not tell its parameters."""

    def __init__(self) -> None:
        """Use the generator of the C library."""
        super().__init__()
        self.library = ctypes.CDLL(None)
        self.seed = self.library.srand  # type: ignore[method-assign]

    def reset(self) -> Any:  # type: ignore[override]
        """Draw a number."""
        return np.array([float(self.library.rand()), 0.0])


class Pairs(OldGym):
    """Observes a pair of which the second part is a dictionary."""

    observation_space = SPACES.Tuple(  # type: ignore[assignment]
        [SPACES.Discrete(2), SPACES.Dict({"a": SPACES.Discrete(2)})]
    )

    def reset(self) -> Any:  # type: ignore[override]
        """Return the observation alone."""
        return 1, {"a": 0}


def ends(environment: GymEnvironment, steps: int) -> list[tuple[bool, bool]]:
    """Take steps; return what each said of the end."""
    environment.reset()
    return [environment.step(0)[2:4] for _ in range(steps)]


@pytest.mark.parametrize("wrap", [lambda made: made, Passing, lambda made: Passing(Passing(made))])
def test_an_environment_of_four_results(wrap: Any) -> None:
    """Gets the seed by its own method, and has an empty info at reset, behind wrappers of Gym too."""
    environment = GymEnvironment(wrap(OldGym()))
    observation, info = environment.reset(seed=7)
    assert (observation.tolist(), info) == ([7.0, 0.0], {})
    observation, reward, terminated, truncated, info = environment.step(2)
    assert observation.tolist() == [7.0, 1.0]
    assert (reward, terminated, truncated, info) == (2.0, False, False, {"old": True})


@pytest.mark.parametrize("wrap", [lambda made: made, Passing, lambda made: Passing(Passing(made))])
def test_an_environment_of_five_results(wrap: Any) -> None:
    """Is passed through."""
    environment = GymEnvironment(wrap(NewGym()))
    observation, info = environment.reset(seed=7)
    assert (observation.tolist(), info) == ([7.0], {})
    assert environment.step(1)[1:] == (1.0, False, False, {"new": True})
    assert environment.step(2)[1:] == (2.0, False, True, {"new": True})


def test_a_method_of_unknown_parameters_is_taken_for_one_that_takes_a_seed() -> None:
    """Most of them do."""
    environment = GymEnvironment(Native())
    assert environment.takes_seed
    first, _ = environment.reset(seed=7)
    assert environment.reset()[0][0] != first[0]
    assert environment.reset(seed=7)[0][0] == first[0]


@pytest.mark.parametrize("make", [OldGym, NewGym])
def test_a_reset_without_a_seed(make: Any) -> None:
    """Seeds nothing."""
    assert GymEnvironment(make()).reset()[0][0] == -1.0


@pytest.mark.parametrize("make", [OldGym, NewGym])
def test_a_time_limit_truncates(make: Any) -> None:
    """At the step that reaches it; another reset starts to count anew."""
    environment = GymEnvironment(make(), max_episode_steps=3)
    for _ in range(2):
        assert ends(environment, 4) == [(False, False), (False, False), (False, True), (False, False)]


@pytest.mark.parametrize("make", [OldGym, NewGym])
def test_no_time_limit(make: Any) -> None:
    """Where the registration has none."""
    assert set(ends(GymEnvironment(make()), 2000)) == {(False, False)}


@pytest.mark.parametrize(
    ("info", "limit", "expected"),
    [
        ({}, None, (True, False)),
        ({"TimeLimit.truncated": True}, None, (False, True)),
        ({"TimeLimit.truncated": False}, None, (True, False)),
        ({}, 1, (True, False)),
        ({"TimeLimit.truncated": True}, 1, (False, True)),
    ],
)
def test_the_end_of_four_results(info: dict[str, Any], limit: int | None, expected: tuple[bool, bool]) -> None:
    """Terminated, unless the info says that it was the limit; never both."""
    assert ends(GymEnvironment(Ending(info), limit), 1) == [expected]


def test_an_observation_that_looks_like_two_results() -> None:
    """A pair of a Tuple space is an observation, whole."""
    assert GymEnvironment(Pairs()).reset() == ((1, {"a": 0}), {})


@pytest.mark.parametrize("wrap", [lambda made: made, Passing])
def test_an_old_render(wrap: Any) -> None:
    """Takes the mode with each call."""
    environment = GymEnvironment(wrap(Drawing()))
    assert environment.render_mode == "rgb_array"
    assert environment.render().shape == (2, 3, 3)


@pytest.mark.parametrize("kind", [OldGym, Printing])
def test_no_render(kind: Any) -> None:
    """An environment without a mode for frames has no render mode."""
    assert GymEnvironment(kind()).render_mode is None


def test_a_render_mode_of_its_own() -> None:
    """Stays."""
    environment = GymEnvironment(Decided())
    assert environment.render_mode == "human"
    assert environment.render() is None


def test_a_new_render() -> None:
    """The mode was given to the constructor."""
    environment = make("gym:CartPole-v1")
    assert environment.render_mode == "rgb_array"
    environment.reset()
    assert environment.render().shape == (400, 600, 3)
    environment.close()


def test_an_environment_is_made_without_the_wrappers_of_gym() -> None:
    """They would not let an old environment pass; the time limit is kept."""
    made = make("gym:CartPole-v1")
    assert not isinstance(made._environment, gym.Wrapper)
    assert made._limit == 500
    assert made.unwrapped is made


def test_the_same_trajectory_as_gyms_own() -> None:
    """With the same seed and actions."""
    ours, theirs = make("gym:CartPole-v1"), gym.make("CartPole-v1", disable_env_checker=True)
    assert np.array_equal(ours.reset(seed=3)[0], theirs.reset(seed=3)[0])
    for action in [0, 1, 1, 0] * 3:
        one, other = ours.step(action), theirs.step(action)
        assert np.array_equal(one[0], other[0])
        assert one[1:] == other[1:]


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="runs under NumPy 1")
def test_an_environment_of_gym_that_numpy_2_broke() -> None:
    """Is told when it is made: it would fail at its first step, where no error can be told."""
    with pytest.raises(
        EnvironmentFault, match=r"Gym's Acrobot-v1 does not run under NumPy 2.*\"gymnasium:Acrobot-v1\""
    ):
        make("gym:Acrobot-v1")


def test_closing() -> None:
    """Closes the environment itself."""
    closed = []
    environment = OldGym()
    environment.close = lambda: closed.append(True)  # type: ignore[method-assign]
    GymEnvironment(environment).close()
    assert closed == [True]


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (SPACES.Box(-np.inf, np.inf, (2,)), spaces.Box(-np.inf, np.inf, (2,), np.float32)),
        (SPACES.Box(0, 255, (2, 3), np.uint8), spaces.Box(0, 255, (2, 3), np.uint8)),
        (SPACES.Box(-1, 1, (), np.float64), spaces.Box(-1, 1, (), np.float64)),
        (
            SPACES.Box(np.array([-1, 0.5]), np.array([1, np.inf]), dtype=np.float64),
            spaces.Box(np.array([-1, 0.5]), np.array([1, np.inf]), dtype=np.float64),
        ),
        (SPACES.Discrete(3), spaces.Discrete(3)),
        (SPACES.Discrete(3, start=-2), spaces.Discrete(3, start=-2)),
        (SPACES.MultiBinary(3), spaces.MultiBinary(3)),
        (SPACES.MultiBinary([2, 3]), spaces.MultiBinary((2, 3))),
        (SPACES.MultiDiscrete([2, 3]), spaces.MultiDiscrete([2, 3])),
        (SPACES.MultiDiscrete([[2, 3]], dtype=np.int32), spaces.MultiDiscrete(np.array([[2, 3]]), dtype=np.int32)),
        (SPACES.Tuple([SPACES.Discrete(2), SPACES.Tuple([])]), spaces.Tuple([spaces.Discrete(2), spaces.Tuple([])])),
        (
            SPACES.Dict({"b": SPACES.Discrete(2), "a": SPACES.Dict({"c": SPACES.MultiBinary(1)})}),
            spaces.Dict({"b": spaces.Discrete(2), "a": spaces.Dict({"c": spaces.MultiBinary(1)})}),
        ),
        (SPACES.Text(5), spaces.Text(5)),
        (SPACES.Text(5, min_length=0, charset="ab"), spaces.Text(5, min_length=0, charset="ab")),
        (SPACES.Sequence(SPACES.Discrete(2)), spaces.Sequence(spaces.Discrete(2))),
        (
            SPACES.Graph(SPACES.Box(0, 1, (2,)), SPACES.Discrete(2)),
            spaces.Graph(spaces.Box(0, 1, (2,)), spaces.Discrete(2)),
        ),
        (SPACES.Graph(SPACES.Discrete(2), None), spaces.Graph(spaces.Discrete(2), None)),
    ],
)
def test_a_space_is_converted(space: Any, expected: spaces.Space[Any]) -> None:
    """To Gymnasium's of the same kind; what the old one samples comes back through the new one."""
    converted = convert(space)
    assert type(converted) is type(expected)
    assert converted == expected
    space.seed(1)
    for _ in range(5):
        element = space.sample()
        text = encode_value(encoder(converted)(element)).decode()
        returned = decoder(converted)(strict_json(text))
        assert converted.contains(returned)
        assert isinstance(expected, spaces.Graph) or equal(plain(element), returned)


def plain(element: Any) -> Any:
    """An element without the OrderedDict that Gym makes of a Dict."""
    return {key: plain(each) for key, each in element.items()} if isinstance(element, dict) else element


def test_a_space_of_gymnasium_stays() -> None:
    """Some environments of Gym have one."""
    space = spaces.Discrete(3)
    assert convert(space) is space


def test_a_kind_of_a_known_kind_is_converted() -> None:
    """As what it is a kind of."""
    own = type("Own", (SPACES.Discrete,), {})
    assert convert(own(3)) == spaces.Discrete(3)


def test_a_kind_that_gymnasium_has_not() -> None:
    """Is the environment's fault, at the handshake."""
    with pytest.raises(
        EnvironmentFault, match=r"space: a Space \(of gym.spaces.space\) is not one of Gymnasium's kinds"
    ):
        convert(SPACES.Space())


def test_the_adapter_is_an_environment_of_gymnasium() -> None:
    """So that whatever takes one takes it."""
    assert isinstance(GymEnvironment(OldGym()), gymnasium.Env)


@pytest.mark.parametrize(
    ("registered", "asked", "limit"),
    [(None, None, 2), (None, -1, 2), (5, None, 2), (1, None, 1), (5, 1, 1), (5, -1, 2)],
)
def test_a_time_limit_of_a_constructor(registered: int | None, asked: int | None, limit: int) -> None:
    """Stays, and the lower limit truncates; a client replaces that of the registration alone."""
    name = f"Limit{registered}{asked}-v0"
    limited: Any = gym.wrappers.TimeLimit  # type: ignore[attr-defined] # Gym exports it without declaring it
    gym.register(name, entry_point=lambda: limited(NewGym(), 2), max_episode_steps=registered)
    options = {} if asked is None else {"max_episode_steps": asked}
    environment = make(f"gym:{name}", **options)
    assert step_limit(environment) == limit
    assert [end[1] for end in ends(environment, limit)] == [False] * (limit - 1) + [True]
