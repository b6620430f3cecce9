"""The recipes of the page run on a real server, and learn the same there as with local environments.

Each is a program for one library. Where the library is not installed beside the tests, `make recipes` installs it in a
virtual environment of its own, below `.recipes`.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from gymtwist.client import EnvironmentFailed, connect
from tests.support.client_equivalence import differs
from tests.support.server_process import REPOSITORY, ServerProcess, variables

RECIPES = REPOSITORY / "examples" / "recipes"
#: Seconds that a program may take.
PATIENCE = 1200.0


class Recipe(NamedTuple):
    """A program, the module of the library that it is for, and what makes it short."""

    program: str
    module: str
    words: str


ALL = [
    Recipe("sb3_atari.py", "stable_baselines3", "--timesteps 64 --num-steps 32"),
    Recipe("sb3_vector.py", "stable_baselines3", "--timesteps 256 --num-envs 4"),
    Recipe("sb3_her.py", "stable_baselines3", "--timesteps 240"),
    Recipe("sb3_maskable_ppo.py", "sb3_contrib", "--timesteps 256"),
    Recipe("cleanrl_atari_ppo.py", "torch", "--num-envs 2 --num-steps 16 --timesteps 64 --epochs 1"),
    Recipe("torchrl_ppo.py", "torchrl", "--timesteps 512"),
    Recipe("tianshou_dqn.py", "tianshou", "--epochs 1 --epoch-steps 400"),
    Recipe("rllib_ppo.py", "ray", "--iterations 2"),
    Recipe("pufferlib_a2c.py", "pufferlib", "--updates 4"),
    Recipe("supersuit_ppo.py", "supersuit", "--timesteps 512"),
    Recipe("torchrl_agents.py", "torchrl", "--episodes 20"),
    Recipe("tianshou_agents.py", "tianshou", "--epochs 1 --epoch-steps 400"),
    Recipe("rllib_agents.py", "ray", "--iterations 1"),
]
#: Those of multi-agent environments, which have a server of their own.
MULTI_AGENT = ("supersuit_ppo.py", "torchrl_agents.py", "tianshou_agents.py", "rllib_agents.py")

#: An environment of theirs that crashes once in a thousand steps.
CRASHING = "recipes/CrashingCartPole-v0"

Run = Callable[..., str]


def recipe(program: str) -> Recipe:
    """Return the recipe of a program."""
    (found,) = (each for each in ALL if each.program == program)
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the options that the page names."""
    pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed at the server")
    (options,) = re.findall(r"gymsock (--setup examples/recipes/environments.py .*)", page())
    words = [
        *options.replace("examples/recipes", str(RECIPES)).split(),
        "--preload",
        "tests.support.recipe_environments",
    ]
    with ServerProcess(tmp_path_factory.mktemp("server"), *words, setup=None) as running:
        yield f"127.0.0.1:{running.port}"


@pytest.fixture(scope="module")
def agents_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of multi-agent environments with the options that the page names."""
    (options,) = re.findall(r"gymsock (--allow .*)", page())
    with ServerProcess(tmp_path_factory.mktemp("agents"), *options.replace("'", "").split(), setup=None) as running:
        yield f"127.0.0.1:{running.port}"


def page() -> str:
    """Return the text of the page, with commands on one line each."""
    return (REPOSITORY / "docs" / "how-to" / "recipes.md").read_text().replace("\\\n", "")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a recipe and return what it prints; in this process if its library is installed here."""

    def run(recipe: Recipe, *words: str | Path) -> str:
        program, command = RECIPES / recipe.program, [*recipe.words.split(), *map(str, words)]
        # RLlib needs more than Ray, which may be installed here for clusters.
        if recipe.module == "ray" or importlib.util.find_spec(recipe.module) is None:
            return run_elsewhere(recipe.module, program, command)
        monkeypatch.setattr(sys, "argv", [str(program), *command])
        monkeypatch.syspath_prepend(str(RECIPES))
        runpy.run_path(str(program), run_name="__main__")
        return capfd.readouterr().out

    return run


def run_elsewhere(module: str, program: Path, words: list[str]) -> str:
    """Run a program in the virtual environment that `make recipes` has made for a library."""
    folder = REPOSITORY / ".recipes" / module
    if not (folder / ".installed").exists():
        pytest.skip(f"{module} is not installed; `make recipes` installs it")
    ended = subprocess.run(
        [folder / "bin" / "python", program, *words],
        # RLlib puts agents into sets.
        env=variables({"PYTHONWARNINGS": "ignore", "PYTHONHASHSEED": "0"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def printed(output: str) -> list[str]:
    """Return the lines that a recipe prints, without those of the game's emulator and the log of TorchRL."""
    others = re.compile(r"A\.L\.E: |\[Powered by Stella\]|\x1b\[")
    return [line for line in output.splitlines() if line and not others.match(line)]


def saved(file: Path) -> dict[str, Any]:
    """Return the tensors that a recipe saved."""
    import torch

    tensors: dict[str, Any] = torch.load(file, weights_only=True)
    assert tensors
    return tensors


def assert_same(remote: Path, local: Path) -> None:
    """Fail unless the tensors in two files are equal to the last bit."""
    one, other = saved(remote), saved(local)
    assert list(one) == list(other)
    assert [name for name in one if differs(one[name].numpy(), other[name].numpy())] == []


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.program)
def test_a_recipe_learns_the_same_as_with_local_environments(
    run: Run, recipe: Recipe, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What it prints is the same, and all parameters are equal to the last bit."""
    if recipe.program == "supersuit_ppo.py":
        pytest.importorskip("supersuit")
        pytest.importorskip("stable_baselines3")
    address = request.getfixturevalue("agents_address" if recipe.program in MULTI_AGENT else "address")
    remote = run(recipe, address, "--save", tmp_path / "remote.pt")
    local = run(recipe, "--local", "--save", tmp_path / "local.pt")
    assert_same(tmp_path / "remote.pt", tmp_path / "local.pt")
    assert printed(remote) == printed(local) != []


@pytest.mark.parametrize("where", ["client", "server"])
def test_the_atari_wrapper_plays_the_same_as_around_a_local_game(where: str, address: str) -> None:
    """Random actions lose all lives: then it begins another game, of which it fires the first ball."""
    names = runpy.run_path(str(RECIPES / "sb3_atari.py"))
    common = {"env_id": "BreakoutNoFrameskip-v4", "seed": 6, "address": address}
    make = names["wrapped_here" if where == "client" else "wrapped_there"]
    drawn, ends, games = np.random.default_rng(6), 0, 0
    with (
        closing(make(SimpleNamespace(**common, local=False))) as theirs,
        closing(names["wrapped_here"](SimpleNamespace(**common, local=True))) as ours,
    ):
        assert differs(theirs.reset(), ours.reset()) == ""
        for _ in range(140):
            actions = drawn.integers(4, size=2)
            (*one, theirs_infos), (*other, ours_infos) = theirs.step(actions), ours.step(actions)
            assert differs(tuple(one), tuple(other)) == ""
            ends += int(other[2].sum())
            for info, same in zip(theirs_infos, ours_infos, strict=True):
                assert info["lives"] == same["lives"]
                assert ("episode" in info) == ("episode" in same)
                if "episode" in same:
                    games += 1
                    assert info["episode"]["r"] == same["episode"]["r"]
                    assert info["episode"]["l"] == same["episode"]["l"]
    assert ends > games > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "steps", "wanted", "least"),
    [
        ("Recipe/BriefCartPole-v0", 4_608, 60.0, 20),
        pytest.param(CRASHING, 10_240, 60.0, 0, marks=pytest.mark.sweep),
        pytest.param(CRASHING, 50_000, 475.0, 20, marks=pytest.mark.sweep),
    ],
    ids=["crashes often", "plays better", "solves it"],
)
def test_crashes_do_not_keep_an_agent_from_learning(
    run: Run, address: str, caplog: pytest.LogCaptureFixture, env_id: str, steps: int, wanted: float, least: int
) -> None:
    """Some steps end their own episodes, and CartPole is learned: at random the mean return is 22."""
    words = ["--env-id", env_id, "--timesteps", str(steps), "--num-envs", "8"]
    output = run(recipe("sb3_vector.py"), address, *words)
    (mean,) = re.findall(r"^mean return (\S+) ", output, re.MULTILINE)
    assert float(mean) >= wanted
    crashes = [each for each in caplog.messages if "exited with status 1 in step" in each]
    assert len(crashes) > least


def test_the_environment_that_crashes(address: str) -> None:
    """Does so, sooner or later."""
    with connect(address, CRASHING) as env, pytest.raises(EnvironmentFailed, match="exited with status 1 in step"):
        env.reset()
        for action in range(100_000):
            if env.step(action % 2)[2]:
                env.reset()


def test_the_page_has_every_recipe() -> None:
    """A section says how to run each program, and includes it."""
    programs = {path.name for path in RECIPES.glob("*.py")} - {"environments.py"}
    assert programs == {each.program for each in ALL}
    assert set(re.findall(r"python examples/recipes/(\w+\.py)", page())) == programs
    assert set(re.findall(r"literalinclude\} ../../examples/recipes/(\w+\.py)", page())) >= programs
