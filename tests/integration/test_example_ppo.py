"""The examples that learn: they solve CartPole at a real server, and learn there exactly what they learn at home.

The tests that take PPO all the way, with several seeds, take two minutes; they are run by
``python -m pytest tests/integration/test_example_ppo.py -m sweep``.
"""

from __future__ import annotations

import importlib
import io
import re
import runpy
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from tests.support.client_equivalence import differs
from tests.support.server_process import REPOSITORY, ServerProcess

EXAMPLES = ("ppo_sb3.py", "ppo_cleanrl.py")
#: Seconds that an example may take.
PATIENCE = 300.0
#: Random actions get some 22, an agent that has solved CartPole 475.
BETTER_THAN_RANDOM = 60.0


@pytest.fixture(scope="module", autouse=True)
def torch() -> Any:
    """PyTorch, without which nothing here can be run."""
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def sb3() -> Any:
    """Stable-Baselines3."""
    return pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """One of the examples whose libraries are installed."""
    if "sb3" in request.param:
        request.getfixturevalue("sb3")
    return str(request.param)


@pytest.fixture
def address(module_server: ServerProcess) -> str:
    """Where the server is."""
    return f"127.0.0.1:{module_server.port}"


def run(example: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs an example to its end."""
    return subprocess.run(
        [sys.executable, REPOSITORY / "examples" / example, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def mean_return(ended: subprocess.CompletedProcess[str]) -> float:
    """Returns what an example says that it has reached in the end."""
    told = re.findall(r"^mean return ([\d.]+) (?:\+- [\d.]+ )?over 20 episodes$", ended.stdout, re.MULTILINE)
    assert len(told) == 1, ended.stdout + ended.stderr
    return float(told[0])


def learned(torch: Any, file: Path) -> dict[str, Any]:
    """Returns the tensors that an example has saved."""
    content: Any = file
    if zipfile.is_zipfile(file) and "policy.pth" in (names := zipfile.ZipFile(file)).namelist():
        content = io.BytesIO(names.read("policy.pth"))
    tensors: dict[str, Any] = torch.load(content, weights_only=True)
    assert len(tensors) == 12
    return tensors


def assert_same(torch: Any, theirs: Path, ours: Path) -> None:
    """Fails if two examples did not learn the same to the last bit."""
    one, other = learned(torch, theirs), learned(torch, ours)
    assert list(one) == list(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_what_is_learned_at_a_server_is_what_is_learned_at_home(
    torch: Any, example: str, address: str, tmp_path: Path
) -> None:
    """With the same seed every parameter is the same to the last bit, and better than chance."""
    remote = run(example, address, "--timesteps", "8000", "--save", tmp_path / "theirs.zip")
    local = run(example, "--local", "--timesteps", "8000", "--save", tmp_path / "ours.zip")
    assert_same(torch, tmp_path / "theirs.zip", tmp_path / "ours.zip")
    assert mean_return(remote) == mean_return(local) > BETTER_THAN_RANDOM


def test_what_is_learned_by_several_processes_is_what_is_learned_at_home(
    torch: Any, address: str, tmp_path: Path
) -> None:
    """Where each environment has a seed of its own, it does not matter how they are divided."""
    words = ("--vectorization-mode", "sync", "--num-envs", "5", "--timesteps", "2000", "--save")
    remote = run("ppo_cleanrl.py", address, "--processes", "2", *words, tmp_path / "theirs.pt")
    local = run("ppo_cleanrl.py", "--local", *words, tmp_path / "ours.pt")
    assert_same(torch, tmp_path / "theirs.pt", tmp_path / "ours.pt")
    assert mean_return(remote) == mean_return(local)


def test_the_exit_status_says_that_it_is_not_solved(example: str, address: str) -> None:
    """After far too few steps."""
    ended = run(example, address, "--timesteps", "256")
    assert mean_return(ended) < 475
    assert ended.returncode == 1


def test_the_advantages_of_steps(torch: Any) -> None:
    """Those before the end of an episode know nothing of the next one; a truncated one counts its last value.

    By hand, with gamma 0.5 and lambda 0.5: the environments take two steps, begin again, and take another one. The
    first has terminated, the second was truncated.
    """
    module = runpy.run_path(str(REPOSITORY / "examples" / "ppo_cleanrl.py"))
    with closing(gymnasium.make_vec("CartPole-v1", num_envs=2)) as envs:
        rollout = module["Rollout"](4, envs)
    rollout.rewards[:] = torch.tensor([[1.0], [1.0], [0.0], [1.0]])
    rollout.values[:] = torch.tensor([[4.0], [2.0], [8.0], [6.0], [10.0]])
    rollout.terminated[1, 0] = True
    rollout.over[1] = True
    first, last, next_episode = [-2.0 + 0.25 * -1.0, -2.0 + 0.25 * 3.0], [-1.0, 3.0], [0.0, 0.0]
    assert rollout.advantages(0.5, 0.5)[[0, 1, 3]].tolist() == [first, last, next_episode]


@pytest.mark.slow
@pytest.mark.sweep
@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_cartpole_is_solved(example: str, address: str, seed: str) -> None:
    """Over the socket, with any seed, and the exit status says so."""
    ended = run(example, address, "--seed", seed)
    assert mean_return(ended) >= 475
    assert ended.returncode == 0


# What Stable-Baselines3 does with environments


@pytest.mark.parametrize("kind", ["DummyVecEnv", "SubprocVecEnv"])
def test_the_vector_environments_of_stable_baselines3(sb3: Any, address: str, kind: str) -> None:
    """They hold remote environments as they hold local ones, made by their own function and an id."""
    make, held = sb3.common.env_util.make_vec_env, {"vec_env_cls": getattr(sb3.common.vec_env, kind)}
    same: dict[str, Any] = {"max_episode_steps": 20}
    remote = {"address": address, "env_id": "CartPole-v1", **same}
    with (
        closing(make("gymtwist.client:gymtwist/Remote-v0", 3, 7, env_kwargs=remote, **held)) as theirs,
        closing(make("CartPole-v1", 3, 7, env_kwargs=same, **held)) as ours,
    ):
        drawn = np.random.default_rng(7)
        assert theirs.observation_space == ours.observation_space
        assert theirs.action_space == ours.action_space
        assert theirs.get_attr("render_mode") == ours.get_attr("render_mode")
        assert differs(theirs.reset(), ours.reset()) == ""
        ends = set()
        for _ in range(100):
            actions = drawn.integers(2, size=3)
            (*one, theirs_infos), (*other, ours_infos) = theirs.step(actions), ours.step(actions)
            assert differs(tuple(one), tuple(other)) == ""
            for info in (*theirs_infos, *ours_infos):
                info.get("episode", {}).pop("t", None)  # the time that it took
            assert differs(list(theirs_infos), list(ours_infos)) == ""
            ends |= {info["TimeLimit.truncated"] for info in ours_infos if "terminal_observation" in info}
        assert ends == {False, True}


@pytest.mark.parametrize("environment", ["CartPole-v1", "FrozenLake-v1", "Acrobot-v1"])
@pytest.mark.filterwarnings("error::UserWarning:stable_baselines3")
def test_the_checker_of_stable_baselines3(sb3: Any, address: str, environment: str) -> None:
    """It finds nothing wrong, and nothing to warn of."""
    checker = importlib.import_module("stable_baselines3.common.env_checker")
    with gymtwist.client.connect(address, environment) as env:
        checker.check_env(env)
