"""Snapshots of environments whose processes cannot be copied, and which keep and restore their states by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gymnasium
import numpy as np
import pytest

from gymtwist.client import EnvironmentFailed, RequestRefused, connect, connect_vec
from gymtwist.protocol import dynamic_values
from tests.support.patience import LONG_DRAIN
from tests.support.server_process import ServerProcess

UNPICKLABLE = "tests.support.snapshot_environments:Unpicklable"
OPTIONS = (
    *("--max-snapshots", "3", "--monitor-root", "."),
    *("--drain", LONG_DRAIN, "--wrappers", f"gymnasium,{UNPICKLABLE}"),
)
STEPS = 50
WRAPPERS = [
    {"name": "FrameStackObservation", "kwargs": {"stack_size": 3}},
    {"name": "NormalizeObservation"},
    {"name": "TimeLimit", "kwargs": {"max_episode_steps": 15}},
]
Make = Callable[..., Any]


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on which MuJoCo draws without a display."""
    directory = tmp_path_factory.mktemp("server")
    with ServerProcess(directory, *OPTIONS, changes={"MUJOCO_GL": "egl"}) as running:
        yield running


@pytest.fixture
def make(server: ServerProcess) -> Iterator[Make]:
    """Connect, and close at the end."""
    with ExitStack() as stack:

        def make(env_id: str = "Hooked-v0", *, by: Any = connect, **options: Any) -> Any:
            return stack.enter_context(by(f"127.0.0.1:{server.port}", env_id, **options))

        yield make


def played(env: Any, count: int = STEPS) -> list[bytes]:
    """Take steps with sampled actions, and reset where an episode has ended; return all that comes back."""
    found = []
    for index in range(count):
        action = np.full(env.action_space.shape, index % 2, env.action_space.dtype)
        observation, reward, terminated, truncated, info = env.step(action)
        found.append(dynamic_values.to_messagepack({"all": [observation, reward, terminated, truncated, info]}))
        if not np.ndim(terminated) and (terminated or truncated):
            found.append(dynamic_values.to_messagepack({"all": list(env.reset())}))
    return [*found, dynamic_values.to_messagepack({"all": [env.sample()]})]


def in_play(env: Any, steps: int = 7) -> Any:
    """Begin an episode."""
    env.reset(seed=5)
    env.sample(seed=5)
    played(env, steps)
    return env


@pytest.mark.parametrize("how", [{}, {"wrappers": WRAPPERS}], ids=["bare", "wrapped"])
def test_a_session_goes_on_from_a_state(make: Make, how: dict[str, Any]) -> None:
    """As it did before, with the state of wrappers and of all generators, as often as it is asked to."""
    env = in_play(make(**how))
    with env.snapshot() as here:
        first = played(env)
        for _ in range(2):
            env.restore(here)
            assert played(env) == first
        env.reset(seed=8)
        env.restore(here)
        assert played(env) == first


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_vectors(make: Make, mode: str) -> None:
    """Keep the states of their environments, and which of them are to be reset."""
    wrappers = [{"name": "NormalizeReward"}]
    envs = in_play(make(by=connect_vec, num_envs=3, autoreset_mode=mode, vector_wrappers=wrappers), 19)
    with envs.snapshot() as here:
        first = played(envs)
        envs.restore(here)
        assert played(envs) == first


def test_states_are_counted(make: Make, server: ServerProcess) -> None:
    """Among the snapshots that a session may hold; what it does not hold cannot be restored or released."""
    env = in_play(make())
    held = [env.snapshot() for _ in range(3)]
    with pytest.raises(RequestRefused, match=r"3 are allowed \(--max-snapshots\): release one first"):
        env.snapshot()
    held[1].release()
    again = env.snapshot()
    assert repr(again) == "<Snapshot number 4>"
    held[1]._released = False
    with pytest.raises(RequestRefused, match="snapshot 2 is not held by this session, which holds 1, 3, 4") as caught:
        env.restore(held[1])
    assert caught.value.code == "unknown-snapshot"
    env.restore(held[0])
    kept = in_play(make(keep_snapshots=1))
    with pytest.warns(UserWarning, match="keep_snapshots 1: a crash loses the snapshots"):
        kept.snapshot()
    kept.snapshot()


def test_no_session_branches_off(make: Make) -> None:
    """A state: the error names it, and what to do."""
    env = in_play(make())
    with env.snapshot() as here:
        with pytest.raises(RequestRefused, match=r'branch "[0-9]+-state": .* restore it in its session') as caught:
            env.branch(here)
        assert caught.value.code == "snapshot-refused"
        played(env, 3)


def test_an_environment_that_fails(make: Make) -> None:
    """Is restored from a state, or goes on without one; what fails in that has to be reset, or restored again."""
    env = in_play(make(), 3)
    with env.snapshot() as here:
        first = played(env)
        env.step(2)
        with env.snapshot() as there:
            with pytest.raises(EnvironmentFailed, match="ValueError in restore: no way back") as caught:
                env.restore(there)
            assert caught.value.reset_needed
            with pytest.raises(RequestRefused, match="reset before"):
                env.step(0)
            env.restore(here)
            assert played(env) == first
        env.step(3)
        with pytest.raises(EnvironmentFailed, match="ValueError in snapshot: no state") as caught:
            env.snapshot()
        assert not caught.value.reset_needed
        env.step(0)


def test_an_environment_that_is_made_anew(make: Make) -> None:
    """Has none of the states of the one before, and others can be kept."""
    env = in_play(make(), 3)
    here = env.snapshot()
    with pytest.raises(EnvironmentFailed, match="no episode"):
        env.reset(options={"fail": True})
    in_play(env, 3)
    with pytest.raises(RequestRefused, match="an environment that failed and was made anew: take another") as caught:
        env.restore(here)
    assert caught.value.code == "unknown-snapshot"
    with env.snapshot() as there:
        first = played(env)
        env.restore(there)
        assert played(env) == first


def test_an_environment_that_is_recorded(make: Make) -> None:
    """Goes back to no state, because the files would not."""
    env = in_play(make())
    here = env.snapshot()
    env.monitor("states", force=True)
    with pytest.raises(RequestRefused, match="stop the monitor before you restore"):
        env.restore(here)
    env.monitor(None)
    env.restore(here)
    played(env, 3)


def test_what_cannot_be_kept(make: Make) -> None:
    """Is refused, and named: an environment without a hook, and a wrapper with what has no copy."""
    env = in_play(make("Threaded-v0"))
    with pytest.raises(RequestRefused, match="Threaded has no methods `__snapshot__` and `__restore__`; replay"):
        env.snapshot()
    played(env, 3)
    env = in_play(make(wrappers=[{"name": UNPICKLABLE}]))
    with pytest.raises(RequestRefused, match=r"Unpicklable\.lock cannot be pickled \(TypeError: .*; replay") as caught:
        env.snapshot()
    assert caught.value.code == "snapshot-refused"
    played(env, 3)


@pytest.mark.parametrize("env_id", ["Humanoid-v5", "Reacher-v5"])
def test_mujoco_that_draws(make: Make, env_id: str) -> None:
    """Goes on bit for bit by MuJoCo's own functions, with its frames and after a reset, as in-process."""
    local: Any = gymnasium.make(env_id)
    actions = np.random.default_rng(1).uniform(-0.4, 0.4, (STEPS, *local.action_space.shape)).astype(np.float32)

    def followed(env: Any, actions: Any) -> list[Any]:
        found: list[Any] = []
        for action in actions:
            observation, reward, terminated, truncated, _ = env.step(action)
            found += [observation, reward, terminated, truncated]
            if terminated or truncated:
                found.append(env.reset()[0])
        return [*found, env.reset()[0], env.step(actions[0])[0]]

    with make(env_id, render_mode="rgb_array") as env:
        for each in (local, env):
            each.reset(seed=1)
            for action in actions[:7]:
                each.step(action)
        expected, frame = followed(local, actions), env.render()
        with env.snapshot() as here:
            assert here.tickets[0].endswith("-state")
            for _ in range(2):
                found = followed(env, actions)
                assert len(found) == len(expected)
                assert all(map(np.array_equal, found, expected))
                env.restore(here)
                assert np.array_equal(env.render(), frame)
    local.close()
