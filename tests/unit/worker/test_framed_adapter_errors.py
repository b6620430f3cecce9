"""A session of the framed protocol in which something goes wrong: it goes on if it can."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import VectorEnvCreator
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from gymtwist_conformance.reference_client import INT32, NETSTRING, Failed, decode_arrays, message
from tests.support.echo_environments import ACTIONS, Acting, Observing
from tests.support.faulty_environments import Constructing, Doing, Resetting
from tests.support.plain_environment import Plain
from tests.support.served_session import Counting, Serve, Served, fail, named


def test_a_wrong_action_is_named(serve: Serve, encoding: str) -> None:
    """With its path in the space, and what to send; the environment does not see it."""
    client = serve(partial(Acting, ACTIONS["Dict"]))
    client.reset()
    wrong: Any = {"move": 5, "force": [0.5, 0.5]}
    if encoding == INT32:
        wrong = np.int64(5).tobytes() + np.array([0.5, 0.5], np.float32).tobytes()
        if client.made["action_layout"]["leaves"][0]["path"] != ["move"]:
            wrong = wrong[8:] + wrong[:8]
    with pytest.raises(Failed, match=r"action\.move is 5: send an integer from 0 to 2") as caught:
        client.ask("step", action=wrong)
    assert (caught.value.code, caught.value.reset_needed) == ("invalid-action", False)


def test_an_id_whose_successor_is_not_allowed(serve: Serve) -> None:
    """Is refused, whatever the pattern is that it matches itself."""
    with pytest.raises(Failed, match='"CartPoleJax-v0" means "phys2d/CartPole-v0", which is not allowed') as caught:
        serve("CartPoleJax-v0", options={"allow": ("CartPole*",)})
    assert caught.value.code == "environment-refused"


def test_one_of_many_actions_is_named(serve: Serve) -> None:
    """Before any of them is taken."""
    client = serve(partial(Counting, []))
    client.reset()
    dump = client.actions.dump
    with pytest.raises(Failed, match=r"actions\[1\]: action is 7") as caught:
        client.ask("step_many", actions=[dump(0), dump(7)])
    assert caught.value.code == "invalid-action"


def test_an_ended_episode_is_not_stepped(serve: Serve) -> None:
    """A reset is due, whatever was sent ahead."""
    client = serve(partial(Counting, []))
    client.reset()
    assert client.step(2).terminated
    with pytest.raises(Failed, match="the episode has ended: reset before the next step") as caught:
        client.step(0)
    assert (caught.value.code, caught.value.fault, caught.value.reset_needed) == ("reset-needed", "request", True)
    client.reset()
    client.step(0)


def test_the_same_environment_after_a_fault_in_a_step(serve: Serve) -> None:
    """A reset is enough."""
    failing: list[str] = []
    client = serve(partial(Counting, failing))
    number = int(client.reset()[0])
    failing.append("step")
    with pytest.raises(Failed, match="raised ValueError in step: the pole is not there") as caught:
        client.step(0)
    assert (caught.value.fault, caught.value.reset_needed) == ("environment", True)
    failing.clear()
    assert client.reset()[0] == number
    assert client.step(0).observation == number


def test_a_fresh_environment_after_a_fault_in_a_reset(serve: Serve) -> None:
    """By the same make message, as often as it takes."""
    failing: list[str] = []
    client = serve(partial(Counting, failing))
    number = int(client.reset()[0])
    failing.append("reset")
    for _ in range(2):
        with pytest.raises(Failed, match="in reset"):
            client.reset()
    failing.clear()
    assert client.reset()[0] == number + 2


def test_a_render_that_fails(serve: Serve) -> None:
    """Is no end of the episode."""
    failing = ["render"]
    client = serve(partial(Counting, failing), render_mode="rgb_array")
    client.reset()
    for failing[0] in ("render", "object"):
        with pytest.raises(Failed) as caught:
            client.ask("render")
        assert (caught.value.fault, caught.value.reset_needed) == ("environment", False)
    failing.clear()
    client.step(0)
    array, text, nothing = decode_arrays(client.ask("render")["frame"])
    assert array.dtype == np.float32
    assert array.tolist() == [[1.0] * 3] * 2
    assert (text, nothing) == ("text", None)


def test_a_render_too_early(serve: Serve) -> None:
    """There is nothing to see before the first reset."""
    client = serve(partial(Counting, []), render_mode="rgb_array")
    with pytest.raises(Failed, match="reset before you render") as caught:
        client.ask("render")
    assert caught.value.code == "reset-needed"


def test_a_frame_over_the_limit(serve: Serve, encoding: str, started: list[Served]) -> None:
    """Is refused as soon as its length has come, and the connection ends."""
    client = serve("CartPole-v1")
    client.send(b"99999999:" if encoding == NETSTRING else b"\x7f\xff\xff\xff")
    with pytest.raises(Failed) as caught:
        client.reply("step")
    assert (caught.value.code, caught.value.fault) == ("limit-exceeded", "protocol")
    assert client.read_to_end() == b""
    assert started[0].end().startswith("the client broke the protocol: the frame has")


@pytest.mark.parametrize(
    ("make", "operation"), [(partial(Constructing, fail), "make"), (partial(Observing, spaces.Space(), 0), None)]
)
def test_an_environment_that_cannot_be_made(encoding: str, started: list[Served], make: Any, operation: str) -> None:
    """Is told, whether it is its constructor or its spaces; another may be made."""
    started.append(Served(encoding, message(encoding, "make", id=named(make))))
    with pytest.raises(Failed) as caught:
        started[0].client.reply("make")
    assert (caught.value.code, caught.value.fault) == ("environment-fault", "environment")
    assert started[0].client.make("CartPole-v1")["spec"]["id"] == "CartPole-v1"


def test_too_many_observations(serve: Serve) -> None:
    """Are refused before the first step: one reply is not to hold a gigabyte."""
    space = spaces.Box(0, 255, (1024, 1024), np.uint8)
    client = serve(partial(Observing, space, np.zeros((1024, 1024), np.uint8)), values="base64")
    client.reset()
    with pytest.raises(Failed, match='ask for 64 at most, or for the "last" one') as caught:
        client.ask("step_many", action=client.actions.dump(0), count=65, observations="all")
    assert caught.value.code == "invalid-field"


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_what_several_environments_refuse(serve: Serve, mode: str) -> None:
    """Seeds and masks that are not as many, or that they do not take."""
    client = serve("CartPole-v1", num_envs=3, vectorization_mode=mode)
    with pytest.raises(Failed, match="reset all environments before some"):
        client.reset(mask=[True, True, True])
    client.reset()
    wrong: list[dict[str, Any]] = [{"seed": [1, 2]}, {"mask": [True]}, {"mask": [False] * 3}]
    if mode == "vector_entry_point":
        wrong += [{"seed": [1, 2, 3]}, {"mask": [True, False, False]}]
    for fields in wrong:
        with pytest.raises(Failed) as caught:
            client.reset(**fields)
        assert (caught.value.code, caught.value.reset_needed) == ("invalid-field", False)
    client.step([0, 1, 0])


def test_many_steps_stop_where_a_reset_is_due(serve: Serve) -> None:
    """Where environments do not reset by themselves: at the first that ends."""
    client = serve("CartPole-v1", num_envs=2, vectorization_mode="sync", autoreset_mode="disabled")
    client.reset(seed=3)
    told = client.ask("step_many", action=client.actions.dump([1, 1]), count=50)
    assert told["count"] < 50
    assert client.flags(told["terminated"]).any()


def test_a_system_exit_is_no_end(serve: Serve) -> None:
    """Neither of the process nor of the connection."""

    def leave() -> None:
        raise SystemExit(3)

    client = serve(partial(Doing, leave))
    client.reset()
    with pytest.raises(Failed, match="raised SystemExit in step"):
        client.step(0)
    client = serve(partial(Resetting, leave))
    with pytest.raises(Failed, match="raised SystemExit in reset"):
        client.reset()


class Refusing(Plain):
    """Knows one render mode, which it does not declare, and of each three at a time."""

    metadata: dict[str, Any] = {}

    def __init__(self, alive: list[Refusing], render_mode: str | None = None) -> None:
        """Refuse."""
        super().__init__(render_mode)
        assert render_mode in (None, "ansi"), "only ansi"
        assert len(alive) < 3, "one too many"
        alive.append(self)
        self.alive = alive

    def close(self) -> None:
        """Make room."""
        self.alive.remove(self)


class RefusingVector(VectorEnv[Any, Any, Any]):
    """A vector environment of its own kind, of two environments without a limit of the steps."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int, max_episode_steps: int | None = None) -> None:
        """Refuse."""
        assert num_envs == 2, "two only"
        assert max_episode_steps is None, "no limit"
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = Plain.observation_space, Plain.action_space
        self.observation_space, self.action_space = (
            batch_space(each, num_envs) for each in (Plain.observation_space, Plain.action_space)
        )


gymnasium.register(
    "RefusingVector-v0", entry_point=partial(Plain), vector_entry_point=cast(VectorEnvCreator, RefusingVector)
)
OWN = "vector_entry_point"


@pytest.mark.parametrize(
    ("environment", "fields", "words"),
    [
        ("Refusing", {"render_mode": "odd"}, 'render_mode "odd": .* AssertionError in make: only ansi'),
        ("Refusing", {"num_envs": 5, "vectorization_mode": "sync"}, "num_envs 5: .* one too many"),
        ("ALE/Pong-v5", {"num_envs": 2, "autoreset_mode": "disabled"}, 'autoreset_mode "disabled": .* ValueError'),
        ("RefusingVector-v0", {"num_envs": 2, "max_episode_steps": 9}, "max_episode_steps 9: .* no limit"),
        ("RefusingVector-v0", {"num_envs": 3, "vectorization_mode": OWN}, f'vectorization_mode "{OWN}": .* two only'),
    ],
)
def test_what_an_environment_refuses_of_make_is_the_clients_error(
    encoding: str, started: list[Served], environment: str, fields: dict[str, Any], words: str
) -> None:
    """It is named, and the client may ask for the environment without it."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    if environment == "Refusing":
        environment = named(partial(Refusing, []))
    started.append(Served(encoding, message(encoding, "make", id=environment, **fields)))
    client = started[-1].client
    with pytest.raises(Failed, match=words) as caught:
        client.read_made()
    assert (caught.value.code, caught.value.fault) == ("invalid-field", "request")
    client.make(environment)


def test_refusals_without_end_do_not_fill_the_log(
    encoding: str, started: list[Served], capsys: pytest.CaptureFixture[str]
) -> None:
    """Sixteen of a session are printed, and a thousand characters of each."""

    def make(**kwargs: Any) -> Plain:
        return Plain()

    names = [f"parameter_{number}" for number in range(100)]
    taken = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    make.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined] # inspect looks for it
    environment = named(make)
    started.append(Served(encoding, message(encoding, "make", id=environment, kwargs={"size": 1})))
    client = started[-1].client
    with pytest.raises(Failed, match="takes no kwarg"):
        client.read_made()
    for _ in range(20):
        with pytest.raises(Failed, match="takes no kwarg"):
            client.make(environment, kwargs={"size": 1})
    lines = [each for each in capsys.readouterr().err.splitlines() if each.startswith("not made: ")]
    assert [len(each) for each in lines] == [1000] * 16


def test_an_environment_that_cannot_be_made_at_all_blames_no_field(encoding: str, started: list[Served]) -> None:
    """It is its own fault, whatever was asked for."""
    environment = named(partial(Constructing, fail))
    fields = {"num_envs": 2, "render_mode": "rgb_array", "max_episode_steps": 5}
    started.append(Served(encoding, message(encoding, "make", id=environment, **fields)))
    with pytest.raises(Failed, match="ValueError in make") as caught:
        started[-1].client.read_made()
    assert caught.value.code == "environment-fault"
