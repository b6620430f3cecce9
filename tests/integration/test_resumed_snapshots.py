"""Snapshots in sessions that outlive their connections: taken, restored and branched off once, whatever is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gymtwist.client as gymtwist
from gymtwist_conformance.reference_client import Failed
from tests.integration.test_disconnected_sessions import Resumable
from tests.integration.test_resume import (
    WAIT,
    IsOver,
    Trajectory,
    arguments,
    assert_same,
    cutting,
    module_server,
    until,
)
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess

__all__ = ["module_server"]
#: Steps of a trajectory, at least.
LENGTH = 60
#: An environment, and what it can be told to do.
ENVIRONMENT = "Crashing-v0"
NOTHING, CRASH = range(2)


def search(where: dict[str, Any], seed: int, is_over: IsOver, **options: Any) -> Trajectory:
    """Take snapshots, restore them, some with steps on their way, and release them."""
    played: Trajectory = []
    with gymtwist.connect(env_id="Pendulum-v1", max_episode_steps=-1, **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0],))
        while not is_over(len(played)):
            with env.snapshot() as here, env.snapshot():
                for _ in range(2):
                    played += [env.step(env.action_space.sample()) for _ in range(4)]
                    env.restore(here)
                for _ in range(3):
                    env.send(env.action_space.sample())
                played += [env.recv() for _ in range(3)]
    return played


def branching(
    where: dict[str, Any],
    seed: int,
    is_over: IsOver,
    branch_off: Callable[[gymtwist.RemoteEnv, gymtwist.Snapshot], gymtwist.RemoteEnv] = gymtwist.RemoteEnv.branch,
    **options: Any,
) -> Trajectory:
    """Play branches beside the session that they come from."""
    played: Trajectory = []
    with gymtwist.connect(env_id="Pendulum-v1", max_episode_steps=-1, **where, **options) as env:
        env.action_space.seed(seed)
        played.append((env.reset(seed=seed)[0],))
        while not is_over(len(played)):
            with env.snapshot() as here, branch_off(env, here) as branch:
                for _ in range(8):
                    action = env.action_space.sample()
                    played += [env.step(action), branch.step(action)]
                    np.testing.assert_equal(played[-1], played[-2])
    return played


@pytest.mark.parametrize("kind", ["tcp", "tls", "ws", "memory"])
def test_a_search_is_the_same_whatever_is_cut(server: ServerProcess, kind: str) -> None:
    """What comes after each snapshot is what comes without cuts."""
    with cutting(server, kind, 5, 1_000 if kind == "tls" else 600) as proxy:
        played = search(arguments(server, kind, proxy.port), 5, until(proxy, 4, LENGTH), resume=WAIT)
    direct = {"address": ("127.0.0.1", server.port), "timeout": PATIENCE}
    assert_same(played, search(direct, 5, lambda count: count >= len(played)))


def test_branches_go_on_as_well(server: ServerProcess) -> None:
    """A branch of a session that outlives its connection outlives its own."""
    with cutting(server, "tcp", 6, 1_500) as proxy:

        def spared(env: gymtwist.RemoteEnv, here: gymtwist.Snapshot) -> gymtwist.RemoteEnv:
            """Spare the make of a branch, which has no secret before it."""
            proxy.spare()
            branch = env.branch(here)
            proxy.cut_again()
            return branch

        where = arguments(server, "tcp", proxy.port)
        played = branching(where, 6, until(proxy, 2, LENGTH), spared, resume=WAIT)
    direct = {"address": ("127.0.0.1", server.port), "timeout": PATIENCE}
    assert_same(played, branching(direct, 6, lambda count: count >= len(played)))


@pytest.fixture(params=[None, 2], ids=["all", "two"])
def resumable(server: ServerProcess, request: pytest.FixtureRequest) -> Resumable:
    """A client with an episode; it may go back to one of its last snapshots after a crash."""
    found = Resumable(
        server, environment=ENVIRONMENT, **({} if request.param is None else {"keep_snapshots": request.param})
    )
    found.reset()
    return found


def ask(client: Resumable, operation: str, **fields: Any) -> dict[str, Any]:
    """Ask, and count the reply."""
    reply: dict[str, Any] = client.client.ask(operation, **fields)
    client.received += 1
    return reply


def test_a_lost_reply_to_restore_is_given_again(resumable: Resumable) -> None:
    """And so are those to the steps before it; the snapshot can be restored again."""
    number = ask(resumable, "snapshot")["snapshot"]
    assert resumable.step()["steps"] == 1
    resumable.client.say("step", action=resumable.client.actions.dump(NOTHING))
    resumable.client.say("restore", snapshot=number)
    resumable.client.hear()
    resumable.client.hear()
    resumable.lose()
    assert resumable.resume() == 5
    assert resumable.client.read_step().info["steps"] == 2
    assert resumable.client.reply("restore")["playing"] is True
    resumable.received += 2
    assert resumable.step()["steps"] == 1
    resumable.lose()
    assert resumable.resume() == 6
    ask(resumable, "restore", snapshot=number)
    assert resumable.step()["steps"] == 1
    assert ask(resumable, "release", snapshot=number)["held"] == 0
    resumable.client.ask("close")


def test_a_crash_goes_back_to_the_last_snapshot(server: ServerProcess) -> None:
    """The client that comes back gets the error, and goes on from the snapshot, over whatever connection."""
    client = Resumable(server, environment=ENVIRONMENT, keep_snapshots=2)
    client.reset()
    ask(client, "snapshot")
    client.lose()
    client.resume()
    for _ in range(5):
        client.step()
    ask(client, "snapshot")
    for _ in range(2):
        client.client.say("step", action=client.client.actions.dump(CRASH))
        with pytest.raises((EOFError, ConnectionError)):
            client.client.hear()
        assert client.resume() == client.received + 1
        with pytest.raises(Failed, match="again as in snapshot 2") as caught:
            client.client.read_step()
        assert caught.value.reset_needed is False
        client.received += 1
        assert client.step()["steps"] == 6
    client.client.ask("close")


def test_another_environment_cannot_branch_off(server: ServerProcess) -> None:
    """The error names the field, and what may differ."""
    client = Resumable(server, environment=ENVIRONMENT)
    client.reset()
    ticket = ask(client, "snapshot")["ticket"]
    with client.open() as other:
        assert other.make(ENVIRONMENT, branch=ticket)["branched"] is True
    with client.open() as other, pytest.raises(Failed, match=r"branch: .*`branch` added \(`resume` and `token` may"):
        other.make(ENVIRONMENT, branch=ticket, max_episode_steps=7)
    client.client.ask("close")
