"""The catalog: from an id to an environment, of Gymnasium or of Gym."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest

from gymtwist.envs import registry
from gymtwist.envs.gym_compatibility import GymEnvironment
from gymtwist.errors import EnvironmentFault, RequestError, UnknownEnvironment
from tests.support.environment_making import make
from tests.support.faulty_environments import Constructing
from tests.support.plain_environment import Plain

_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A name under which nothing is registered."""
    return f"Catalog{next(_numbers)}"


def refusal(environment: str) -> str:
    """Ask for what there is not; return the message."""
    with pytest.raises(UnknownEnvironment) as caught:
        make(environment)
    return str(caught.value)


def test_an_id_of_gymnasium() -> None:
    """Is Gymnasium's, even if Gym has it too."""
    made = make("CartPole-v1")
    assert made.unwrapped.__class__.__module__.startswith("gymnasium.")
    assert made.spec is not None
    assert made.spec.id == "CartPole-v1"


def test_an_id_of_gym_alone(name: str) -> None:
    """Is Gym's, where Gymnasium has none."""
    gym.register(f"{name}-v0", entry_point="gym.envs.classic_control:CartPoleEnv")
    assert isinstance(make(f"{name}-v0"), GymEnvironment)


@pytest.mark.parametrize(
    ("environment", "of_gym"),
    [
        ("gym:CartPole-v1", True),
        ("gymnasium:CartPole-v1", False),
        ("gym:CartPole", True),
        ("gymnasium:CartPole", False),
        ("gym:json:CartPole-v1", True),
        ("gymnasium:json:CartPole-v1", False),
    ],
)
def test_a_prefix_chooses_the_library(environment: str, of_gym: bool) -> None:
    """With or without a version, and before a module."""
    assert isinstance(make(environment), GymEnvironment) is of_gym


@pytest.mark.parametrize("environment", ["gym:ALE/Pong-v5", "gymnasium:Taxi-v2", "gym:Nothing-v0", "gymnasium:"])
def test_a_chosen_library_that_has_it_not(environment: str) -> None:
    """Is not made up for by the other; the message has the id as it was asked for."""
    assert f'"{environment}"' in refusal(environment)


@pytest.mark.parametrize(
    ("environment", "meant", "kwargs"),
    [
        ("Pendulum-v0", "Pendulum-v1", {}),
        ("gym:Pendulum-v0", "Pendulum-v1", {}),
        ("FrozenLake-v0", "FrozenLake-v1", {"map_name": "4x4"}),
        ("json:FrozenLake8x8-v0", "FrozenLake8x8-v1", {"map_name": "8x8"}),
        ("Blackjack-v0", "Blackjack-v1", {"sab": False, "natural": False}),
        ("gymnasium:CliffWalking-v0", "CliffWalking-v1", {}),
        ("gymnasium:Taxi-v3", "Taxi-v4", {}),
        ("CartPoleJax-v1", "phys2d/CartPole-v1", {}),
    ],
)
def test_an_id_that_was_given_up(
    environment: str, meant: str, kwargs: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """Is that of the same rules and spaces, and the log says so; what is registered is not changed."""
    before = {id_: dict(spec.kwargs) for id_, spec in gymnasium.registry.items()}
    if meant not in before:
        pytest.skip(f"this Gymnasium has no {meant} yet")
    found = registry.find(environment)
    assert (found.spec.id, found.spec.kwargs) == (meant, kwargs)
    assert found.of_gym is environment.startswith("gym:")
    assert f'"{environment}" is no longer registered and means "{meant}"' in capfd.readouterr().err
    assert {id_: dict(spec.kwargs) for id_, spec in gymnasium.registry.items()} == before


@pytest.mark.parametrize(
    ("environment", "meant", "kwargs"),
    [
        ("PongDeterministic-v4", "Pong-v4", {"frameskip": 4}),
        ("SpaceInvaders-ramDeterministic-v0", "SpaceInvaders-v0", {"frameskip": 3, "obs_type": "ram"}),
        ("Breakout-ramNoFrameskip-v4", "BreakoutNoFrameskip-v4", {"frameskip": 1, "obs_type": "ram"}),
        ("Pong-ram-v0", "Pong-v0", {"obs_type": "ram"}),
    ],
)
def test_an_id_that_ale_py_has_given_up(environment: str, meant: str, kwargs: dict[str, Any]) -> None:
    """Is the same game, with the frame skip and the observation that the id says."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    found = registry.find(environment)
    assert found.spec.id == meant
    assert kwargs.items() <= found.spec.kwargs.items()
    assert found.spec.kwargs["game"] == gymnasium.spec(meant).kwargs["game"]


def test_an_id_that_only_looks_like_one_given_up(name: str) -> None:
    """Is unknown; and one that an operator has registered is that."""
    gymnasium.register(f"{name}-v4", entry_point=partial(Plain))
    assert "did you mean" in refusal(f"{name}Deterministic-v4")
    gymnasium.register(f"{name}-ram-v4", entry_point=partial(Plain))
    assert registry.find(f"{name}-ram-v4").spec.id == f"{name}-ram-v4"


@pytest.mark.parametrize("register", [gymnasium.register, gym.register])
def test_an_id_without_a_version_is_the_latest(register: Callable[..., None], name: str) -> None:
    """By number, not by spelling: 10 is later than 9."""
    for version in (2, 10, 9):
        register(f"{name}-v{version}", entry_point=partial(Plain), kwargs={"render_mode": str(version)})
    register(f"{name}More-v11", entry_point=partial(Plain))
    assert make(name).unwrapped.render_mode == "10"


def test_an_id_registered_without_a_version(name: str) -> None:
    """Is itself."""
    gymnasium.register(name, entry_point=partial(Plain), kwargs={"render_mode": "itself"})
    gymnasium.register(f"{name}More-v1", entry_point=partial(Plain))
    assert make(name).unwrapped.render_mode == "itself"


@pytest.mark.parametrize(
    ("environment", "meant"),
    [
        ("CartPole-v9", '"CartPole-v1"'),
        ("cartpole-v1", '"CartPole-v1"'),
        ("CartPole-v1 ", '"CartPole-v1"'),
        ("CartPole-v01", '"CartPole-v1"'),
        ("CartPole-v\u0661", '"CartPole-v1"'),
        ("MountainCarContinous", '"MountainCarContinuous-v0"'),
        ("gym:Acrobat-v1", '"Acrobot-v1"'),
    ],
)
def test_an_unknown_id_has_near_matches(environment: str, meant: str) -> None:
    """The message says what may have been meant."""
    message = refusal(environment)
    assert message.startswith(f'unknown environment "{environment}"; did you mean ')
    assert meant in message


@pytest.mark.parametrize("environment", ["ALE/Pong-v5", "PongNoFrameskip-v4", "Pong-ram-v0"])
def test_an_atari_game_that_is_not_there(environment: str) -> None:
    """The message says what to install; asked of an interpreter that has not imported ale_py."""
    code = f"from gymtwist.envs import registry; registry.find('{environment}')"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = 'the Atari games need ale-py on the server: pip install "gymtwist[atari]"'
    assert ended.stderr.rstrip().endswith(f'UnknownEnvironment: unknown environment "{environment}"; {message}')


def test_an_unknown_id_that_is_near_to_none() -> None:
    """The message says how the server gets to know more."""
    message = 'unknown environment "Xyzzy"; the server can register more with --preload or --setup'
    assert refusal("Xyzzy") == message


@pytest.mark.parametrize(
    "environment",
    [
        *("::", ":", "gym:", "gymnasium::", "..:x", "a b:c", "\0", "\0:x", "-v1", "%s{0}\n", "é-v0", "X" * 1024),
        *("CartPole-v" + "9" * 1000, "CartPole-v²", "../../etc/passwd", "\ud800", "\ud800:x", "os.path.:x", "'\"\\"),
    ],
)
def test_an_id_of_weird_characters(environment: str) -> None:
    """Is unknown, like any other."""
    assert f'unknown environment "{environment}"' in refusal(environment)


def test_a_module_is_imported_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may register the environment."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{name}.py").write_text(
        "import gymnasium\n"
        f'gymnasium.register("Inner/{name}-v3", entry_point="tests.support.plain_environment:Plain")\n'
    )
    assert isinstance(make(f"{name}:Inner/{name}").unwrapped, Plain)
    assert name in sys.modules


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "ModuleNotFoundError: No module named '.*'; install what is missing on the server$"),
        ("raise ValueError('broken')", "ValueError: broken"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported(
    source: str | None, reason: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is unknown; the message says why."""
    monkeypatch.syspath_prepend(tmp_path)
    if source is not None:
        (tmp_path / f"{name}.py").write_text(source)
    assert re.search(f"importing {name} failed: {reason}", refusal(f"{name}:CartPole-v1"))


def fail() -> None:
    """Raise."""
    raise ValueError("no pole")


@pytest.mark.parametrize("register", [gymnasium.register, gym.register])
@pytest.mark.parametrize(
    ("deed", "reason"), [(fail, "ValueError in make: no pole"), (partial(sys.exit, 3), "SystemExit in make: 3")]
)
def test_a_constructor_that_raises(register: Any, deed: Callable[[], None], reason: str, name: str) -> None:
    """Is the environment's fault: the message says what it raised, the cause is the exception itself."""
    register(f"{name}-v0", entry_point=partial(Constructing, deed))
    with pytest.raises(EnvironmentFault) as caught:
        make(f"{name}-v0")
    assert str(caught.value) == f"the environment raised {reason}"
    assert caught.value.operation == "make"
    assert isinstance(caught.value.__cause__, (ValueError, SystemExit))


@pytest.mark.parametrize("register", [gymnasium.register, gym.register])
def test_an_entry_point_that_is_not_there(register: Any, name: str) -> None:
    """Is the environment's fault, too."""
    register(f"{name}-v0", entry_point="nowhere.to.be:Found")
    reason = "the environment raised ModuleNotFoundError in make: No module named 'nowhere'"
    with pytest.raises(EnvironmentFault, match=f"^{reason}; install what is missing on the server$"):
        make(f"{name}-v0")


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="runs under NumPy 1")
def test_an_environment_of_gym_that_numpy_2_broke() -> None:
    """The message says so at the handshake, and whose to ask for instead."""
    with pytest.raises(EnvironmentFault) as caught:
        make("gym:Acrobot-v1")
    assert str(caught.value).startswith("Gym's Acrobot-v1 does not run under NumPy 2")
    assert 'ask for Gymnasium\'s "gymnasium:Acrobot-v1"' in str(caught.value)
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize("environment", ["CartPole-v1", "gym:CartPole-v1", "Taxi-v3", "FrozenLake-v1"])
def test_an_environment_can_render_frames(environment: str) -> None:
    """So that any session may record videos."""
    assert make(environment).render_mode == "rgb_array"


def test_an_environment_that_does_not_render(name: str) -> None:
    """Is not asked to."""
    gymnasium.register(f"{name}-v0", entry_point=partial(Plain))
    assert make(f"{name}-v0").render_mode is None


def test_a_render_mode_of_the_registration_stays(name: str) -> None:
    """The registration decides."""
    gymnasium.register(f"{name}-v0", entry_point="tests.support.plain_environment:Plain", kwargs={"render_mode": None})
    assert make(f"{name}-v0").render_mode is None


def test_no_passive_checker() -> None:
    """It costs time on each step."""
    made: Any = make("CartPole-v1")
    while isinstance(made, gymnasium.Wrapper):
        assert "Checker" not in type(made).__name__
        made = made.env


def test_an_unknown_environment_is_a_request_error() -> None:
    """With a code of its own."""
    assert issubclass(UnknownEnvironment, RequestError)
    assert UnknownEnvironment.code == "unknown-environment"
