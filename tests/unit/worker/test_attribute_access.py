"""Attributes of an environment, and of several: what clients can reach, and what they cannot."""

from __future__ import annotations

import dataclasses
import enum
import threading
from pathlib import Path
from typing import Any

import gym
import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

from gymtwist.envs import attribute_layers
from gymtwist.envs.gym_compatibility import GymEnvironment
from gymtwist.worker.session_status import Operation
from gymtwist_conformance.reference_client import NETSTRING, Failed, FramedClient, decode_arrays, message
from tests.support.patience import PATIENCE
from tests.support.plain_environment import Plain
from tests.support.sample_environments import OldGym
from tests.support.served_session import Serve, Served, named


class Weather(enum.Enum):
    """What it is like outside."""

    SUN = "sun"
    RAIN = "rain"


@dataclasses.dataclass
class Boxed:
    """Has another value."""

    content: Any


class ArrayLike:
    """Offers NumPy so many numbers that they cannot be written out."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Return them, which takes no memory yet."""
        return Reachable.huge


class Reachable(Plain):
    """Has attributes of all sorts."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "remote_attributes": ["declared", "set_level", "_inner"]}
    huge = np.broadcast_to(np.int8(0), (10**12,))
    endless = range(10**12)
    boxed, array_like = Boxed(huge), ArrayLike()
    large, many = np.zeros(10 << 20, np.uint8), np.zeros(400_000, np.uint8)

    def __init__(self, render_mode: str | None = None) -> None:
        """Set them."""
        super().__init__(render_mode)
        self.gravity, self.level, self.name, self.file = 9.8, 1, "north", "/etc/passwd"
        self.array, self.weather, self.pair = np.array([1, 2], np.uint8), Weather.SUN, (1, "x")
        self.nan, self.text, self.nothing = [float("nan"), float("inf")], "NaN", None
        self.ale, self.path = object(), Path("/")
        self._inner, self._hidden = 1, 2
        self.declared: Any = "/a/path"
        self.frameskip, self.delay = 4, 2
        self.places, self.day, self.table = {1, 2}, np.datetime64("2026-01-01"), {0: [1.0], 1: [2.0]}
        self.itself: list[Any] = []
        self.itself.append(self.itself)

    @property
    def constant(self) -> int:
        """Return what cannot be changed."""
        return 3

    @property
    def stubborn(self) -> int:
        """Return what does not change."""
        return 3

    @stubborn.setter
    def stubborn(self, value: int) -> None:
        pass

    @property
    def failing(self) -> int:
        """Fail."""
        raise ValueError("not today")

    def action_masks(self) -> Any:
        """Return a mask."""
        return np.array([True, False])

    def compute_reward(self, achieved: Any, desired: Any, info: Any = None) -> Any:
        """Return the negative distance."""
        return -np.abs(np.asarray(achieved) - np.asarray(desired))

    def set_level(self, level: int, *, hard: bool = False) -> str:
        """Change the level, or fail."""
        if level < 0:
            raise ValueError("no such level")
        self.level = level
        return f"{level} {hard}"

    def get_keys_to_action(self) -> Any:
        """Return a function."""
        return len

    def undeclared(self) -> int:
        """Return a number."""
        return 5


def _refused(client: FramedClient, op: str, code: str, *words: str, **fields: Any) -> Failed:
    with pytest.raises(Failed) as caught:
        client.ask(op, **fields)
    assert caught.value.code == code
    for word in words:
        assert word in caught.value.message, caught.value.message
    return caught.value


def _get(client: FramedClient, name: str) -> Any:
    value = decode_arrays(client.ask("get", name=name).get("value"))
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.fixture
def client(serve: Serve, encoding: str) -> FramedClient:
    """A client of one environment, under the default rule."""
    return serve(Reachable)


def test_plain_data_is_read(client: FramedClient, encoding: str) -> None:
    """Before the first reset, too, and enumerations by their value."""
    found = {name: _get(client, name) for name in ("gravity", "level", "name", "array", "weather", "pair", "nothing")}
    expected = {"gravity": 9.8, "level": 1, "name": "north", "array": [1, 2], "weather": "sun", "pair": [1, "x"]}
    assert found == {**expected, "nothing": None}
    if encoding == NETSTRING:
        assert (_get(client, "nan"), _get(client, "text")) == (["NaN", "Infinity"], "\\NaN")
    else:
        assert str(_get(client, "nan")) == "[nan, inf]"
        assert _get(client, "text") == "NaN"
    assert _get(client, "_inner") == 1
    assert _get(client, "declared") == "/a/path"


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("gravitiy", "unknown-attribute", '"gravity"'),
        ("ale", "unsendable-value", "action_masks"),
        ("path", "unsendable-value", "PosixPath"),
        ("file", "attribute-refused", "--attributes plain,file"),
        ("undeclared", "attribute-refused", "--attributes plain,undeclared"),
        ("_hidden", "attribute-refused", "underscore"),
        ("__class__", "attribute-refused", "Python"),
        ("unwrapped.level", "attribute-refused", "without dots"),
        ("unwrapped", "unsendable-value", "stays at the server"),
        ("huge", "unsendable-value", "bytes"),
        ("boxed", "unsendable-value", "bytes"),
        ("array_like", "unsendable-value", "bytes"),
        ("endless", "unsendable-value", "items"),
        ("itself", "unsendable-value", "itself"),
    ],
)
def test_what_cannot_be_read(client: FramedClient, name: str, code: str, word: str) -> None:
    """Is refused with the reason and the remedy, and the session goes on."""
    error = _refused(client, "get", code, name.split(".")[0], word, name=name)
    assert (error.fault, error.reset_needed) == ("request", False)
    assert _get(client, "level") == 1


def test_a_getter_that_fails(client: FramedClient) -> None:
    """Is the environment's fault, and does not end the episode."""
    client.reset()
    error = _refused(client, "get", "environment-fault", "not today", name="failing")
    assert not error.reset_needed
    client.step(0)


def test_plain_data_is_changed(client: FramedClient) -> None:
    """To other values of the same kind; they take the type of the old ones."""
    array = [3, 4] if client.encoding == NETSTRING else {"dtype": "uint8", "shape": [2], "data": b"\3\4"}
    for name, value in (("gravity", 20), ("array", array), ("weather", "rain"), ("pair", [2, "y"])):
        client.ask("set", name=name, value=value)
    for name, value in (("places", [3, 2, 3]), ("day", "2026-01-02")):
        client.ask("set", name=name, value=value)
    assert (_get(client, "places"), _get(client, "day")) == ([2, 3], "2026-01-02")
    assert _get(client, "gravity") == 20
    assert _get(client, "array") == [3, 4]
    assert _get(client, "weather") == "rain"
    assert client.ask("get", name="pair", repr=True)["value"] == "(2, 'y')"


@pytest.mark.parametrize(
    ("name", "value", "code", "word"),
    [
        ("gravitiy", 1, "unknown-attribute", '"gravity"'),
        ("gravity", "much", "attribute-refused", "same kind"),
        ("array", [1, 2, 3], "attribute-refused", "shape"),
        ("array", [1, 300], "invalid-field", "300"),
        ("weather", "snow", "invalid-field", "snow"),
        ("name", "../secret", "attribute-refused", "path"),
        ("frameskip", 10**9, "attribute-refused", "1000"),
        ("table", {"0": [3.0], "1": [4.0]}, "invalid-field", "keys"),
        ("places", [[1]], "invalid-field", "unhashable"),
        ("day", "2026-01-02T03:00", "invalid-field", "2026-01-02T03:00"),
        ("constant", 4, "attribute-refused", "cannot be changed"),
        ("stubborn", 4, "attribute-refused", "as before"),
        ("step", 4, "attribute-refused", "method"),
        ("action_space", 4, "unsendable-value", "stays at the server"),
        ("render_mode", "human", "attribute-refused", "told of it once"),
        ("metadata", {"remote_attributes": ["undeclared"]}, "attribute-refused", "told of it once"),
        ("ale", 4, "unsendable-value", "stays at the server"),
        ("_hidden", 4, "attribute-refused", "underscore"),
        ("__class__", 4, "attribute-refused", "Python"),
    ],
)
def test_what_cannot_be_changed(client: FramedClient, name: str, value: Any, code: str, word: str) -> None:
    """Is refused, and is as before."""
    _refused(client, "set", code, word, name=name, value=value)
    client.reset()
    client.step(0)


def test_methods_are_called(client: FramedClient) -> None:
    """Those with conventional names, and those that the environment declares."""
    assert client.ask("get", name="action_masks") == {"callable": True}
    assert np.asarray(decode_arrays(client.ask("call", name="action_masks")["value"])).tolist() == [True, False]
    reward = client.ask("call", name="compute_reward", args=[0.5, 2.0], kwargs={"info": {}})
    assert reward == {"value": -1.5}
    assert client.ask("call", name="set_level", args=[3], kwargs={"hard": True}) == {"value": "3 True"}
    assert client.ask("call", name="level", args=["ignored"]) == {"value": 3}


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"name": "undeclared"}, "attribute-refused", "--attributes plain,undeclared"),
        ({"name": "reset"}, "attribute-refused", "session"),
        ({"name": "get_wrapper_attr", "args": ["_hidden"]}, "attribute-refused", "session"),
        ({"name": "compute_reward", "args": ["/etc/passwd", 1]}, "attribute-refused", "path"),
        ({"name": "set_level", "args": [-1]}, "environment-fault", "no such level"),
        ({"name": "set_level"}, "environment-fault", "argument"),
        ({"name": "get_keys_to_action"}, "unsendable-value", "builtin_function_or_method"),
    ],
)
def test_what_cannot_be_called(client: FramedClient, fields: dict[str, Any], code: str, word: str) -> None:
    """Is refused or fails, and the episode goes on."""
    client.reset()
    error = _refused(client, "call", code, word, **fields)
    assert not error.reset_needed
    client.step(0)


def test_no_rule_lets_a_client_around_it(serve: Serve) -> None:
    """Not even the one that allows all."""
    client = serve(Reachable, options={"attributes": "all"})
    assert client.ask("call", name="undeclared") == {"value": 5}
    assert _get(client, "file") == "/etc/passwd"
    client.ask("set", name="file", value="/tmp/x")
    assert "object" in client.ask("get", name="ale", repr=True)["value"]
    for name in ("step", "reset", "close", "render", "get_wrapper_attr", "set_wrapper_attr", "has_wrapper_attr"):
        _refused(client, "call", "attribute-refused", name=name, args=["_hidden"])
    _refused(client, "get", "attribute-refused", "--attributes all,_hidden", name="_hidden")
    _refused(client, "get", "attribute-refused", name="__dict__")
    _refused(client, "set", "attribute-refused", name="metadata", value={})


@pytest.mark.parametrize(
    ("rule", "readable", "callable_"),
    [
        ("none", set(), set()),
        ("undeclared", set(), {"undeclared", "set_level"}),
        ("plain,_hidden", {"level", "_hidden"}, {"action_masks", "set_level"}),
        ("all,_hidden", {"level", "file", "_hidden"}, {"action_masks", "set_level", "undeclared"}),
    ],
)
def test_rules(serve: Serve, rule: str, readable: set[str], callable_: set[str]) -> None:
    """Allow what their name says, and nothing else."""
    client = serve(Reachable, options={"attributes": rule})
    allowed = set()
    for name in ("level", "file", "_hidden", "action_masks", "set_level", "undeclared"):
        try:
            client.ask("get", name=name)
        except Failed as error:
            assert error.code == "attribute-refused"
            continue
        allowed.add(name)
    assert allowed == readable | callable_


class Marked(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Has an attribute of its own, and one that hides the environment's."""

    def __init__(self, env: Any) -> None:
        """Set them."""
        super().__init__(env)
        self.mark, self.level = 7, 100


def test_the_outermost_wrapper_counts(serve: Serve) -> None:
    """As in Gymnasium, for reading and for writing."""
    client = serve(lambda render_mode=None: Marked(Reachable(render_mode)))
    assert [_get(client, name) for name in ("mark", "level", "gravity")] == [7, 100, 9.8]
    client.ask("set", name="level", value=50)
    client.ask("call", name="set_level", args=[3])
    assert _get(client, "level") == 50


def test_each_of_several(serve: Serve, encoding: str) -> None:
    """Has its own value; an error names the one that it is about, and changes none."""
    client = serve(Reachable, num_envs=2, vectorization_mode="sync")
    assert _get(client, "level") == [1, 1]
    client.ask("set", name="level", value=[2, 3])
    assert client.ask("call", name="level") == {"value": [2, 3]}
    assert client.ask("call", name="set_level", args=[4]) == {"value": ["4 False", "4 False"]}
    error = _refused(client, "set", "attribute-refused", "environment 1: ", name="level", value=[5, "x"])
    assert error.environments == [1]
    assert _get(client, "level") == [4, 4]
    _refused(client, "set", "invalid-field", "2 environments", name="level", value=5)


def test_several_without_objects(serve: Serve) -> None:
    """Cannot be reached, and the error says how they could."""
    client = serve("CartPole-v1", num_envs=2)
    _refused(client, "get", "attribute-refused", '"sync"', name="gravity")


class Old(OldGym):
    """Has an attribute, and is behind a wrapper of Gym's."""

    level = 1


class Passing(gym.Wrapper):  # type: ignore[type-arg]
    """Passes on what it does not have, so that what is set on it has no effect."""


def test_an_environment_of_gym() -> None:
    """Is reached below its wrappers and the adapter."""
    adapted = GymEnvironment(Passing(Old()))
    assert attribute_layers.read(adapted, "level") == 1
    assert type(attribute_layers.owner(adapted, "level")) is Old


@pytest.mark.parametrize(
    ("op", "fields"),
    [("call", {"name": "action_masks"}), ("get", {"name": "slow"}), ("set", {"name": "slow", "value": 1})],
)
def test_a_request_is_timed(started: list[Served], encoding: str, op: str, fields: dict[str, Any]) -> None:
    """As a step is, so that the server's timeouts hold for it, and for all environments together."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Reachable):
        @property
        def slow(self) -> int:
            begun.set()
            assert go_on.wait(PATIENCE)
            return 1

        @slow.setter
        def slow(self, value: int) -> None:
            pass

        def action_masks(self) -> Any:
            return self.slow

    served = Served(encoding, message(encoding, "make", id=named(Slow)))
    started.append(served)
    served.client.read_made("nested")
    served.client.say(op, **fields)
    assert begun.wait(PATIENCE)
    assert served.status.operation is (Operation.CALL if op == "call" else Operation.GET)
    assert served.status.busy_since is not None
    assert served.status.request_since is not None
    go_on.set()
    served.client.reply(op)
    assert served.status.request_since is None


def test_values_are_not_collected_beyond_a_message(serve: Serve) -> None:
    """Several environments stop at the first one whose value no longer fits."""
    asked = []

    class Wordy(Reachable):
        @property
        def words(self) -> list[str]:
            asked.append(self)
            return ["word" * 50] * 40_000

    client = serve(Wordy, num_envs=20, vectorization_mode="sync")
    _refused(client, "get", "unsendable-value", "of the 20 environments", name="words")
    assert len(asked) == 3


def test_a_large_array_is_read(client: FramedClient, encoding: str) -> None:
    """Its bytes count once, and its numbers do, which are items of JSON."""
    name, size = ("many", 400_000) if encoding == NETSTRING else ("large", 10 << 20)
    assert len(decode_arrays(client.ask("get", name=name)["value"])) == size


@pytest.mark.parametrize(
    ("wrapper", "name", "value"),
    [
        (lambda env: wrappers.DelayObservation(env, 2), "delay", 10**9),
        (lambda env: wrappers.FrameStackObservation(env, 2), "stack_size", 3),
    ],
)
def test_the_size_of_a_wrapper_cannot_be_changed(serve: Serve, wrapper: Any, name: str, value: int) -> None:
    """What it may take was checked when it was made."""
    client = serve(lambda render_mode=None: wrapper(Reachable(render_mode)), options={"attributes": "all"})
    _refused(client, "set", "attribute-refused", "how much memory", name=name, value=value)


def test_an_attribute_with_the_name_of_a_wrappers_can_be_changed(client: FramedClient) -> None:
    """If it is an environment's own."""
    client.ask("set", name="delay", value=9)
    assert _get(client, "delay") == 9
