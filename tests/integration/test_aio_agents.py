"""Multi-agent environments of the asyncio client: they are those of the client that blocks, and of PettingZoo."""

from __future__ import annotations

import asyncio
import copy
import importlib
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pettingzoo
import pytest
from pettingzoo.utils.conversions import parallel_to_aec

from gymtwist.client import (
    Closed,
    EnvironmentFailed,
    IllegalAction,
    Progress,
    RequestRefused,
    ResetNeeded,
    TimedOut,
    aio,
    connect_aec,
    connect_parallel,
)
from tests.conftest import Start
from tests.support.client_equivalence import assert_same
from tests.support.event_loops import cancelled, place, run
from tests.support.multi_agent_environments import DUEL, EXAMPLES, MODULE, SERVED, Duel, Objectives
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess, write_certificate

OPTIONS = SERVED
MEASURED = True
SEED = 5
TAG, TICTACTOE = "mpe2:simple_tag_v3", "classic/tictactoe_v3"
GENERATED = f"{EXAMPLES}:generated_agents_parallel_v0"
SECOND = np.zeros(2, np.float32)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["int32", "netstring"])
def protocol(request: pytest.FixtureRequest) -> Any:
    """One of the two protocols."""
    return request.param


# What they return


def actions_of(environment: Any) -> dict[str, Any]:
    """Sample an action for each agent."""
    return {agent: environment.action_space(agent).sample() for agent in environment.agents}


def simple_tag() -> Any:
    """Make the environment here."""
    return importlib.import_module("mpe2.simple_tag_v3").parallel_env()


@pytest.mark.parametrize(("environment", "here"), [(DUEL, Duel), (TAG, simple_tag)])
def test_an_episode_of_agents_that_act_at_once(
    module_server: ServerProcess, protocol: Any, environment: str, here: Any
) -> None:
    """Is that of the client that blocks, and the local one, with the states and the ends of agents."""
    given: dict[str, Any] = {"protocol": protocol, "timeout": PATIENCE}

    async def play() -> None:
        async with aio.connect_parallel(place(module_server), environment, **given) as theirs:
            assert not hasattr(theirs, "agents")
            assert (theirs.possible_agents, theirs.metadata) == (blocking.possible_agents, blocking.metadata)
            assert (theirs.max_num_agents, theirs.state_space) == (blocking.max_num_agents, blocking.state_space)
            assert not hasattr(theirs, "reward_space")
            begun = await theirs.reset(seed=SEED)
            assert_same(begun, blocking.reset(seed=SEED))
            assert_same(begun[0], local.reset(seed=SEED)[0])
            for agent in theirs.possible_agents:
                assert theirs.observation_space(agent) == local.observation_space(agent)
                theirs.action_space(agent).seed(SEED)
            counts = set()
            while theirs.agents:
                counts.add(theirs.num_agents)
                actions = actions_of(theirs)
                stepped = await theirs.step(actions)
                assert_same(stepped, blocking.step(actions))
                assert_same(stepped[:4], local.step(actions)[:4])
                assert_same(await theirs.state(), local.state())
                assert theirs.agents == blocking.agents == local.agents
            assert await theirs.step({}) == ({}, {}, {}, {}, {})
            assert environment != DUEL or counts == {1, 2}

    local = here()
    with closing(connect_parallel(place(module_server), environment, **given)) as blocking:
        run(play())


@pytest.mark.parametrize("environment", [DUEL, TICTACTOE])
def test_the_turns_of_agents(module_server: ServerProcess, protocol: Any, environment: str) -> None:
    """Are those of the client that blocks, and the local ones; agents that have ended leave with the action None."""
    given: dict[str, Any] = {"protocol": protocol, "timeout": PATIENCE}
    names = ("agents", "agent_selection", "rewards", "terminations", "truncations", "infos", "_cumulative_rewards")

    async def play() -> None:
        async with aio.connect_aec(place(module_server), environment, **given) as theirs:
            await theirs.reset(seed=SEED)
            blocking.reset(seed=SEED)
            local.reset(seed=SEED)
            left = 0
            async for agent in theirs.agent_iter():
                for name in names:
                    assert_same(getattr(theirs, name), getattr(blocking, name))
                assert local.agent_selection == agent
                last = await theirs.last()
                assert_same(last, blocking.last())
                np.testing.assert_equal(last[:4], local.last()[:4])
                for other in theirs.agents:
                    np.testing.assert_equal(await theirs.observe(other), local.observe(other))
                assert (await theirs.last(observe=False))[0] is None
                over = last[2] or last[3]
                mask = last[0]["action_mask"] if environment == TICTACTOE else None
                action = None if over else blocking.action_space(agent).sample(mask)
                left += over
                for each in (blocking, local):
                    each.step(action)
                await theirs.step(action)
            assert theirs.agents == blocking.agents == local.agents == []
            assert left == 2
            with pytest.warns(UserWarning, match="reset"):
                await theirs.step(None)
            with pytest.raises(KeyError):
                await theirs.last()

    local: Any = parallel_to_aec(Duel()) if environment == DUEL else pettingzoo.make("aec", environment)
    with closing(connect_aec(place(module_server), environment, **given)) as blocking:
        run(play())


def test_several_in_one_event_loop(module_server: ServerProcess) -> None:
    """Each plays its own episode, whatever its agents do."""

    async def at_once(env: aio.RemoteParallelEnv, seed: int) -> list[Any]:
        seen: list[Any] = [await env.reset(seed=seed)]
        while env.agents:
            seen.append(await env.step({"first_0": 1, "second_0": SECOND}))
        return seen

    async def in_turn(env: aio.RemoteAECEnv) -> list[Any]:
        await env.reset()
        seen = []
        async for agent in env.agent_iter():
            observation, *ends, _ = await env.last()
            seen.append((agent, ends))
            await env.step(None if any(ends[1:]) else int(observation["action_mask"].argmax()))
        return seen

    async def play() -> None:
        where = place(module_server)
        async with AsyncExitStack() as stack:
            both = [stack.enter_async_context(aio.connect_parallel(where, DUEL)) for _ in range(4)]
            games = [stack.enter_async_context(aio.connect_aec(where, TICTACTOE)) for _ in range(2)]
            duels, boards = await asyncio.gather(*both), await asyncio.gather(*games)
            played = await asyncio.gather(*(at_once(env, seed) for seed, env in enumerate(duels)))
            one, other = await asyncio.gather(*map(in_turn, boards))
            assert_same(one, other)
        for seed, seen in enumerate(played):
            local = Duel()
            wanted: list[Any] = [local.reset(seed=seed)]
            while local.agents:
                wanted.append(local.step({"first_0": 1, "second_0": SECOND}))
            assert_same([each[0] for each in seen], [each[0] for each in wanted])

    run(play())


def test_spaces_that_change_and_rewards_that_are_arrays(module_server: ServerProcess) -> None:
    """Spaces are the same objects until a reset changes them; those of an agent that no reply has had are unknown."""

    async def use() -> None:
        where = place(module_server)
        async with aio.connect_parallel(where, GENERATED) as env:
            assert not hasattr(env, "possible_agents")
            shapes = set()
            for seed in range(6):
                await env.reset(seed=seed)
                for agent in env.agents:
                    assert env.observation_space(agent) is env.observation_space(agent)
                    shapes.add((agent, env.observation_space(agent).shape))
                await env.step(actions_of(env))
            assert len({agent for agent, _ in shapes}) < len(shapes)
            with pytest.raises(KeyError, match="nobody_0"):
                env.action_space("nobody_0")
        async with aio.connect_parallel(where, f"{MODULE}:Objectives") as env:
            assert env.reward_space("first_0") == Objectives().reward_space("first_0")
            with pytest.raises(KeyError):
                env.reward_space("nobody_0")

    run(use())


# What else they do


def test_rendering_attributes_and_the_text(module_server: ServerProcess) -> None:
    """By coroutines; what is not a method of the environment is reached by its name."""

    async def use() -> None:
        where = place(module_server)
        for mode, wanted in (("rgb_array", np.zeros((4, 5, 3), np.uint8)), ("ansi", "step 0"), (None, None)):
            async with aio.connect_aec(where, DUEL, render_mode=mode) as env:
                await env.reset()
                assert env.render_mode == mode
                assert_same(await env.render(), wanted)
        assert "RemoteAECEnv duel_v0 at 127.0.0.1" in repr(env)
        async with aio.connect_parallel(where, DUEL) as at_once:
            assert await at_once.get("level") == 1
            await at_once.set("level", 2)
            assert await at_once.get("level") == 2

    run(use())


def test_a_window_lets_other_coroutines_run(module_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on this side, and shows as many frames in a second as the metadata say."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    async def use() -> None:
        ticking = asyncio.ensure_future(tick())
        async with aio.connect_parallel(place(module_server), TAG, render_mode="human") as env:
            assert env.render_mode == "human"
            await env.reset(seed=SEED)
            before, start = ticks, asyncio.get_running_loop().time()
            await env.step(actions_of(env))
            assert await env.render() is None
            assert asyncio.get_running_loop().time() - start >= 1 / env.metadata["render_fps"]
            assert ticks > before + 2
            assert pygame.display.get_init()
        ticking.cancel()
        assert not pygame.display.get_init()

    run(use())


def test_a_window_that_is_closed_stays_closed(module_server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if a coroutine has a frame to show, and waits until it is time for it."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")

    async def use() -> None:
        env = await aio.connect_parallel(place(module_server), TAG, render_mode="human")
        await env.reset(seed=SEED)
        rendering = asyncio.ensure_future(env.render())
        await asyncio.sleep(0)
        while env._session.connection.is_awaited:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await env.close()
        await rendering
        assert not pygame.display.get_init()

    run(use())


# Cancellation


def test_a_turn_that_was_cancelled(module_server: ServerProcess, protocol: Any) -> None:
    """Is taken nevertheless: whoever is next goes on, in the loop as well."""

    async def play() -> None:
        async with aio.connect_aec(place(module_server), TICTACTOE, protocol=protocol) as env:
            await cancelled(env.reset())
            await env.reset()
            await cancelled(env.step(4))
            assert env.agent_selection == "player_1"
            observation, *_ = await env.last()
            assert env.agent_selection == "player_2"
            assert observation["action_mask"].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1]
            await cancelled(env.step(0))
            agents = [agent async for agent in env.agent_iter(1)]
            assert agents == ["player_1"]
            await cancelled(env.step(8))
            await env.step(1)  # that of player_2
            assert (await env.observe("player_1"))["action_mask"].sum() == 5

    run(play())


def test_a_step_and_a_reset_that_were_cancelled(module_server: ServerProcess) -> None:
    """The agents and the spaces that they have left are known."""
    ours = Duel()

    async def play() -> None:
        async with aio.connect_parallel(place(module_server), DUEL) as env:
            await env.reset(seed=SEED)
            ours.reset(seed=SEED)
            actions = {"first_0": 1, "second_0": SECOND}
            for _ in range(2):
                ours.step(actions)
                await cancelled(env.step(actions))
                assert_same(await env.state(), ours.state())
            stepped = await env.step(actions)
            assert stepped[0].keys() == {"first_0"}
            assert_same(stepped[0], ours.step(actions)[0])
        async with aio.connect_parallel(place(module_server), GENERATED) as env:
            for seed in range(6):
                await cancelled(env.reset(seed=seed))
                with pytest.raises(EnvironmentFailed):  # the agents of this reset are known, and have no action here
                    await env.step({})
                await env.step(actions_of(env))

    run(play())


def test_two_coroutines_do_not_wait_for_one_environment(module_server: ServerProcess) -> None:
    """The second one is refused before anything is sent."""

    async def use() -> None:
        async with aio.connect_aec(place(module_server), TICTACTOE) as env:
            await env.reset()
            first = asyncio.ensure_future(env.step(0))
            await asyncio.sleep(0)
            acts: list[Any] = [env.step(1), env.last(), env.observe("player_2"), env.reset(), env.state(), env.get("x")]
            for act in acts:
                with pytest.raises(RequestRefused, match="another coroutine waits"):
                    await act
            await first
            assert env.agent_selection == "player_2"

    run(use())


# What goes wrong


def test_errors_are_those_of_the_client_that_blocks(module_server: ServerProcess, protocol: Any) -> None:
    """The episode goes on after those of a step; a process that has died is replaced at the next reset."""

    async def use() -> None:
        where = place(module_server)
        with pytest.raises(RequestRefused, match="pistonball"):
            await aio.connect_parallel(where, "butterfly/pistonbal_v6", protocol=protocol)
        with pytest.raises(RequestRefused, match='ask for the api "aec"'):
            await aio.connect_parallel(where, TICTACTOE, protocol=protocol)
        with pytest.raises(ValueError, match="expected"):
            aio.connect_aec("nowhere", TICTACTOE)
        with pytest.raises(TypeError, match="given twice"):
            aio.connect_aec(where, TICTACTOE, kwargs={"a": 1}, a=2)
        async with aio.connect_parallel(where, DUEL, forbidden=2, protocol=protocol) as env:
            early: list[Any] = [(env.step({}), "step"), (env.reset(seed=-1), "seed"), (env.state(), "state")]
            for act, purpose in early:
                with pytest.raises(RequestRefused, match=purpose):
                    await act
            with pytest.raises(ValueError, match="no such door") as failed:
                await env.reset(options={"fail": True})
            assert isinstance(failed.value, EnvironmentFailed)
            await env.reset(options={"options": 1})
            with pytest.raises(AssertionError, match="against the rules"):
                await env.step({"first_0": 2, "second_0": SECOND})
            with pytest.raises(KeyError):
                await env.step({"first_0": 0})
            with pytest.raises(IllegalAction, match="action is 7"):
                await env.step({"first_0": 7, "second_0": SECOND})
            infos = (await env.step({"first_0": 1, "second_0": SECOND, "third_0": 5}))[4]
            assert infos["first_0"] == {"actions": ["first_0", "second_0"], "step": 1}
            for crash in (env.call("crash"), env.step({"first_0": 1, "second_0": SECOND})):
                with pytest.raises((EnvironmentFailed, ResetNeeded)):
                    await crash
            assert set((await env.reset(seed=SEED))[0]) == set(env.possible_agents)
        async with aio.connect_aec(where, TICTACTOE, protocol=protocol) as game:
            acts: list[Any] = [game.last(), game.observe("player_1"), game.step(0), game.agent_iter().__anext__()]
            for act in acts:
                with pytest.raises(ResetNeeded, match="reset before"):
                    await act
            await game.reset()
            with pytest.raises(IllegalAction):
                await game.step("x")
            with pytest.raises(ValueError, match="nobody"):
                await game.observe("nobody")

    run(use())


def test_the_end_of_an_environment(module_server: ServerProcess) -> None:
    """It is closed once, at the end of a block or before, with its session; and it cannot be copied."""
    since = module_server.mark()

    async def use() -> None:
        async with aio.connect_aec(place(module_server), TICTACTOE) as env:
            with pytest.raises(TypeError, match="cannot be copied"):
                copy.copy(env)
            await env.reset()
            step = asyncio.ensure_future(env.step(0))
            await asyncio.sleep(0)
            await env.close()
            with pytest.raises(Closed):
                await step
        for act in (env.reset(), env.step(0), env.last(), env.observe("player_2"), env.state()):
            with pytest.raises(Closed, match="connect again"):
                await act

    run(use())
    module_server.wait_for("ended: the client left; .*tictactoe", since=since)


def test_connections_of_all_kinds(module_server: ServerProcess, start: Start, tmp_path: Path) -> None:
    """By WebSocket, and with TLS to a server with one session that another client has."""
    key, certificate = write_certificate(tmp_path)
    listen = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    full = start("--listen", listen, "--max-sessions", "1", "--queue", "2")
    port = int(full.wait_for(r"\(TLS\) starting on (\d+)").group(1))
    stages, closing_ = list[str](), list[Any]()
    first: Any = None

    def tell(progress: Progress) -> None:
        stages.append(progress.stage)
        if progress.stage == "queued":
            closing_.append(asyncio.ensure_future(first.close()))

    async def use() -> None:
        nonlocal first
        async with aio.connect_parallel(f"ws://127.0.0.1:{module_server.port}", DUEL) as env:
            assert set((await env.reset(seed=SEED))[0]) == set(env.possible_agents)
        secret: Any = {"tls": certificate, "timeout": PATIENCE}
        first = await aio.connect_aec(("127.0.0.1", port), TICTACTOE, **secret)
        with pytest.raises(TimedOut, match="is full"):
            await aio.connect_aec(("127.0.0.1", port), TICTACTOE, tls=certificate, timeout=1.0)
        async with aio.connect_aec(("127.0.0.1", port), TICTACTOE, progress=tell, **secret) as env:
            await env.reset()
            assert env.agents == ["player_1", "player_2"]
        assert "queued" in stages

    run(use())
