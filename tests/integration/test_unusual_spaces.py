"""Spaces that Gymnasium does not have, that are missing, that change, and that cannot hold what is observed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces

from gymtwist.client import EnvironmentFailed, RemoteEnv, RequestRefused, connect, connect_vec
from gymtwist_conformance.reference_client import Refused
from tests.support import space_environments
from tests.support.patience import LONG_DRAIN
from tests.support.server_process import ServerProcess
from tests.support.space_environments import CUT, TEXT

SETUP = Path(space_environments.__file__)
EACH_PROTOCOL = pytest.mark.parametrize("protocol", ["int32", "netstring"])
LACKING = "the environment has no {}; set it before the first reset, in the constructor or by a wrapper"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose operator has registered a class of spaces."""
    with ServerProcess(tmp_path_factory.mktemp("server"), "--drain", LONG_DRAIN, setup=SETUP) as running:
        yield running


def remote(served: ServerProcess, environment: str, protocol: Any = "int32", **options: Any) -> RemoteEnv:
    """Connect and make an environment."""
    return connect(served.port, environment, protocol=protocol, **options)


@EACH_PROTOCOL
def test_strings_of_another_class(served: ServerProcess, protocol: str) -> None:
    """Are text, and the space checks the actions."""
    with remote(served, "Speaking-v0", protocol) as environment:
        mission = environment.observation_space["mission"]  # type: ignore[index]
        assert isinstance(mission, spaces.Text)
        assert environment.reset()[0]["mission"] == TEXT
        assert environment.step("go é")[4] == {"told": "go é"}
        with pytest.raises(RequestRefused, match='action is "stay", which is not in'):
            environment.step("stay")
    with connect_vec(served.port, "Speaking-v0", 2, protocol=protocol, vectorization_mode="async") as several:  # type: ignore[arg-type]
        assert several.reset()[0]["mission"] == (TEXT, TEXT)
        assert several.step(("go on", "go off"))[0]["mission"] == (TEXT, TEXT)


@EACH_PROTOCOL
def test_a_class_that_the_operator_has_registered(served: ServerProcess, protocol: str) -> None:
    """Is what it is registered as, in the layout, too."""
    with remote(served, "Betting-v0", protocol) as environment:
        assert environment.observation_space["suit"] == spaces.Discrete(4)  # type: ignore[index]
        assert environment.action_space == spaces.Discrete(4)
        assert environment.reset()[0]["suit"] == 2
        assert environment.step(1)[4] == {"told": "diamonds"}
        with pytest.raises(RequestRefused, match='action is "clubs", which is not in'):
            environment.step(0)


def test_other_classes_in_the_classic_protocol(served: ServerProcess) -> None:
    """Are described and carried as in the framed one."""
    with served.open("Speaking-v0") as client:
        assert client.space(1)["spaces"]["mission"]["type"] == "Text"
        assert client.reset()["mission"] == TEXT
        assert client.step("go é").info == {"told": "go é"}
    with served.open("Betting-v0") as client:
        assert client.space(0) == {"type": "Discrete", "n": 4, "start": 0}
        assert client.reset()["suit"] == 2
        assert client.sample() == 3
        assert client.step(1).info == {"told": "diamonds"}


def test_a_class_that_nobody_has_registered(served: ServerProcess) -> None:
    """Is named, with its place and the remedy."""
    says = r'observation_space\["a"\]\[0\]: a Unheard \(of .*\) is not one of Gymnasium\'s .* register_space\(\) in a '
    with pytest.raises(EnvironmentFailed, match=says):
        remote(served, "Unheard-v0")


@pytest.mark.parametrize(
    ("environment", "name"),
    [("Lacking-v0", "observation_space"), ("Without-v0", "action_space"), ("OldWithout-v0", "observation_space")],
)
def test_a_space_that_is_missing(served: ServerProcess, environment: str, name: str) -> None:
    """Is named, whether there never is one or only after the first reset."""
    with pytest.raises(EnvironmentFailed, match=LACKING.format(name)):
        remote(served, environment)
    with pytest.raises(EnvironmentFailed, match=LACKING.format(name)):
        connect_vec(served.port, environment, 2)
    with served.connect() as client, pytest.raises(Refused, match=LACKING.format(name)):
        client.open(environment)


def test_a_space_that_changes(served: ServerProcess) -> None:
    """Is an error of the reset that changes it, and not of one that makes an equal one."""
    with remote(served, "Changing-v0") as environment:
        for _ in range(2):
            environment.reset()
        with pytest.raises(EnvironmentFailed, match=r"another observation_space since reset: Box\(.*\(3,\).*\(2,\)"):
            environment.reset()
        assert environment.reset()[0].shape == (2,)
    with connect_vec(served.port, "Changing-v0", 2) as several:
        for _ in range(2):
            several.reset()
        with pytest.raises(EnvironmentFailed, match="another observation_space since reset"):
            several.reset()


@pytest.mark.parametrize("protocol", ["classic", "int32", "netstring"])
@pytest.mark.parametrize("name", CUT)
def test_numbers_that_an_integer_space_cannot_hold(served: ServerProcess, name: str, protocol: str) -> None:
    """Are the same in every protocol, and the log has one line of each session."""
    _, _, expected = CUT[name]
    mark = served.mark()
    observed: list[Any]
    if protocol == "classic":
        with served.open(f"Cut{name}-v0") as client:
            client.reset()
            observed = [client.step(0).observation for _ in range(2)]
    else:
        with remote(served, f"Cut{name}-v0", protocol) as environment:
            environment.reset()
            observed = [listed(environment.step(0)[0]) for _ in range(2)]
    assert observed == [expected] * 2
    session = served.wait_for(rf"\[session (\d+)\] started: Cut{name}-v0", since=mark).group(1)
    served.wait_for(rf"\[session {session}\] ended: ", since=mark)
    warnings = [line for line in served.lines[mark:] if f"[session {session}] | warning: observation" in line]
    assert len(warnings) == 1
    assert "which does not fit" in warnings[0]


def listed(value: Any) -> Any:
    """Return a value as JSON has it."""
    return [listed(each) for each in value] if isinstance(value, tuple) else value.tolist()


@pytest.mark.parametrize(
    ("environment", "options", "limit"),
    [
        ("LimitedInside-v0", {}, 7),
        ("LimitedInside-v0", {"max_episode_steps": -1}, 7),
        ("LimitedInside-v0", {"max_episode_steps": 5}, 5),
        ("LimitedTwice-v0", {}, 7),
    ],
)
def test_the_limit_of_a_constructor(served: ServerProcess, environment: str, options: Any, limit: int) -> None:
    """Is found, if it is the lower one; also in each of several environments."""
    with remote(served, environment, **options) as one:
        assert one.spec is not None
        assert one.spec.max_episode_steps == limit
    for mode in ("sync", "async") if not options else ():
        with connect_vec(served.port, environment, 2, vectorization_mode=mode) as several:
            assert several.spec is not None
            assert several.spec.max_episode_steps == 7


def test_an_id_that_was_given_up(served: ServerProcess) -> None:
    """Means its successor, and the session's log says so."""
    with served.open("Pendulum-v0") as client:
        session = served.session(client)
        assert client.space(1)["shape"] == [3]
    served.wait_for(rf'\[session {session.number}\] \| "Pendulum-v0" is no longer registered and means "Pendulum-v1"')
