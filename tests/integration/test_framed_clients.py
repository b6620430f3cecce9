"""The framed protocol as clients meet it: a real server, which speaks the classic protocol on the same port."""

from __future__ import annotations

import ssl
from typing import Any

import gymnasium
import numpy as np
import pytest

from gymtwist_conformance.reference_client import (
    INT32,
    NETSTRING,
    Failed,
    FramedClient,
    Stepped,
    decode_arrays,
    message,
)
from tests.conftest import Connect
from tests.support.echo_environments import PICTURE
from tests.support.equivalence import make_local, same, same_info, same_step
from tests.support.server_process import ServerProcess, connected

#: Whether to measure the coverage of its server.
MEASURED = True
WITH_TLS = True

SEED = 77


def test_three_protocols_on_one_port(server: ServerProcess) -> None:
    """The first bytes of a connection identify its protocol."""
    address = ("127.0.0.1", server.port)
    with (
        server.open("CartPole-v1") as classic,
        FramedClient(connected(address), NETSTRING) as text,
        FramedClient(connected(address), INT32) as binary,
    ):
        since = server.mark()
        for client in (text, binary):
            client.make("CartPole-v1")
            client.play(20)
            server.wait_for(
                rf"started: CartPole-v1 for \S+:{client.port} \({client.encoding}, process \d+\)", since=since
            )
        classic.play(20)


@pytest.mark.parametrize(
    ("environment", "steps"), [("CartPole-v1", 300), ("ALE/Pong-v5", 3), ("FrozenLake-v1", 100), ("Taxi-v4", 100)]
)
def test_the_same_trajectory_as_in_process(connect: Connect, environment: str, steps: int) -> None:
    """Equal seeds and actions give equal results, infos included, across episodes."""
    local = make_local(environment)
    client = connect(environment)
    local.action_space.seed(SEED)
    observation, info = local.reset(seed=SEED)
    served = client.reset(seed=SEED)
    assert same(served[0], observation)
    assert same_info(served[1], info)
    for _ in range(steps):
        action = local.action_space.sample()
        result, stepped = local.step(action), client.step(action)
        assert same_step(stepped, result)
        if result[2] or result[3]:
            assert same(client.reset()[0], local.reset()[0])


def test_a_continuous_environment_and_its_limit(connect: Connect) -> None:
    """A Box of actions, kwargs and a limit of steps reach the environment."""
    arguments: dict[str, Any] = {"max_episode_steps": 30}
    local = make_local("Pendulum-v1", g=2.5, **arguments)
    client = connect("Pendulum-v1", kwargs={"g": 2.5}, **arguments)
    assert same(client.reset(seed=SEED)[0], local.reset(seed=SEED)[0])
    for torque in np.linspace(-2, 2, 30, dtype=np.float32):
        stepped = client.step([torque])
        assert same_step(stepped, local.step(np.array([torque], np.float32)))
    assert stepped.truncated
    assert not stepped.terminated


@pytest.mark.parametrize("several", [{}, {"num_envs": 2, "vectorization_mode": "sync"}], ids=["one", "several"])
def test_kwargs_mean_the_same_in_both_encodings(connect: Connect, encoding: str, several: dict[str, Any]) -> None:
    """Numbers that are not finite, whole floats for integers, and integers beyond 64 bits."""
    given = {"number": 3.0, "real": float("-inf"), "anything": [float("nan"), 2.0, 2**64 - 1, "NaN"]}
    text = {"number": 3.0, "real": "-Infinity", "anything": ["NaN", 2.0, 2**64 - 1, "\\NaN"]}
    client = connect("Arguing-v0", kwargs=text if encoding == NETSTRING else given, **several)
    client.reset()
    shown = client.step([0, 0] if several else 0).info["given"]
    wanted = repr((3, float("-inf"), given["anything"]))
    assert shown == ([wanted] * 2 if several else wanted)


def test_an_integer_beyond_64_bits_in_kwargs(server: ServerProcess) -> None:
    """Is refused in JSON, as MessagePack has none."""
    with FramedClient(connected(("127.0.0.1", server.port)), NETSTRING) as client:
        with pytest.raises(Failed, match="field `kwargs` has an integer of 66 bits: send it as a string") as caught:
            client.make("Arguing-v0", kwargs={"anything": 2**65})
        assert caught.value.code == "malformed-message"


def test_a_seeded_sample(connect: Connect) -> None:
    """The server samples what Gymnasium samples with the same seed, and continues from there."""
    local = make_local("Pendulum-v1").action_space
    client = connect("Pendulum-v1")
    local.seed(5)
    assert same(client.sample(seed=5), local.sample())
    assert same(client.sample(), local.sample())


@pytest.mark.parametrize(
    ("encoding", "mode"), [(NETSTRING, "sync"), (INT32, "async"), (NETSTRING, "vector_entry_point")]
)
def test_a_vector_environment(connect: Connect, mode: str) -> None:
    """Four environments on one connection play like Gymnasium's vector environment."""
    local = gymnasium.make_vec("CartPole-v1", 4, mode)
    client = connect("CartPole-v1", num_envs=4, vectorization_mode=mode)
    assert (client.made["num_envs"], client.made["autoreset_mode"]) == (4, "next_step")
    local.action_space.seed(SEED)
    try:
        assert same(client.reset(seed=SEED)[0], local.reset(seed=SEED)[0])
        ends = 0
        for _ in range(60):
            action = local.action_space.sample()
            stepped = client.step(action)
            assert same_step(stepped, local.step(action))
            ends += int(stepped.terminated.sum())
        assert ends > 4
    finally:
        local.close()


@pytest.mark.parametrize(("encoding", "mode"), [(NETSTRING, "async"), (INT32, "sync")])
def test_environments_that_reset_in_the_same_step(connect: Connect, mode: str) -> None:
    """The info has their final observation and final info."""
    local: Any = gymnasium.make_vec("CartPole-v1", 3, mode, {"autoreset_mode": "SameStep"})
    client = connect("CartPole-v1", num_envs=3, vectorization_mode=mode, autoreset_mode="same_step")
    try:
        client.reset(seed=[1, 2, 3])
        local.reset(seed=[1, 2, 3])
        for _ in range(30):
            assert same_step(client.step([1, 0, 1]), local.step(np.array([1, 0, 1])))
    finally:
        local.close()


def test_environments_that_are_reset_by_the_client(connect: Connect) -> None:
    """A mask resets some; a step before that is refused with the list of waiting environments."""
    local: Any = gymnasium.make_vec("CartPole-v1", 3, "sync", {"autoreset_mode": "Disabled"})
    client = connect("CartPole-v1", num_envs=3, vectorization_mode="sync", autoreset_mode="disabled")
    client.reset(seed=[1, None, 3])
    local.reset(seed=[1, None, 3])
    local.reset(seed=2, options={"reset_mask": np.array([False, True, False])})
    client.reset(seed=2, mask=[False, True, False])
    stepped = None
    while stepped is None or not stepped.terminated.any():
        stepped = client.step([1, 1, 0])
        assert same_step(stepped, local.step(np.array([1, 1, 0])))
    with pytest.raises(Failed, match=r"environments .* have no episode") as caught:
        client.step([1, 1, 0])
    assert (caught.value.code, caught.value.fault, caught.value.reset_needed) == ("reset-needed", "request", True)
    mask = stepped.terminated
    client.reset(seed=9, mask=mask.tolist())
    local.reset(seed=9, options={"reset_mask": mask})
    assert same_step(client.step([0, 0, 0]), local.step(np.array([0, 0, 0])))


def test_pipelining(connect: Connect, encoding: str) -> None:
    """A hundred steps that are sent at once, even with the handshake, are answered in order."""
    client = connect()
    local = make_local("Pendulum-v1")
    torques = np.linspace(-2, 2, 100, dtype=np.float32)
    probe = connect("Pendulum-v1")
    client.send(
        message(encoding, "make", id="Pendulum-v1")
        + message(encoding, "reset", seed=SEED)
        + b"".join(message(encoding, "step", action=probe.actions.dump([torque])) for torque in torques)
    )
    client.reply("make")
    client.observations, client.actions = probe.observations, probe.actions
    assert same(client.read_reset()[0], local.reset(seed=SEED)[0])
    for torque in torques:
        assert same_step(client.read_step(), local.step(np.array([torque], np.float32)))


@pytest.mark.parametrize("repeated", [False, True])
def test_many_steps_are_single_steps(connect: Connect, repeated: bool) -> None:
    """The reply has every reward and all observations or the last, up to the end of the episode."""
    actions = [1] * 40 if repeated else [index % 3 // 2 for index in range(40)]
    single, last, every = connect("CartPole-v1"), connect("CartPole-v1"), connect("CartPole-v1")
    for client in (single, last, every):
        client.reset(seed=SEED)
    steps: list[Stepped] = []
    while not steps or not steps[-1].terminated:
        steps.append(single.step(actions[len(steps)]))
    dump = single.actions.dump
    asked: dict[str, Any] = (
        {"action": dump(1), "count": 40} if repeated else {"actions": [dump(action) for action in actions]}
    )
    told = last.ask("step_many", **asked)
    assert (told["count"], told["terminated"], told["truncated"]) == (len(steps), True, False)
    assert last.rewards(told["rewards"], told["count"]).tolist() == [step.reward for step in steps]
    assert same(last.observations.load(told["observations"]), steps[-1].observation)
    told = every.ask("step_many", observations="all", **asked)
    observations = told["observations"]
    if isinstance(observations, bytes):
        observations = [observations[start : start + 16] for start in range(0, len(observations), 16)]
    assert len(observations) == len(steps)
    for served, step in zip(observations, steps, strict=True):
        assert same(every.observations.load(served), step.observation)
    with pytest.raises(Failed, match="ended"):
        last.ask("step_many", **asked)


def test_many_steps_of_many_environments(connect: Connect) -> None:
    """The environments start their next episodes by themselves, and all steps are taken."""
    local = gymnasium.make_vec("CartPole-v1", 4)
    client = connect("CartPole-v1", num_envs=4)
    client.reset(seed=SEED)
    local.reset(seed=SEED)
    told = client.ask("step_many", action=client.actions.dump([1, 0, 1, 0]), count=30)
    rewards = []
    for _ in range(30):
        result = local.step(np.array([1, 0, 1, 0]))
        rewards.append(result[1])
    assert told["count"] == 30
    assert np.array_equal(client.rewards(told["rewards"], 30), np.array(rewards, np.float64))
    assert same(client.observations.load(told["observations"]), result[0])


def test_a_render(connect: Connect) -> None:
    """A frame is an array or text."""
    frame = connect("Episodes-v0", render_mode="rgb_array")
    frame.reset()
    frame.step(0)
    assert same(decode_arrays(frame.ask("render")["frame"]), np.full((64, 64, 3), 20, np.uint8))
    text, local = connect("FrozenLake-v1", render_mode="ansi"), make_local("FrozenLake-v1", render_mode="ansi")
    text.reset(seed=1)
    local.reset(seed=1)
    assert text.ask("render")["frame"] == local.render()


@pytest.mark.parametrize(
    ("wanted", "steps", "resets"), [("all", True, True), ("episode", False, True), ("none", False, False)]
)
def test_which_infos_are_wanted(connect: Connect, wanted: str, steps: bool, resets: bool) -> None:
    """Infos come with every step, at the ends of episodes, or never."""
    client = connect("Taxi-v4", info=wanted, max_episode_steps=3)
    assert bool(client.reset()[1]) is resets
    stepped = [client.step(0) for _ in range(3)]
    assert [bool(step.info) for step in stepped] == [steps, steps, steps or resets]


def test_close(connect: Connect) -> None:
    """The request is answered before the connection closes."""
    client = connect("CartPole-v1")
    assert client.ask("close") == {}
    assert client.read_to_end() == b""


def test_the_reply_to_make_describes_the_environment(connect: Connect, encoding: str) -> None:
    """The reply has the specification, the limits and the spaces."""
    made = connect("CartPole-v1", kwargs={"sutton_barto_reward": True}, render_mode="rgb_array").made
    assert made["spec"]["id"] == "CartPole-v1"
    assert made["spec"]["max_episode_steps"] == 500
    assert made["spec"]["reward_threshold"] == 475.0
    assert made["spec"]["kwargs"]["sutton_barto_reward"] is True
    assert made["metadata"]["render_modes"] == ["human", "rgb_array"]
    assert made["render_mode"] == "rgb_array"
    assert made["limits"] == {"idle_timeout": 600.0, "step_timeout": 300.0, "max_frame": 2**24}
    assert made["server"].startswith("gymtwist ")
    assert made["action_space"]["kind"] == "Discrete"
    assert made["observation_layout"]["size"] == 16


def test_a_relayed_connection(server: ServerProcess, encoding: str) -> None:
    """A connection through TLS serves the framed protocol."""
    port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    context = ssl.create_default_context(cafile=str(server.directory / "certificate.pem"))
    secure = context.wrap_socket(connected(("127.0.0.1", port)), server_hostname="127.0.0.1")
    with FramedClient(secure, encoding) as client:
        client.make("Observe/Frame-v0")
        assert same(client.reset()[0], PICTURE)
