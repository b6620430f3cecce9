"""Spaces, observations, actions and infos, from the environment to the client and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.server_process import ServerProcess

#: Whether to measure the coverage of its server.
MEASURED = True

HIGHEST = 1.7976931348623157e308


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Discrete", {"type": "Discrete", "n": 5}),
        ("DiscreteFromTen", {"type": "Discrete", "n": 5}),
        ("MultiBinary", {"type": "MultiBinary", "n": 3}),
        ("MultiDiscrete", {"type": "MultiDiscrete", "low": [0, 0], "high": [2, 3]}),
        ("Text", {"type": "Text"}),
        ("Dict", {"type": "Dict"}),
        ("Tuple", {"type": "Tuple"}),
        ("Matrix", {"type": "Box", "shape": [2, 3], "low": [-9.0] * 6, "high": [9.0] * 6}),
        ("Bytes0", {"type": "Box", "shape": [], "low": [0], "high": [255]}),
        ("Bytes1", {"type": "Box", "shape": [5], "low": [0] * 5, "high": [255] * 5}),
    ],
)
def test_a_space_is_described(server: ServerProcess, name: str, expected: dict[str, Any]) -> None:
    """Every kind of space has its JSON; more fields may be beside those of the page."""
    with server.open(f"Observe/{name}-v0") as client:
        assert expected.items() <= client.space(1).items()


def test_infinite_bounds_are_clipped(server: ServerProcess) -> None:
    """No bound is beyond 1e30, as in the old server."""
    with server.open("Observe/Unbounded-v0") as client:
        described = client.space(1)
        assert described["low"] == pytest.approx([-1e30] * 4, rel=1e-6)
        assert described["high"] == pytest.approx([1e30] * 4, rel=1e-6)


def test_a_tuple_describes_its_elements(server: ServerProcess) -> None:
    """The elements' own descriptions, in order."""
    with server.open("Observe/Tuple-v0") as client:
        discrete, box = client.space(1)["subspaces"]
        assert {"type": "Discrete", "n": 3}.items() <= discrete.items()
        assert {"type": "Box", "shape": [2], "low": [-1.0, -1.0], "high": [1.0, 1.0]}.items() <= box.items()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Discrete", 3),
        ("DiscreteFromTen", 12),
        ("MultiBinary", [1, 0, 1]),
        ("MultiDiscrete", [2, 3]),
        ("Text", "größe"),
        ("Tuple", [2, [0.5, -0.5]]),
        ("Dict", {"pixels": [1, 255], "inner": {"n": 2}}),
        ("Matrix", [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
    ],
)
def test_an_observation_as_json(server: ServerProcess, name: str, expected: object) -> None:
    """Every kind of value has its JSON, from reset and from step."""
    with server.open(f"Observe/{name}-v0") as client:
        assert client.reset() == expected
        assert client.step(0).observation == expected


def test_numbers_that_json_does_not_have(server: ServerProcess) -> None:
    """NaN becomes null, an infinity the largest number there is."""
    with server.open("Observe/Unbounded-v0") as client:
        assert client.reset() == [None, HIGHEST, -HIGHEST, 1.5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Bytes0", np.array(7)),
        ("Bytes1", np.arange(5)),
        ("Bytes4", np.arange(24).reshape(2, 3, 2, 2)),
        ("Transposed", np.arange(6).reshape(2, 3).T),
        ("Frame", (np.arange(210 * 160 * 3) % 251).reshape(210, 160, 3)),
    ],
)
def test_an_observation_as_bytes(server: ServerProcess, name: str, expected: np.ndarray[Any, Any]) -> None:
    """A uint8 array keeps its shape, whatever it is, and comes in C order, however it lies in memory."""
    with server.open(f"Observe/{name}-v0") as client:
        for observation in (client.reset(), client.step(0).observation):
            assert isinstance(observation, np.ndarray)
            assert observation.shape == expected.shape
            assert np.array_equal(observation, expected)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("Box", [[0.5, -0.25], [1.0, 0.0]]),
        ("Box", [[1, 0], [-1, 0]]),
        ("Discrete", 2),
        ("DiscreteFromTen", 12),
        ("MultiBinary", [1, 0, 1]),
        ("MultiDiscrete", [2, 3]),
        ("Text", "abc7"),
        ("Tuple", [2, [0.5, -0.5]]),
        ("Dict", {"move": 1, "force": [0.25, 0.75]}),
    ],
)
def test_an_action_reaches_the_environment(server: ServerProcess, name: str, action: object) -> None:
    """The environment gets the action as a member of its space, in type and shape too."""
    with server.open(f"Act/{name}-v0") as client:
        client.reset()
        assert client.step(action).info == {"action": action, "contained": True}


@pytest.mark.parametrize(
    "name", ["Box", "Discrete", "DiscreteFromTen", "MultiBinary", "MultiDiscrete", "Text", "Tuple", "Dict"]
)
def test_a_sampled_action_may_be_played(server: ServerProcess, name: str) -> None:
    """What the server samples it takes back."""
    with server.open(f"Act/{name}-v0") as client:
        client.reset()
        for _ in range(10):
            action = client.sample()
            info = client.step(action).info
            assert info["contained"] is True
            assert info["action"] == action


def test_box_bounds_are_not_enforced(server: ServerProcess) -> None:
    """The old server let the environment decide; so does this one."""
    with server.open("Act/Box-v0") as client:
        client.reset()
        assert client.step([[5.0, 0.0], [0.0, 0.0]]).info["action"] == [[5.0, 0.0], [0.0, 0.0]]


@pytest.fixture(scope="module")
def info(module_server: ServerProcess) -> dict[str, Any]:
    """An info of all sorts, as the client sees it."""
    with module_server.open("Info-v0") as client:
        client.reset()
        return client.step(0).info


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("integer", 7),
        ("single", 1.5),
        ("double", 2.5),
        ("truth", True),
        ("array", [[0, 1, 2], [3, 4, 5]]),
        ("bytes", [1, 2]),
        ("nested", {"list": [1, [0.5, "x"]], "deep": {"array": [0.0, 0.0]}}),
        ("nan", None),
        ("infinite", HIGHEST),
        ("array of both", [None, -HIGHEST, 1.0]),
        ("text", "größer"),
        ("none", None),
    ],
)
def test_info_keeps_values_that_json_can_represent(info: dict[str, Any], key: str, expected: object) -> None:
    """NumPy's scalars and arrays become numbers and lists, at any depth."""
    assert info[key] == expected


def test_info_omits_only_values_that_json_cannot_represent(info: dict[str, Any]) -> None:
    """A function is left out, what is beside it is not."""
    assert "function" not in info
    assert info["beside"] == {"kept": 1}
