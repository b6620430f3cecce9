"""The client of asyncio: what it returns, and many environments in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import numpy as np
import pytest

from gymtwist.client import (
    AttributeUnreachable,
    EnvironmentFailed,
    RequestRefused,
    ResetNeeded,
    aio,
)
from tests.support.client_environments import SPACES
from tests.support.client_equivalence import Remote, RemoteVec, assert_same, local
from tests.support.event_loops import place, run
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

pytest_plugins = ("tests.support.client_fixtures",)

READS_LOG = True

SEED = 77


# What it returns


ENVIRONMENTS = ["CartPole-v1", "FrozenLake-v1", "Blackjack-v1", *(f"Sampling/{kind}-v0" for kind in SPACES)]


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [(each, ("int32", "netstring")[index % 2]) for index, each in enumerate(ENVIRONMENTS)],
)
def test_a_trajectory_is_that_of_the_client_that_blocks(
    served: ServerProcess, remote: Remote, protocol: Any, environment: str
) -> None:
    """To the last bit, and to the types."""
    ours = remote(environment, protocol=protocol)
    ours.action_space.seed(SEED)

    async def play() -> None:
        async with aio.connect(place(served), environment, protocol=protocol, timeout=PATIENCE) as theirs:
            assert (theirs.action_space, theirs.observation_space) == (ours.action_space, ours.observation_space)
            assert (str(theirs.spec), theirs.metadata) == (str(ours.spec), ours.metadata)
            over = True
            for _ in range(20):
                if over:
                    assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
                action = ours.action_space.sample()
                stepped, wanted = await theirs.step(action), ours.step(action)
                assert_same(stepped, wanted)
                assert [type(each) for each in stepped] == [type(each) for each in wanted]
                over = bool(wanted[2] or wanted[3])
            assert_same(await theirs.sample(seed=SEED), ours.sample(seed=SEED))

    run(play())


def test_a_lenient_server_leaves_bounds_to_the_environments(served: ServerProcess, protocol: Any) -> None:
    """To one, and to several in two processes, as Pendulum clips an action."""

    async def play() -> None:
        options: Any = {"protocol": protocol, "lenient": True, "timeout": PATIENCE}
        async with aio.connect(place(served), "Pendulum-v1", **options) as one:
            await one.reset(seed=SEED)
            await one.step(np.array([100.0], np.float32))
        async with aio.connect_vec(place(served), "Pendulum-v1", 3, processes=2, **options) as several:
            await several.reset(seed=SEED)
            await several.step(np.full((3, 1), 100, np.float32))

    run(play())


@pytest.mark.parametrize(
    ("environment", "processes", "protocol"),
    [
        ("CartPole-v1", 1, "int32"),
        ("CartPole-v1", 2, "netstring"),
        ("Varied-v0", 1, "netstring"),
        ("Varied-v0", 2, "int32"),
    ],
)
def test_several_are_those_of_the_client_that_blocks(
    served: ServerProcess, remote_vec: RemoteVec, protocol: Any, environment: str, processes: int
) -> None:
    """With their infos, and with the ends of episodes, however many processes they have."""
    options: dict[str, Any] = {"protocol": protocol, "autoreset_mode": "same_step", "max_episode_steps": 7}
    options |= {"processes": processes, "render_mode": "rgb_array"}
    options["vectorization_mode"] = "sync"
    ours = remote_vec(environment, 3, **options)
    ours.action_space.seed(SEED)
    mask = np.array([True, False, True])

    async def play() -> None:
        async with aio.connect_vec(place(served), environment, 3, timeout=PATIENCE, **options) as theirs:
            assert theirs.num_envs == 3
            assert (theirs.action_space, theirs.single_action_space) == (ours.action_space, ours.single_action_space)
            assert (theirs.autoreset_mode, theirs.metadata) == (ours.autoreset_mode, ours.metadata)
            assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
            for _ in range(20):
                actions = ours.action_space.sample()
                assert_same(await theirs.step(actions), ours.step(actions))
            await theirs.send(actions)
            ours.send(actions)
            assert_same(await theirs.recv(), ours.recv())
            assert_same(tuple(await theirs.step_many([actions] * 3)), tuple(ours.step_many([actions] * 3)))
            assert_same(await theirs.reset(options={"reset_mask": mask}), ours.reset(options={"reset_mask": mask}))
            assert_same(await theirs.sample(seed=SEED), ours.sample(seed=SEED))
            assert await theirs.verify_seed(SEED) == ours.verify_seed(SEED)
            assert_same(await theirs.render(), ours.render())
            await theirs.async_reset(seed=SEED)
            ours.async_reset(seed=SEED)
            assert_same(await theirs.recv(), ours.recv())

    run(play())


@pytest.mark.parametrize("options", [{"processes": 4}, {"vectorization_mode": "async"}], ids=["sessions", "a session"])
def test_the_first_that_are_done_come_first(served: ServerProcess, protocol: Any, options: dict[str, Any]) -> None:
    """Nobody waits for the others, and a cancelled wait for all of several processes loses none of them."""

    async def play() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gate:
            gate.settimeout(PATIENCE)
            port = gate.getsockname()[1]
            connecting = aio.connect_vec(
                place(served), "Gated-v0", 4, port=port, protocol=protocol, timeout=PATIENCE, **options
            )
            async with connecting as envs:
                await envs.reset()
                await envs.send([1, 0, 0, 1], [3, 1, 2, 0])
                waiting = [(await asyncio.to_thread(gate.accept))[0] for _ in range(2)]
                for count in (1, 2, 3):
                    observations, _, _, _, infos = await envs.recv(min_ready=2)
                    assert (infos["env_id"].tolist(), observations.tolist()) == ([1, 2], [[count], [count]])
                    await envs.send([0, 0], [2, 1])
                if "processes" in options:
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(envs.recv(), 0.05)
                for each in waiting:
                    each.close()
                assert (await envs.recv())[0].ravel().tolist() == [1, 4, 4, 1]
                assert (await envs.step([0] * 4))[0].ravel().tolist() == [2, 5, 5, 2]

    run(play())


def test_a_step_of_several_processes_that_was_cancelled(served: ServerProcess) -> None:
    """All must be reset, as nobody knows which of them have taken it."""

    async def play() -> None:
        async with aio.connect_vec(place(served), "CartPole-v1", 4, processes=2, timeout=PATIENCE) as envs:
            await envs.reset(seed=SEED)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(envs.step([0] * 4), 0)
            first = (await envs.reset(seed=SEED))[0]
            assert (await envs.step([0] * 4))[0].shape == first.shape

    run(play())


def test_processes_are_not_left_if_one_cannot_be_had(served: ServerProcess) -> None:
    """Where their spaces differ."""

    async def play() -> None:
        mark = served.mark()
        with pytest.raises(RequestRefused, match="environment 1: the action_space differs"):
            await aio.connect_vec(place(served), ["CartPole-v1", "Acrobot-v1"], processes=2, timeout=PATIENCE)
        for _ in range(2):
            await asyncio.to_thread(served.wait_for, "ended: the client left", PATIENCE, mark)

    run(play())


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_failures_that_end_episodes(served: ServerProcess, mode: str) -> None:
    """The end of a process truncates the episode of its environment, and the others go on."""

    async def play() -> None:
        options: dict[str, Any] = {"processes": 3, "autoreset_mode": mode, "on_failure": "truncate"}
        async with aio.connect_vec(place(served), "Fragile-v0", 3, timeout=PATIENCE, **options) as envs:
            await envs.reset()
            await envs.step([0] * 3)
            observations, rewards, terminated, truncated, infos = await envs.step([0, 2, 0])
            assert observations.ravel().tolist() == [2, 1, 2]
            assert (rewards.tolist(), terminated.tolist()) == ([1, 0, 1], [False] * 3)
            assert truncated.tolist() == [False, True, False]
            assert "SIGKILL" in infos["error"][1]
            if mode == "disabled":
                observations, _ = await envs.reset(options={"reset_mask": truncated})
                assert observations.ravel().tolist() == [2, 0, 2]
            else:
                assert (await envs.step([0] * 3))[0].ravel().tolist() == [3, 0, 3]

    run(play())


def test_failures_of_one_environment(served: ServerProcess) -> None:
    """End its episode, whether its process or the connection has ended; the next one goes on."""

    async def play() -> None:
        async with aio.connect(place(served), "Fragile-v0", on_failure="truncate", timeout=PATIENCE) as env:
            for failure in ("process", "connection"):
                assert (await env.reset())[0].tolist() == [0]
                await env.step(0)
                if failure == "connection":
                    env._session.connection._own_link.transport.abort()
                observation, reward, terminated, truncated, info = await env.step(2 if failure == "process" else 0)
                assert (observation.tolist(), reward, terminated, truncated) == ([1], 0.0, False, True)
                assert ("SIGKILL" if failure == "process" else "has ended") in info["error"]
                with pytest.raises(ResetNeeded):
                    await env.step(0)
            await env.reset()
            await env.send(0)
            await env.send(2)
            assert (await env.recv())[0].tolist() == [1]
            assert (await env.recv())[3]
            assert (await env.reset())[0].tolist() == [0]
            with pytest.raises(RequestRefused, match="single steps"):
                await env.step_many([0])

    run(play())


def test_a_lost_connection_that_ends_episodes(served: ServerProcess) -> None:
    """Another one takes its place with the next episode."""

    async def play() -> None:
        options: dict[str, Any] = {"processes": 2, "on_failure": "truncate"}
        async with aio.connect_vec(place(served), "Fragile-v0", 2, timeout=PATIENCE, **options) as envs:
            await envs.reset()
            await envs.step([0] * 2)
            envs._sessions[1].connection._own_link.transport.abort()
            observations, _, _, truncated, infos = await envs.step([0] * 2)
            assert (observations.ravel().tolist(), truncated.tolist()) == ([2, 1], [False, True])
            assert "has ended" in infos["error"][1]
            assert (await envs.step([0] * 2))[0].ravel().tolist() == [3, 0]
            assert (await envs.step([0] * 2))[0].ravel().tolist() == [4, 1]
        with pytest.raises(ValueError, match="autoreset modes"):
            aio.connect_vec(place(served), "Fragile-v0", 2, on_failure="truncate", autoreset_mode="same_step")

    run(play())


def test_everything_else_that_an_environment_does(served: ServerProcess, remote: Remote, protocol: Any) -> None:
    """Rendering, several steps in one request, and the check of a seed."""
    ours = remote("CartPole-v1", protocol=protocol, render_mode="rgb_array")

    async def use() -> None:
        options: dict[str, Any] = {"protocol": protocol, "render_mode": "rgb_array", "timeout": PATIENCE}
        theirs = await aio.connect(place(served), "CartPole-v1", **options)
        assert await theirs.render() is None
        assert await theirs.verify_seed(SEED)
        assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
        assert_same(await theirs.render(), ours.render())
        steps, wanted = await theirs.step_many(1, 5, observations="all"), ours.step_many(1, 5, observations="all")
        assert_same(tuple(steps), tuple(wanted))
        assert "CartPole-v1" in repr(theirs)
        await theirs.close()
        async with aio.connect_vec(place(served), "CartPole-v1", 2, **options) as several:
            await several.reset()
            frames = await several.render()
            assert frames is not None and [each.shape for each in frames] == [(400, 600, 3)] * 2
            assert "2 of CartPole-v1" in repr(several)
        layers = [{"name": "DtypeObservation", "kwargs": {"dtype": "float64"}}]
        async with aio.connect_vec(place(served), "CartPole-v1", 2, vector_wrappers=layers) as wrapped:
            assert (await wrapped.reset())[0].dtype == np.float64
        async with aio.connect(place(served), "CartPole-v1") as blind:
            with pytest.warns(UserWarning, match="render mode"):
                assert await blind.render() is None

    run(use())


def test_attributes(served: ServerProcess, protocol: Any) -> None:
    """Are read, changed and called by coroutines, since an attribute cannot be awaited."""

    async def use() -> None:
        async with aio.connect(place(served), "Reachable-v0", protocol=protocol) as theirs:
            await theirs.set("gravity", 20)
            assert await theirs.get("gravity") == 20
            assert [await theirs.call("set_level", 4), await theirs.get("level")] == [1, 4]
            for name, words in (("ale", "ale"), ("nothing", "nothing"), ("set_level", "await call")):
                with pytest.raises(AttributeUnreachable, match=words):
                    await theirs.get(name)
            with pytest.raises(EnvironmentFailed, match="no such level"):
                await theirs.call("set_level", level=-1)
        async with aio.connect_vec(place(served), "Reachable-v0", 2, protocol=protocol) as several:
            await several.set("gravity", [1.0, 2.0])
            assert await several.get("gravity") == (1.0, 2.0)
            assert await several.call("set_level", 4) == (1, 1)
            with pytest.raises(ValueError, match="list or tuple of 2"):
                await several.set("gravity", [1.0])
        own = [{"kind": "int"}, {"kind": "float64"}]
        async with aio.connect_vec(place(served), "RewardTypes-v0", kwargs=own, protocol=protocol) as different:
            assert different.num_envs == 2
            await different.reset()

    run(use())


# Many


def test_fifty_environments_in_one_event_loop(served: ServerProcess) -> None:
    """They are stepped together, without a thread, and each plays its own episode."""
    count, before = 50, threading.active_count()

    async def play(env: aio.RemoteEnv, seed: int) -> list[Any]:
        seen: list[Any] = [await env.reset(seed=seed)]
        for step in range(8):
            seen.append(await env.step(step % 2))
        return seen

    async def play_all() -> list[list[Any]]:
        async with contextlib.AsyncExitStack() as stack:
            connecting = [aio.connect(place(served), "CartPole-v1", timeout=PATIENCE) for _ in range(count)]
            envs = await asyncio.gather(*connecting)
            for env in envs:
                await stack.enter_async_context(env)
            played = await asyncio.gather(*(play(env, seed) for seed, env in enumerate(envs)))
            assert threading.active_count() == before
            return played

    played, ours = run(play_all()), local("CartPole-v1")
    for seed, seen in enumerate(played):
        assert_same(seen, [ours.reset(seed=seed), *(ours.step(step % 2) for step in range(8))])


def test_large_observations_that_nobody_has_taken_yet(served: ServerProcess, remote: Remote) -> None:
    """The server waits, and each is right in the end."""
    ours, count = remote("Observe/Frame-v0"), 14

    async def play() -> None:
        async with aio.connect(place(served), "Observe/Frame-v0") as theirs:
            assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
            for _ in range(count):
                await theirs.send(0)
            for _ in range(count):
                assert_same(await theirs.recv(), ours.step(0))

    run(play())
