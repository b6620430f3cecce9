"""The PPO examples solve CartPole on a real server and learn the same there as with local environments.

The tests that train until CartPole is solved take two minutes and need the marker ``sweep``:
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
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import gymtwist.client
from tests.support.client_equivalence import differs
from tests.support.server_process import REPOSITORY, ServerProcess

Run = Callable[..., "tuple[Any, str]"]

EXAMPLES = ("ppo_sb3.py", "ppo_cleanrl.py")
#: The id by which Gymnasium makes a remote environment.
REMOTE = "gymtwist.client:gymtwist/Remote-v0"
#: Seconds that an example may take to solve CartPole.
TRAINING_TIME = 600.0


@pytest.fixture(scope="module", autouse=True)
def torch() -> Any:
    """PyTorch, which all tests of this module need."""
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def sb3() -> Any:
    """Stable-Baselines3."""
    return pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> str:
    """Each example whose libraries are installed."""
    if "sb3" in request.param:
        request.getfixturevalue("sb3")
    return str(request.param)


@pytest.fixture
def address(module_server: ServerProcess) -> str:
    """The server's address."""
    return f"127.0.0.1:{module_server.port}"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an example in this process, which has PyTorch already; return its exit status and its output."""

    def run(example: str, *words: str | Path) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", [example, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "examples" / example), run_name="__main__")
        return ended.value.code, capsys.readouterr().out

    return run


def mean_return(output: str) -> float:
    """Return the mean return that an example prints at its end."""
    (found,) = re.findall(r"^mean return ([\d.]+) (?:\+- [\d.]+ )?over 20 episodes$", output, re.MULTILINE)
    return float(found)


def learned(torch: Any, file: Path) -> dict[str, Any]:
    """Return the parameters that an example saved."""
    content: Any = file
    if zipfile.is_zipfile(file) and "policy.pth" in (names := zipfile.ZipFile(file)).namelist():
        content = io.BytesIO(names.read("policy.pth"))
    tensors: dict[str, Any] = torch.load(content, weights_only=True)
    assert len(tensors) == 12
    return tensors


def assert_same(torch: Any, remote: Path, local: Path) -> None:
    """Fail unless the parameters in two files are equal to the last bit."""
    one, other = learned(torch, remote), learned(torch, local)
    assert list(one) == list(other)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_learning_from_a_server_equals_learning_locally(
    torch: Any, run: Run, example: str, address: str, tmp_path: Path
) -> None:
    """With the same seed all parameters are equal to the last bit; so few steps do not solve CartPole."""
    words = ("--timesteps", "512", "--save")
    status, output = run(example, address, *words, tmp_path / "remote.zip")
    local_status, local_output = run(example, "--local", *words, tmp_path / "local.zip")
    assert_same(torch, tmp_path / "remote.zip", tmp_path / "local.zip")
    assert mean_return(output) == mean_return(local_output) < 475
    assert status == local_status == 1


def test_learning_from_several_processes_equals_learning_locally(
    torch: Any, run: Run, address: str, tmp_path: Path
) -> None:
    """Each environment has a seed of its own, so the division among worker processes changes nothing."""
    words = ("--vectorization-mode", "sync", "--num-envs", "5", "--timesteps", "640", "--save")
    _, output = run("ppo_cleanrl.py", address, "--processes", "2", *words, tmp_path / "remote.pt")
    _, local_output = run("ppo_cleanrl.py", "--local", *words, tmp_path / "local.pt")
    assert_same(torch, tmp_path / "remote.pt", tmp_path / "local.pt")
    assert mean_return(output) == mean_return(local_output)


def test_the_advantages_of_steps(torch: Any) -> None:
    """Advantages do not cross the end of an episode, and a truncated episode counts its last value.

    The numbers are calculated by hand with gamma 0.5 and lambda 0.5. Both environments take two steps, are reset and
    take another step. The first episode is terminated, the second is truncated.
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
    """An example that is run as a program solves CartPole with any seed, and exits with status 0."""
    command: list[str | Path] = [sys.executable, REPOSITORY / "examples" / example, address, "--seed", seed]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRAINING_TIME, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert mean_return(ended.stdout) >= 475


# Stable-Baselines3's own use of environments


# A process of SubprocVecEnv takes more than a second to import PyTorch, and one of them shows what another would.
@pytest.mark.parametrize(
    ("kind", "count", "rewards"), [("DummyVecEnv", 3, np.float32), ("SubprocVecEnv", 1, np.float64)]
)
def test_the_vector_environments_of_stable_baselines3(
    sb3: Any, address: str, kind: str, count: int, rewards: type[np.floating[Any]]
) -> None:
    """They make remote environments by id and step them like local ones."""
    make, kinds = sb3.common.env_util.make_vec_env, sb3.common.vec_env
    same: dict[str, Any] = {"max_episode_steps": 20}
    remote = {"address": address, "env_id": "CartPole-v1", **same}
    with (
        closing(
            make("gymtwist.client:gymtwist/Remote-v0", count, 7, env_kwargs=remote, vec_env_cls=getattr(kinds, kind))
        ) as theirs,
        closing(make("CartPole-v1", count, 7, env_kwargs=same, vec_env_cls=kinds.DummyVecEnv)) as ours,
    ):
        drawn = np.random.default_rng(7)
        assert theirs.observation_space == ours.observation_space
        assert theirs.action_space == ours.action_space
        assert theirs.get_attr("render_mode") == ours.get_attr("render_mode")
        assert differs(theirs.reset(), ours.reset()) == ""
        ends = set()
        for _ in range(100):
            actions = drawn.integers(2, size=count)
            (*one, theirs_infos), (*other, ours_infos) = theirs.step(actions), ours.step(actions)
            other[1] = other[1].astype(rewards)
            assert differs(tuple(one), tuple(other)) == ""
            for info in (*theirs_infos, *ours_infos):
                info.get("episode", {}).pop("t", None)  # the time that it took
            assert differs(list(theirs_infos), list(ours_infos)) == ""
            ends |= {info["TimeLimit.truncated"] for info in ours_infos if "terminal_observation" in info}
        assert ends == {False, True}


@pytest.mark.parametrize("environment", ["CartPole-v1", "FrozenLake-v1", "Acrobot-v1"])
@pytest.mark.filterwarnings("error::UserWarning:stable_baselines3")
def test_the_checker_of_stable_baselines3(sb3: Any, address: str, environment: str) -> None:
    """It reports no error and no warning about a remote environment."""
    checker = importlib.import_module("stable_baselines3.common.env_checker")
    with gymtwist.client.connect(address, environment) as env:
        checker.check_env(env)
