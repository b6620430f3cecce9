"""Every environment that can be had goes on from a snapshot as it did, in the same session and in a branch.

``make registry`` runs these tests, which have the marker ``sweep``. Nothing of this module runs otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gymtwist.client import RemoteError, RequestRefused, connect
from gymtwist.protocol import dynamic_values
from tests.support.registry_cases import Registered, reason, registered
from tests.support.server_process import ServerProcess

pytestmark = pytest.mark.sweep

SEED, BEFORE, BEHIND = 1234, 50, 50
ENVIRONMENTS = [pytest.param(each, id=each.name) for each in registered()]


def steps(env: Any, actions: list[Any]) -> Iterator[bytes]:
    """Take steps, and reset without a seed where an episode has ended; yield all that comes back."""
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        yield dynamic_values.to_messagepack({"step": [observation, reward, terminated, truncated, info]})
        if terminated or truncated:
            observation, info = env.reset()
            yield dynamic_values.to_messagepack({"reset": [observation, info]})


@pytest.mark.parametrize("each", ENVIRONMENTS)
def test_what_follows_a_snapshot(module_server: ServerProcess, each: Registered) -> None:
    """Is the same when it is restored, in a branch, and in the original that goes on."""
    try:
        local = each.make()
        try:
            local.reset(seed=SEED)
            local.step(local.action_space.sample())
        finally:
            local.close()
    except Exception as error:
        if (why := reason(error)) is None:
            raise
        pytest.skip(why)
    with connect(module_server.port, each.name) as env:
        env.reset(seed=SEED)
        actions = [env.sample(SEED), *(env.sample() for _ in range(BEFORE + BEHIND))]
        list(steps(env, actions[:BEFORE]))
        try:
            here = env.snapshot()
        except RequestRefused as error:
            pytest.skip(f"refused: {error}")
        following = actions[BEFORE:]
        first = list(steps(env, following))
        with env.branch(here) as other:
            env.restore(here)
            assert list(steps(env, following)) == first
            assert list(steps(other, following)) == first
        env.restore(here)
        assert list(steps(env, following)) == first


@pytest.mark.parametrize("name", ["CartPole-v1", "ALE/Pong-v5"])
def test_many_snapshots(module_server: ServerProcess, name: str) -> None:
    """Of one session can be held together, and all be restored."""
    with connect(module_server.port, name) as env:
        env.reset(seed=SEED)
        held, followed = [], []
        for index in range(100):
            held.append(env.snapshot())
            followed.append(list(steps(env, [index % 2])))
        with pytest.raises(RemoteError, match="100 are allowed"):
            env.snapshot()
        for index in range(0, 100, 9):
            env.restore(held[index])
            assert list(steps(env, [index % 2])) == followed[index]
