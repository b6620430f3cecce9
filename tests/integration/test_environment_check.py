"""``python -m gymtwist check`` reports what of an environment would be served, and its exit status sums it up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist.__main__ import main
from tests.support import sample_environments
from tests.support.patience import PATIENCE

CLIENT_MEASURED = True

SETUP = Path(sample_environments.__file__)


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    line = [sys.executable, "-m", "gymtwist", *words]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_environments_that_are_served(tmp_path: Path) -> None:
    """Their spaces, an episode and their seeds are reported."""
    ended = run("check", "CartPole-v1", "FrozenLake-v1", "--seed", "3", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "CartPole-v1: served\n" in ended.stdout
    for line in (
        "actions: Discrete(2)",
        "observations: Box([-4.8",
        "rewards: numbers",
        "render modes: human, rgb_array",
        "steps, terminated",
        "seed: the same episodes",
        "classic protocol: served",
    ):
        assert line in ended.stdout
    assert "FrozenLake-v1: served\n" in ended.stdout
    assert "problem" not in ended.stdout


def test_environments_that_are_served_in_part(tmp_path: Path) -> None:
    """Each problem has a line, and the status is that of the worst environment."""
    ids = ["Objectives-v0", "Ignoring-v0", "Info-v0", "gym:Unseeded-v0"]
    ended = run("check", "--setup", str(SETUP), "--steps", "5", *ids, cwd=tmp_path)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "rewards: arrays of Box([ 0. -1.], [ 4. inf], (2,), float32)" in ended.stdout
    assert "problem: the classic protocol cannot serve it: the environment returned an array of" in ended.stdout
    assert "problem: an episode with the same seed in the same environment differs, from the reset on" in ended.stdout
    assert "problem: the environment takes no seed, or ignores it" in ended.stdout
    assert "seed: none is taken, but the episodes are the same" in ended.stdout
    left_out = "info.function, info.beside.function"
    assert f"problem: no message can carry these parts of infos or metadata: {left_out}\n" in ended.stdout


def test_environments_that_are_not_served(tmp_path: Path) -> None:
    """The report says why."""
    problems = {
        "NoSuch-v0": 'unknown environment "NoSuch-v0"',
        "Fault/RaiseInStep-v0": "the environment raised ValueError in step: the pole is not there",
        "Fault/TwoResults-v0": "the environment returned 2 values from step; Gymnasium expects 5 values",
    }
    ended = run("check", "--setup", str(SETUP), *problems, cwd=tmp_path)
    assert ended.returncode == 2
    for environment, why in problems.items():
        assert f"{environment}: not served\n" in ended.stdout
        assert f"problem: {why}" in ended.stdout


@pytest.mark.parametrize("words", [[], ["check"], ["check", "CartPole-v1", "--kwargs", "[]"]])
def test_a_wrong_command_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with the usage."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: python -m gymtwist" in capsys.readouterr().err
