"""Snapshots with the client for asyncio: the same as with the one that blocks, side by side in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
import pytest

import gymtwist.client as gymtwist
from gymtwist.client import aio
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

CLIENT_MEASURED = True

T = TypeVar("T")
SEED, STEPS = 3, 5


def run(act: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own."""
    return asyncio.run(asyncio.wait_for(act, PATIENCE))


def place(server: ServerProcess) -> tuple[str, int]:
    """Return an address that needs no look-up."""
    return "127.0.0.1", server.port


async def played(env: Any, actions: list[Any]) -> list[Any]:
    """Take steps; return what each returned, but for the info."""
    return [tuple(np.copy(each) for each in (await env.step(action))[:4]) for action in actions]


async def goes_on_alike(env: Any) -> None:
    """Check that a restored environment, and its branches, do what the environment did."""
    env.action_space.seed(SEED)
    before, behind = ([env.action_space.sample() for _ in range(STEPS)] for _ in range(2))
    await env.reset(seed=SEED)
    await played(env, before)
    async with await env.snapshot() as here:
        expected = await played(env, behind)
        for _ in range(2):
            await env.restore(here)
            np.testing.assert_equal(await played(env, behind), expected)
        async with env.branch(here) as one, env.branch(here) as other:
            found = await asyncio.gather(*(played(each, behind) for each in (one, other)))
            np.testing.assert_equal(found, [expected, expected])
        assert isinstance(here, aio.Snapshot)
    with pytest.raises(gymtwist.RequestRefused, match="the snapshot was released"):
        await env.restore(here)
    with pytest.raises(gymtwist.RequestRefused, match="the snapshot was released"):
        await env.branch(here)
    await here.release()  # again, which does nothing


@pytest.mark.parametrize("resume", [None, 60])
@pytest.mark.parametrize("environment", ["CartPole-v1", "ALE/Pong-v5"])
def test_an_environment(server: ServerProcess, environment: str, resume: float | None) -> None:
    """A single one, whether its session outlives its connection or not."""

    async def act() -> None:
        async with aio.connect(place(server), environment, timeout=PATIENCE, resume=resume) as env:
            await goes_on_alike(env)

    run(act())


@pytest.mark.parametrize("processes", [1, 2])
def test_several_environments(server: ServerProcess, processes: int) -> None:
    """Of one process or of several."""

    async def act() -> None:
        vector = aio.connect_vec(
            place(server), "CartPole-v1", 4, processes=processes, vectorization_mode="sync", timeout=PATIENCE
        )
        async with vector as envs:
            await goes_on_alike(envs)

    run(act())


def test_what_is_refused(server: ServerProcess) -> None:
    """A snapshot while another coroutine waits, of environments that are replaced, and one of another environment."""

    async def act() -> None:
        async with aio.connect(place(server), "CartPole-v1", timeout=PATIENCE) as env:
            await env.reset(seed=SEED)
            waiting = asyncio.ensure_future(env.step(0))
            await asyncio.sleep(0)
            with pytest.raises(gymtwist.RequestRefused, match="another coroutine waits"):
                await env.snapshot()
            await waiting
            here = await env.snapshot()
            async with aio.connect(place(server), "CartPole-v1", timeout=PATIENCE) as other:
                with pytest.raises(gymtwist.RequestRefused, match="of another environment"):
                    await other.restore(here)
        truncating = aio.connect_vec(place(server), "CartPole-v1", 2, on_failure="truncate", timeout=PATIENCE)
        async with truncating as envs:
            with pytest.raises(gymtwist.RequestRefused, match='on_failure="truncate" makes fresh environments'):
                await envs.snapshot()

    run(act())
