"""The client of asyncio: what it returns, many environments in one event loop, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import os
import pickle
import socket
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from gymtwist.client import (
    AttributeUnreachable,
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    InvalidAction,
    Progress,
    ProtocolBroken,
    RequestRefused,
    ResetNeeded,
    TimedOut,
    aio,
)
from tests.support.client_environments import SPACES
from tests.support.client_equivalence import SETUP, Remote, RemoteVec, assert_same, local
from tests.support.patience import PATIENCE
from tests.support.scripted_server import Script, begun, made
from tests.support.server_process import ServerProcess, write_certificate

pytest_plugins = ("tests.support.client_fixtures",)

T = TypeVar("T")
SEED = 77


def run(act: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(act, PATIENCE))


def place(server: ServerProcess) -> tuple[str, int]:
    """Return an address that needs no look-up."""
    return "127.0.0.1", server.port


# What it returns


@pytest.mark.parametrize("environment", ["CartPole-v1", "Blackjack-v1", *(f"Sampling/{kind}-v0" for kind in SPACES)])
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
            for _ in range(30):
                if over:
                    assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
                action = ours.action_space.sample()
                stepped, wanted = await theirs.step(action), ours.step(action)
                assert_same(stepped, wanted)
                assert [type(each) for each in stepped] == [type(each) for each in wanted]
                over = bool(wanted[2] or wanted[3])
            assert_same(await theirs.sample(seed=SEED), ours.sample(seed=SEED))

    run(play())


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("environment", ["CartPole-v1", "Varied-v0"])
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


def test_large_observations_that_nobody_has_taken_yet(served: ServerProcess, remote: Remote, protocol: Any) -> None:
    """The server waits, and each is right in the end."""
    ours = remote("Observe/Frame-v0", protocol=protocol)

    async def play() -> None:
        async with aio.connect(place(served), "Observe/Frame-v0", protocol=protocol) as theirs:
            assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
            for _ in range(14):
                await theirs.send(0)
            for _ in range(14):
                assert_same(await theirs.recv(), ours.step(0))

    run(play())


# Cancellation


async def cancelled(act: Coroutine[Any, Any, Any]) -> None:
    """Cancel a coroutine that waits for its reply."""
    task = asyncio.ensure_future(act)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_after_a_step_that_was_cancelled(served: ServerProcess, protocol: Any) -> None:
    """The server takes it nevertheless; its reply, and that of every other request, is discarded."""
    ours = local("CartPole-v1")

    async def play() -> None:
        async with aio.connect(place(served), "CartPole-v1", protocol=protocol) as theirs:
            await cancelled(theirs.reset(seed=SEED))
            assert_same(await theirs.reset(seed=SEED), ours.reset(seed=SEED))
            await cancelled(theirs.step(1))
            await cancelled(theirs.step(0))
            ours.step(1)
            ours.step(0)
            assert_same(await theirs.step(1), ours.step(1))

    run(play())


def test_a_reply_that_was_sent_for_is_not_lost(served: ServerProcess, protocol: Any) -> None:
    """If the wait for it is cancelled, the next one gets it."""
    ours = local("CartPole-v1")

    async def play() -> None:
        async with aio.connect(place(served), "CartPole-v1", protocol=protocol) as theirs:
            ours.reset(seed=SEED)
            await theirs.reset(seed=SEED)
            for action in (1, 0):
                await theirs.send(action)
            await cancelled(theirs.recv())
            for action in (1, 0):
                assert_same(await theirs.recv(), ours.step(action))

    run(play())


def test_a_cancelled_connect_leaves_no_session(served: ServerProcess) -> None:
    """Whenever it is cancelled; here as it waits for the environment."""
    since = served.mark()

    async def use() -> None:
        def cancel(progress: Progress) -> None:
            assert progress.stage == "making"
            connecting.cancel()

        connecting = asyncio.ensure_future(_awaited(aio.connect(place(served), "Varied-v0", progress=cancel)))
        with pytest.raises(asyncio.CancelledError):
            await connecting

    run(use())
    served.wait_for("ended: .*Varied-v0", since=since)


async def _awaited(connecting: Any) -> Any:
    return await connecting


# What goes wrong


def test_errors_are_those_of_the_client_that_blocks(served: ServerProcess, protocol: Any) -> None:
    """And the environment goes on after each of them."""

    async def use() -> None:
        with pytest.raises(RequestRefused, match=r'did you mean "CartPole-v1"'):
            await aio.connect(place(served), "CartPole-v9", protocol=protocol)
        async with aio.connect(place(served), "Fault/RaiseInStep-v0", protocol=protocol) as theirs:
            with pytest.raises(ResetNeeded):
                await theirs.step(0)
            await theirs.reset()
            with pytest.raises(InvalidAction):
                await theirs.step(0.5)
            with pytest.raises(EnvironmentFailed, match="raised ValueError in step") as caught:
                await theirs.step(0)
            assert isinstance(caught.value, ValueError)
            await theirs.reset()
            with pytest.raises(RequestRefused, match="nothing was sent"):
                await theirs.recv()
            await theirs.send(0)
            for act in (theirs.step(0), theirs.reset()):
                with pytest.raises(RequestRefused, match="take them with recv"):
                    await act
        for act in (theirs.reset(), theirs.step(0), theirs.recv()):
            with pytest.raises(Closed, match="connect again"):
                await act

    run(use())
    for arguments in ({"address": "nowhere"}, {"timeout": 0}, {"protocol": "classic"}):
        with pytest.raises(ValueError, match="expected"):
            aio.connect(**{"address": 5001, "env_id": "CartPole-v1", **arguments})  # type: ignore[arg-type]


def test_two_coroutines_do_not_wait_for_one_environment(served: ServerProcess) -> None:
    """The second one is refused before anything is sent; one may send while the other receives."""

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            await theirs.reset(seed=SEED)
            ours = local("CartPole-v1")
            ours.reset(seed=SEED)
            first = asyncio.ensure_future(theirs.step(1))
            await asyncio.sleep(0)
            acts: list[Any] = [theirs.step(1), theirs.recv(), theirs.step_many(1, 2), theirs.sample(), theirs.get("x")]
            for act in acts:
                with pytest.raises(RequestRefused, match="another coroutine waits"):
                    await act
            assert_same(await first, ours.step(1))
            await theirs.send(0)
            second = asyncio.ensure_future(theirs.recv())
            await asyncio.sleep(0)
            await theirs.send(1)
            assert_same([await second, await theirs.recv()], [ours.step(0), ours.step(1)])

    run(use())


def test_a_reply_that_does_not_come_in_time(served: ServerProcess) -> None:
    """It closes the connection, as it might still come."""

    async def use() -> None:
        async with aio.connect(place(served), "Fault/SlowStep-v0", timeout=1.0) as theirs:
            await theirs.reset()
            with pytest.raises(TimedOut, match="no answer from"):
                await theirs.step(0)
            with pytest.raises(TimedOut, match="connect again"):
                await theirs.reset()

    run(use())


def test_a_server_that_closes(scripted: Script) -> None:
    """It is missed by the request that waits, and by every later one."""

    async def use() -> None:
        async with aio.connect(("127.0.0.1", scripted(made(), begun()).port), "Scripted-v0") as theirs:
            await theirs.reset()
            for words in ("has ended: the server closed the connection", "connect again"):
                with pytest.raises(ConnectionLost, match=words):
                    await theirs.step(0)
        async with aio.connect(("127.0.0.1", scripted(made(), b"\x00\x00\x00\x00").port), "Scripted-v0") as theirs:
            with pytest.raises(ProtocolBroken, match="does not speak the protocol"):
                await theirs.reset()

    run(use())


def test_closing_wakes_a_coroutine_that_waits(served: ServerProcess) -> None:
    """With the error that every later use gets."""

    async def use() -> None:
        theirs = await aio.connect(place(served), "Fault/SlowStep-v0")
        await theirs.reset()
        step = asyncio.ensure_future(theirs.step(0))
        await asyncio.sleep(0)
        await theirs.close()
        await theirs.close()
        with pytest.raises(Closed):
            await step

    run(use())


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_environment_is_not_copied(served: ServerProcess, duplicate: Any) -> None:
    """A copy could only share the connection, and would close it when it is collected."""

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            with pytest.raises(TypeError, match="cannot be copied or pickled: connect again"):
                duplicate(theirs)
            assert len((await theirs.reset())[0]) == 4

    run(use())


def test_a_forgotten_environment_is_closed(served: ServerProcess) -> None:
    """As soon as it is collected, while the event loop goes on."""
    since = served.mark()

    async def use() -> None:
        theirs = await aio.connect(place(served), "CartPole-v1")
        await theirs.reset()
        del theirs
        gc.collect()
        await asyncio.to_thread(served.wait_for, "ended: the client left; CartPole-v1", since=since)

    run(use())


def test_a_forked_process_does_not_use_its_parents_connection(served: ServerProcess) -> None:
    """The parent's episode goes on as if nothing had been tried."""
    ours = local("CartPole-v1")
    ours.reset(seed=SEED)

    async def use() -> None:
        async with aio.connect(place(served), "CartPole-v1") as theirs:
            await theirs.reset(seed=SEED)
            process = os.fork()
            if not process:
                try:
                    theirs.step(0).send(None)
                except ConnectionLost as error:
                    os._exit(7 if "forked" in str(error) else 8)
                finally:
                    os._exit(9)
            assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7
            assert_same(await theirs.step(0), ours.step(0))

    run(use())


# Connections of all kinds


def test_a_late_server_with_one_session(tmp_path: Path) -> None:
    """It is waited for, at its UNIX socket; then for its session, over TLS; and both end when it is killed."""
    key, certificate = write_certificate(tmp_path)
    listen = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    path, stages = f"unix:{tmp_path / 'socket'}", list[str]()
    limits = ("--max-sessions", "1", "--queue", "2")

    async def until(stage: str) -> None:
        while stage not in stages:
            await asyncio.sleep(0.01)

    def tell(progress: Progress) -> None:
        stages.append(progress.stage)

    async def use() -> None:
        late = aio.connect(path, "CartPole-v1", connect_timeout=PATIENCE, timeout=PATIENCE, progress=tell)
        first = asyncio.ensure_future(_awaited(late))
        await until("connecting")
        with ServerProcess(tmp_path, "--listen", listen, *limits, port=path, setup=SETUP) as server:
            port = int(server.wait_for(r"\(TLS\) starting on (\d+)").group(1))
            env = await first
            assert "making" in stages
            secret: Any = {"tls": certificate, "timeout": PATIENCE, "progress": tell}
            second = asyncio.ensure_future(_awaited(aio.connect(("127.0.0.1", port), "Observe/Frame-v0", **secret)))
            await until("queued")
            with pytest.raises(TimedOut, match=r"is full: no session was free within 0\.1 s, at place 2"):
                await aio.connect(("127.0.0.1", port), "CartPole-v1", tls=certificate, timeout=0.1)
            await env.reset(seed=SEED)
            await env.close()
            env = await second
            assert (await env.reset())[0].shape == (210, 160, 3)
            with pytest.raises(ConnectionLost, match=r"no TLS with .*certificate"):
                await aio.connect(f"tls:127.0.0.1:{port}", "CartPole-v1")
            with pytest.raises(ProtocolBroken, match="with tls=True"):
                await aio.connect(("127.0.0.1", port), "CartPole-v1")
            step = asyncio.ensure_future(env.step(0))
            await asyncio.sleep(0)
            await step
            await env.send(0)
            server.process.kill()
            with pytest.raises(ConnectionLost, match="has ended"):
                for _ in range(10):
                    await env.send(0)
                    await env.recv()
                    await env.recv()
            server.process.wait(PATIENCE)

    run(use())


def test_a_server_that_is_not_there(served: ServerProcess) -> None:
    """The errors are those of the client that blocks."""

    async def use() -> None:
        for address, words in (
            ("127.0.0.1:1", "no connection to 127.0.0.1:1 within 0.01 s: .*Connection refused; is the server running"),
            ("nowhere.invalid:1", "is the name of the host right"),
            ("unix:nowhere.sock", "no connection to unix:nowhere"),
        ):
            with pytest.raises(ConnectionLost, match=words):
                limit = PATIENCE if "invalid" in address else 0.01
                await aio.connect(address, "CartPole-v1", connect_timeout=limit)
        with pytest.raises(ConnectionLost, match="it does not speak TLS: connect without tls"):
            await aio.connect(place(served), "CartPole-v1", tls=True)
        with pytest.raises(ValueError, match="tls is"):
            await aio.connect(place(served), "CartPole-v1", tls="nowhere.pem")
        async with aio.connect(("localhost", served.port), "CartPole-v1") as env:
            await env.reset()

    run(use())
