"""A session of the framed protocol whose environment returns what nobody expects, or is asked for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from gymtwist.envs.environment_plan import MAX_PROCESSES
from gymtwist.worker.session_codecs import MAX_OBSERVATIONS
from gymtwist_conformance.reference_client import INT32, NETSTRING, Failed, FramedClient, message
from tests.support.echo_environments import Observing
from tests.support.faulty_environments import Doing
from tests.support.hostile_environments import Silent
from tests.support.plain_environment import PAIR, Plain
from tests.support.served_session import Serve, Served, named


class Untold:
    """Raises whatever it is asked for."""

    def __bool__(self) -> bool:
        """Raise."""
        raise RuntimeError("no truth")

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        """Raise what cannot be told."""
        raise Silent()


class Rendering(Plain):
    """Renders what it is given."""

    def __init__(self, frame: Any, render_mode: str | None = None) -> None:
        """Take the frame."""
        super().__init__(render_mode)
        self.frame = frame

    def render(self) -> Any:
        """Return the frame."""
        return self.frame


class Moded(Plain):
    """Has a render mode that no message can carry, if it is told to."""

    def __init__(self, odd: bool = True, render_mode: str | None = None) -> None:
        """Take whether."""
        super().__init__(render_mode)
        if odd:
            self.render_mode = "\udc80"


class Returning(Plain):
    """Returns an info of any kind."""

    def __init__(self, info: Any, render_mode: str | None = None) -> None:
        """Take it."""
        super().__init__(render_mode)
        self.info = info

    def act(self, action: Any) -> Any:
        """Return it."""
        return self.info


class OddVector(VectorEnv[Any, Any, Any]):
    """Returns rewards and flags of a shape of their own."""

    def __init__(self, rewards: Any, flags: Any, counted: int | None = None, num_envs: int = 1) -> None:
        """Take them, and how many environments to say there are."""
        self.num_envs = num_envs if counted is None else counted
        self.single_action_space, self.single_observation_space = spaces.Discrete(2), PAIR
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(PAIR, num_envs)
        self.result: Any = np.zeros((num_envs, 2), np.float32), np.array(rewards), np.array(flags), np.array(flags), {}

    def reset(self, **arguments: Any) -> Any:
        """Return zeros."""
        return self.result[0], {}

    def step(self, actions: Any) -> Any:
        """Return what it was given."""
        return self.result


def odd_vector(rewards: Any, flags: Any, counted: int | None = None) -> str:
    """Register an environment that brings such a vector environment; return its id."""
    name = named(Plain)
    gymnasium.registry[name].vector_entry_point = partial(OddVector, rewards, flags, counted)
    return name


def fault(client: FramedClient, op: str = "step", **fields: Any) -> Failed:
    """Ask for what fails; return the error, behind which the connection goes on."""
    if op == "step":
        fields = {"action": client.actions.dump(0)}
    with pytest.raises(Failed) as caught:
        client.ask(op, **fields)
    client.reset()
    return caught.value


@pytest.mark.parametrize(
    "info",
    [None, [], (), "", 0, np.array([1, 2]), np.array([]), Untold()],
    ids=["none", "list", "tuple", "text", "number", "array", "empty-array", "untold"],
)
def test_an_info_that_is_no_dictionary(serve: Serve, info: Any) -> None:
    """Has no entries; an object is what travels."""
    client = serve(partial(Returning, info))
    client.reset()
    client.say("step", action=client.actions.dump(0))
    assert client.reply("step").get("info", {}) == {}


def test_words_that_utf_8_does_not_have(serve: Serve) -> None:
    """As in the name of a file that is not there: the error is told without them."""

    def fail() -> None:
        raise FileNotFoundError("\udc80.bin")

    client = serve(partial(Doing, fail))
    client.reset()
    assert "FileNotFoundError in step: ?.bin" in str(fault(client))


def test_words_without_end(serve: Serve) -> None:
    """Are cut."""

    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    client = serve(partial(Doing, fail))
    client.reset()
    assert len(fault(client).message) < 5000


def test_an_exception_that_cannot_be_formatted(serve: Serve) -> None:
    """Is not in its space, and that is all there is to tell."""
    client = serve(partial(Observing, PAIR, Untold()))
    with pytest.raises(Failed, match=r"a value outside its space from .*: Silent") as caught:
        client.reset()
    assert caught.value.fault == "environment"
    assert client.ask("sample")


@pytest.mark.parametrize("kind", ["loop", "integer"])
def test_a_frame_that_cannot_be_sent(serve: Serve, encoding: str, kind: str) -> None:
    """Is a fault of the environment, whatever it is that the encoder raises."""
    loop: list[Any] = []
    loop.append(loop)
    client = serve(partial(Rendering, loop if kind == "loop" else 1 << 80), render_mode="rgb_array")
    client.reset()
    if kind == "integer" and encoding == NETSTRING:
        assert client.ask("render")["frame"] == 1 << 80
    else:
        assert (found := fault(client, "render")).fault == "environment" and not found.reset_needed


def test_an_environment_that_cannot_be_described(encoding: str, started: list[Served]) -> None:
    """Is not made: there is one error, and another environment may be made."""
    name = named(Moded)
    started.append(Served(encoding, message(encoding, "make", id=name)))
    client = started[0].client
    for _ in range(2):
        with pytest.raises(Failed) as caught:
            client.reply("make")
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", False)
        with pytest.raises(Failed, match="no environment was made"):
            client.reset()
        client.say("make", id=name)
    with pytest.raises(Failed):
        client.reply("make")
    client.make(name, kwargs={"odd": False})
    client.play()


@pytest.mark.parametrize(
    ("rewards", "flags"),
    [(1.0, [False] * 3), ([1.0], [False] * 3), ([1.0] * 3, True), ([1.0] * 3, [True] * 5), ([1.0] * 3, [[True] * 3])],
)
def test_rewards_and_flags_of_another_shape(serve: Serve, rewards: Any, flags: Any) -> None:
    """Are a fault of the vector environment."""
    client = serve(odd_vector(rewards, flags), num_envs=3)
    client.reset()
    client.say("step", action=client.actions.dump([0, 0, 0]))
    with pytest.raises(Failed, match=r"returned .* for `(rewards|terminated)` from step; Gymnasium") as caught:
        client.reply("step")
    assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
    client.reset()


@pytest.mark.parametrize("counted", [0, -3, 7, "three"])
def test_another_number_of_environments(encoding: str, started: list[Served], counted: Any) -> None:
    """Than was asked for is not taken."""
    handshake = message(encoding, "make", id=odd_vector([0.0] * 3, [False] * 3, counted), num_envs=3)
    started.append(Served(encoding, handshake))
    with pytest.raises(Failed, match="environments where 3 were asked for") as caught:
        started[0].client.reply("make")
    assert caught.value.fault == "environment"
    started[0].client.make("CartPole-v1")


def test_seeds_beyond_int64(serve: Serve) -> None:
    """Are refused where the vector environment takes an array of them."""
    pytest.importorskip("ale_py")
    client = serve("ALE/Pong-v5", num_envs=2)
    client.reset()
    with pytest.raises(Failed, match="does not take these seeds") as caught:
        client.reset(seed=[1, 1 << 63])
    assert (caught.value.code, caught.value.reset_needed) == ("invalid-field", False)
    client.reset(seed=[1, 2])


def test_a_mask_among_the_options(serve: Serve, encoding: str) -> None:
    """Is refused: what the session knows of its episodes would be wrong."""
    client = serve("CartPole-v1", num_envs=2, vectorization_mode="sync", autoreset_mode="disabled")
    client.reset()
    mask: Any = [True, False] if encoding == NETSTRING else {"dtype": "bool", "shape": [2], "data": b"\1\0"}
    with pytest.raises(Failed, match="reset_mask") as caught:
        client.reset(options={"reset_mask": mask})
    assert (caught.value.code, caught.value.reset_needed) == ("invalid-field", False)
    client.step([0, 1])


def test_options_with_the_fields_of_an_array(serve: Serve, encoding: str) -> None:
    """Are options still."""
    client = serve("CartPole-v1", num_envs=2, vectorization_mode="sync")
    client.reset()
    data: Any = b"ab" if encoding == INT32 else "YWI="
    client.reset(mask=[True, False], options={"dtype": "uint8", "shape": [2], "data": data})


def test_a_window_by_another_name(encoding: str, started: list[Served]) -> None:
    """Is refused as well: Gymnasium makes an environment of the mode "human" for "human_list"."""
    handshake = message(encoding, "make", id="CartPole-v1", render_mode="human_list")
    started.append(Served(encoding, handshake))
    with pytest.raises(Failed, match="--display") as caught:
        started[0].client.reply("make")
    assert caught.value.code == "bad-request"


def test_too_many_processes(encoding: str, started: list[Served]) -> None:
    """Are refused before the first begins."""
    handshake = message(encoding, "make", id="CartPole-v1", num_envs=MAX_PROCESSES + 1, vectorization_mode="async")
    started.append(Served(encoding, handshake))
    with pytest.raises(Failed, match="async has a process for each, send 64 at most") as caught:
        started[0].client.reply("make")
    assert caught.value.code == "invalid-field"


def test_too_many_numbers_in_lists(serve: Serve, encoding: str) -> None:
    """Are refused before the first step: as lists they take many times the bytes of their array."""
    space = spaces.Box(0, 255, (1024, 1024), np.uint8)
    client = serve(partial(Observing, space, np.zeros((1024, 1024), np.uint8)))
    client.reset()
    client.say("step_many", action=client.actions.dump(0), count=5, observations="all")
    if encoding == INT32:
        assert len(client.reply("step_many")["observations"]) == 5 << 20
    else:
        with pytest.raises(Failed, match="ask for 4 at most") as caught:
            client.reply("step_many")
        assert caught.value.code == "invalid-field"


def test_too_much_text(serve: Serve) -> None:
    """Ends the episode as soon as it is too much: the space does not say before how much it will be."""
    text = "x" * (MAX_OBSERVATIONS // 8)
    client = serve(partial(Observing, spaces.Text(len(text), charset="x"), text))
    client.ask("reset")
    told = client.ask("step_many", action=client.actions.dump(0), count=7, observations="all")
    assert told["observations"] == [text] * 7
    with pytest.raises(Failed, match=r'the observations of 8 steps are more than .* "last"') as caught:
        client.ask("step_many", action=client.actions.dump(0), count=10_000, observations="all")
    assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
    client.ask("reset")
