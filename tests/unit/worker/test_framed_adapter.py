"""A session of the framed protocol: what it is asked, and what it answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from gymtwist.worker.worker_settings import SessionLimits
from gymtwist_conformance.reference_client import INT32, NETSTRING, Failed, flatten, message
from tests.support.echo_environments import ACTIONS, OBSERVATIONS, Acting, Informing, Observing
from tests.support.plain_environment import PAIR, Plain
from tests.support.served_session import Counting, Serve, Served, named


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("values", ["nested", "base64"])
def test_observations_of_every_kind(serve: Serve, encoding: str, name: str, values: str) -> None:
    """Arrive as they are, to the last bit, in every form."""
    space, value = OBSERVATIONS[name]
    client = serve(partial(Observing, space, value), values=values)
    if not client.made.get("observation_layout"):
        client.say("reset")
        assert client.reply("reset")["observation"] == value
        return
    for observation in (client.reset()[0], client.step(0).observation):
        expected = _leaves(space, value)
        for path, leaf in expected.items():
            served = flatten(observation)[path]
            assert served.dtype == leaf.dtype
            assert served.tobytes() == leaf.tobytes()


def _leaves(space: spaces.Space[Any], value: Any, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    if isinstance(space, spaces.Dict):
        items: Any = space.spaces.items()
    elif isinstance(space, spaces.Tuple):
        items = enumerate(space.spaces)
    else:
        return {path: np.asarray(value, space.dtype)}
    return {k: v for key, each in items for k, v in _leaves(each, value[key], (*path, key)).items()}


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_of_every_kind(serve: Serve, encoding: str, name: str) -> None:
    """Reach the environment as elements of its space: what it samples can be played."""
    client = serve(partial(Acting, ACTIONS[name]))
    client.reset()
    for _ in range(5):
        client.say("step", action=client.ask("sample")["action"])
        assert client.read_step().info["contained"] is True


def test_an_info_of_all_sorts(serve: Serve, encoding: str) -> None:
    """Arrives but for what cannot be carried; JSON has names for the numbers that are not finite."""
    client = serve(partial(Informing))
    client.reset()
    info = client.step(0).info
    assert info["nested"]["list"] == [1, [0.5, "x"]]
    assert "function" not in info
    assert info["beside"] == {"kept": 1}
    assert np.asarray(info["array"]).tolist() == [[0, 1, 2], [3, 4, 5]]
    if encoding == NETSTRING:
        assert info["nan"] == "NaN"
        assert info["infinite"] == "Infinity"
    else:
        assert np.isnan(info["nan"])
        assert info["array of both"].dtype == np.float64


def test_a_seed_and_options_reach_the_environment(serve: Serve) -> None:
    """As they are; without a seed the first reset has the operator's."""
    client = serve(partial(Counting, []), options={"seed": 11})
    assert client.reset()[1]["seed"] == 11
    assert client.reset()[1]["seed"] is None
    assert client.reset(seed=5, options={"low": [1, 2.5]})[1] == {"seed": 5, "options": {"low": [1, 2.5]}}


_TRUE = {"dtype": "bool", "shape": [1], "data": b"\1"}


class Typing(Plain):
    """Shows in its info of which types its options are."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Return them as text."""
        return super().reset()[0], {"options": repr(arguments["options"])}


def test_options_mean_the_same_in_both_encodings(serve: Serve, encoding: str) -> None:
    """Numbers that are not finite, integers and text that looks like a number."""
    given = {"a": float("inf"), "b": [float("nan"), 1, 2.0], "c": "NaN", "d": "nan"}
    text = {"a": "Infinity", "b": ["NaN", 1, 2.0], "c": "\\NaN", "d": "nan"}
    info = serve(Typing).reset(options=text if encoding == NETSTRING else given)[1]
    assert info == {"options": repr(given)}


def test_a_vector_of_one(serve: Serve) -> None:
    """Its action and its mask may be what they would be a list of."""
    client = serve(partial(Acting, PAIR), num_envs=1, vectorization_mode="sync")
    client.reset()
    for action in ([0.5, -1], [[0.5, -1]], {"0": 0.5, "1": -1}):
        assert client.ask("step", action=action)["info"]["contained"] in ([True], _TRUE)
        assert client.reset(mask=True)[0].shape == (1, 2)


def test_a_client_can_choose_its_seed_itself(serve: Serve) -> None:
    """Then the operator's is not used any more."""
    client = serve(partial(Counting, []), options={"seed": 11})
    assert client.reset(seed=5)[1]["seed"] == 5
    assert client.reset()[1]["seed"] is None


def test_a_reward_that_is_no_number(serve: Serve, encoding: str) -> None:
    """Is carried all the same."""
    client = serve(partial(Counting, []))
    client.reset()
    assert np.isnan(client.step(0).reward)


def test_the_session_status_and_the_summary(serve: Serve, started: list[Served]) -> None:
    """Count steps and episodes, also those of many steps, and over a fault."""
    failing: list[str] = []
    client = serve(partial(Counting, failing))
    client.reset()
    client.ask("step_many", action=client.actions.dump(0), count=5)
    client.step(2)
    failing.append("reset")
    with pytest.raises(Failed):
        client.reset()
    failing.clear()
    client.reset()
    client.step(0)
    assert started[0].status.steps == 7
    assert started[0].status.answered
    assert started[0].end() == "the client left"
    assert (started[0].status.steps, started[0].status.episodes) == (7, 1)


def test_the_session_status_of_a_vector_environment(serve: Serve, started: list[Served]) -> None:
    """Count the steps and episodes of all."""
    client = serve("CartPole-v1", num_envs=4)
    client.reset(seed=1)
    for _ in range(30):
        client.step([1, 1, 1, 1])
    started[0].end()
    assert started[0].status.steps == 120
    assert started[0].status.episodes >= 8


def test_frames_that_come_byte_by_byte(serve: Serve, encoding: str) -> None:
    """Are waited for."""
    client = serve("CartPole-v1")
    data = message(encoding, "reset", seed=1) + message(encoding, "step", action=client.actions.dump(1))
    for index in range(len(data)):
        client.send(data[index : index + 1])
    assert client.read_reset()[0].shape == (4,)
    assert client.read_step().reward == 1.0


def test_trailing_data_of_the_handshake(encoding: str, started: list[Served]) -> None:
    """Is served first."""
    started.append(Served(encoding, message(encoding, "make", id="CartPole-v1"), message(encoding, "reset")[:3]))
    client = started[0].client
    client.send(message(encoding, "reset")[3:] + message(encoding, "close"))
    client.read_made()
    assert client.read_reset()[0].shape == (4,)
    assert client.reply("close") == {}


def test_limits(serve: Serve) -> None:
    """What has no limit is null."""
    made = serve("CartPole-v1", options={"limits": SessionLimits(idle=0.0, step=2.5)}).made
    assert made["limits"] == {"idle_timeout": None, "step_timeout": 2.5, "max_frame": 2**24}


def test_observations_that_share_their_memory(serve: Serve, encoding: str) -> None:
    """Of an environment that always returns the same array, all of many steps are as they were."""

    class Reusing(Plain):
        observation_space = spaces.Box(0, 255, (3,), np.uint8)

        def __init__(self, render_mode: str | None = None) -> None:
            self.array = np.zeros(3, np.uint8)

        def observe(self) -> Any:
            self.array += 1
            return self.array

    client = serve(Reusing)
    client.reset()
    told = client.ask("step_many", action=client.actions.dump(0), count=3, observations="all")["observations"]
    if encoding == INT32:
        assert told == bytes([2, 2, 2, 3, 3, 3, 4, 4, 4])
    else:
        assert told == [[2, 2, 2], [3, 3, 3], [4, 4, 4]]


def test_large_observations_of_many_steps(serve: Serve, encoding: str) -> None:
    """Are sent from where they lie, and are whole."""
    space, value = OBSERVATIONS["Frame"]
    client = serve(partial(Observing, space, value), values="base64")
    client.reset()
    told = client.ask("step_many", action=client.actions.dump(0), count=3, observations="all")["observations"]
    if encoding == INT32:
        assert told == 3 * value.tobytes()
    else:
        assert [base64.b64decode(each) for each in told] == 3 * [value.tobytes()]


def test_single_spaces_of_several_environments(serve: Serve) -> None:
    """Are told beside those of all together."""
    made = serve("CartPole-v1", num_envs=3, vectorization_mode="sync", autoreset_mode="same_step").made
    assert made["single_action_space"]["kind"] == "Discrete"
    assert made["single_observation_layout"]["size"] == 16
    assert made["observation_layout"]["size"] == 48
    assert (made["num_envs"], made["autoreset_mode"]) == (3, "same_step")
    assert "autoreset_mode" not in made["metadata"]


def test_atari_together(serve: Serve) -> None:
    """By ale-py's own vector environment, with a seed for each."""
    gymnasium.register_envs(pytest.importorskip("ale_py"))
    client = serve("ALE/Pong-v5", num_envs=2)
    one, _ = client.reset(seed=[1, 2])
    assert one.shape == (2, 4, 84, 84)
    assert np.asarray(client.step([0, 0]).info["lives"]).tolist() == [0, 0]
    other, _ = client.reset(seed=[1, 2])
    assert one.tobytes() == other.tobytes()


def test_spaces_without_a_layout_of_several(serve: Serve) -> None:
    """Travel as structured values."""
    client = serve(partial(Observing, *OBSERVATIONS["Text"]), num_envs=2, vectorization_mode="sync")
    client.say("reset")
    assert client.reply("reset")["observation"] == ["größe", "größe"]


def test_gym_together(serve: Serve) -> None:
    """Gym's environments can be vectorized, too."""
    client = serve("gym:CartPole-v1", num_envs=2, max_episode_steps=3)
    client.reset(seed=1)
    for _ in range(3):
        stepped = client.step([0, 1])
    assert stepped.truncated.tolist() == [True, True]


class Timed(Plain):
    """Notes since when the request has gone on for which its code is called; it renders nothing."""

    def __init__(self, times: list[Any], started: list[Served], render_mode: str | None = None) -> None:
        """Note it, and refuse a render mode."""
        super().__init__(render_mode)
        self.times, self.started = times, started
        self._note()
        if render_mode is not None:
            raise ValueError("no screen")

    def _note(self) -> None:
        # The status is not known to the test before the first request is over.
        self.times.append(self.started[0].status.request_since if self.started else None)

    def observe(self) -> Any:
        """Note it for each reset and step."""
        self._note()
        return super().observe()


@pytest.fixture
def timed(serve: Serve, started: list[Served]) -> Iterator[tuple[list[Any], str, Served]]:
    """Times that its code has noted, the id of an environment that notes them, and a session without one."""
    times: list[Any] = []
    environment = named(partial(Timed, times, started))
    with pytest.raises(Failed, match="render_mode"):
        serve(environment, render_mode="rgb_array")
    del times[:]
    yield times, environment, started[0]
    assert times[0] is not None
    assert set(times) == {times[0]}
    assert started[0].status.request_since is None


def test_the_attempts_to_make_are_timed_together(timed: tuple[list[Any], str, Served]) -> None:
    """They are of one request, which has one limit of time."""
    times, environment, session = timed
    with pytest.raises(Failed, match="render_mode"):
        session.client.ask("make", id=environment, render_mode="rgb_array")
    assert len(times) == 2


def test_what_verifies_a_seed_is_timed_together(timed: tuple[list[Any], str, Served]) -> None:
    """Three resets and the steps between are of one request, too."""
    times, environment, session = timed
    session.client.make(environment)
    del times[:]
    session.client.ask("reset", seed=1, verify_seed=True)
    assert len(times) > 4


class Whole(Plain):
    """Has whole numbers as rewards, after a step that fails if it is to."""

    failing = True

    def step(self, action: Any) -> Any:
        """Fail once."""
        if self.failing:
            self.failing = False
            raise ValueError("not yet")
        return self.observe(), 1, False, False, {}


def test_the_type_of_rewards(serve: Serve) -> None:
    """Comes with the first step that does not fail, and with no other."""
    client = serve(partial(Whole))
    action = client.actions.dump(0)
    client.reset()
    with pytest.raises(Failed, match="not yet"):
        client.ask("step", action=action)
    client.reset()
    assert [client.ask("step", action=action).get("reward_type") for _ in range(3)] == ["int", None, None]


def test_the_type_of_rewards_after_other_steps(serve: Serve) -> None:
    """Comes with the first reply to a step, although the environment was stepped to verify the seed."""
    client = serve(partial(Whole))
    action = client.actions.dump(0)
    client.ask("reset", seed=1, verify_seed=True)
    client.ask("reset", seed=1, verify_seed=True)
    client.ask("step_many", action=action, count=2)
    assert [client.ask("step", action=action).get("reward_type") for _ in range(3)] == ["int", None, None]


def test_environments_are_listed(encoding: str) -> None:
    """Those that the operator allows, before and after one is made, in pages."""
    first = message(encoding, "envs")
    served = Served(encoding, first, allow=("CartPole-v?", "gym:Taxi-*", "module:Env-v0"))
    page = served.client.reply("envs")
    ids = [each["id"] for each in page["envs"]]
    assert ids == sorted(ids)
    assert (
        {"CartPole-v1", "gym:Taxi-v3"}
        <= set(ids)
        <= {"CartPole-v0", "CartPole-v1", "gym:Taxi-v3"} | {f"gym:CartPole-v{version}" for version in (0, 1)}
    )
    assert page.get("more", False) is False
    assert page["server"].startswith("gymtwist ")
    served.client.make("CartPole-v1")
    found: list[str] = []
    while (page := served.client.ask("envs", after=found[-1] if found else "", count=1)).get("more", False):
        found += [each["id"] for each in page["envs"]]
    assert [*found, *(each["id"] for each in page["envs"])] == ids
    assert served.client.ask("envs", count=0) == {"more": True, "server": page["server"]}
    assert served.client.ask("envs", after=ids[-1]) == {"server": page["server"]}
    served.client.play()
    served.end()


def test_a_refused_environment_can_follow_a_list(encoding: str) -> None:
    """The session goes on until there is one."""
    served = Served(encoding, message(encoding, "envs", count=0), allow=("CartPole-v1",))
    served.client.reply("envs")
    with pytest.raises(Failed, match="make one before"):
        served.client.reset()
    with pytest.raises(Failed, match="not allowed"):
        served.client.make("Acrobot-v1")
    served.client.make("CartPole-v1")
    served.client.play()
    served.end()


# Lenient sessions, and the monitor


def test_bounds_of_actions_are_checked_unless_the_session_is_lenient(serve: Serve, encoding: str) -> None:
    """Everything else about an action is checked in either."""
    make = partial(Acting, ACTIONS["Box"])
    strict, lenient = serve(make), serve(make, lenient=True)
    for client in (strict, lenient):
        client.reset()
    outside = np.full((2, 2), 9, np.float32)
    with pytest.raises(Failed, match="from -1"):
        strict.step(outside)
    assert lenient.step(outside).info["contained"] is False
    with pytest.raises(Failed, match="invalid-action"):
        lenient.ask("step", action=[1])


def test_steps_go_on_after_the_end_of_an_episode_if_the_session_is_lenient(serve: Serve, encoding: str) -> None:
    """Not before the first one."""
    client = serve("CartPole-v1", lenient=True, max_episode_steps=1)
    with pytest.raises(Failed, match="reset"):
        client.step(0)
    client.reset()
    assert client.step(0).truncated
    assert client.step(0).reward == 1.0


def test_episodes_are_recorded_until_the_monitor_is_stopped(serve: Serve, encoding: str, tmp_path: Path) -> None:
    """Below the root; the environment goes on."""
    client = serve(Plain, options={"monitor_root": str(tmp_path)})
    client.ask("monitor", directory="here")
    client.reset()
    client.step(0)
    client.reset()
    client.ask("monitor")
    client.ask("monitor")
    client.step(0)
    (statistics,) = tmp_path.glob("here/*.stats.json")
    assert json.loads(statistics.read_text())["episode_lengths"] == [1]
    for directory in ("here", "/etc"):
        with pytest.raises(Failed, match="monitor-refused"):
            client.ask("monitor", directory=directory)


def test_several_environments_are_not_recorded(serve: Serve, encoding: str, tmp_path: Path) -> None:
    """The connection goes on."""
    client = serve("CartPole-v1", num_envs=2, options={"monitor_root": str(tmp_path)})
    with pytest.raises(Failed, match="bad-request"):
        client.ask("monitor", directory="here")
