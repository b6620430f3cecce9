"""The examples that search with snapshots: a small game to its end, and a large one for what is far away."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable

import pytest

from tests.support.server_process import REPOSITORY, ServerProcess

Run = Callable[..., str]


@pytest.fixture
def run(module_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run an example to its end in this process, which has imported the client already; return what it prints."""

    def run(example: str, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", [example, f"127.0.0.1:{module_server.port}", *words])
        runpy.run_path(str(REPOSITORY / "examples" / example), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("environment", "best"),
    [
        pytest.param(["CliffWalking-v1"], "13 steps, return -13, the end", marks=pytest.mark.sweep),
        (["FrozenLake-v1", "is_slippery=false"], "6 steps, return 1, the end"),
    ],
    ids=["cliff", "lake"],
)
def test_a_search_plays_a_small_game_perfectly(run: Run, environment: list[str], best: str) -> None:
    """There is no better plan: these are the known optima, and no chance is left to luck."""
    assert run("tree_search.py", *environment).startswith(f"{best}: [")


def explored(printed: str) -> tuple[int, list[int]]:
    """Return the number of cells and the rooms that an exploration ends with."""
    (cells, rooms) = re.findall(r"^(\d+) cells, rooms \[([\d, ]+)\]", printed, re.MULTILINE)[0]
    return int(cells), [int(room) for room in rooms.split(", ")]


def test_an_exploration_can_be_repeated(run: Run) -> None:
    """Its explorers work side by side, and what they find is the same each time, as branches of one state are."""
    pytest.importorskip("ale_py", reason="ale-py is not installed")
    first, second = (run("go_explore.py", "--steps", "200", "--seed", "3") for _ in range(2))
    assert first == second
    assert explored(first)[0] > 10


@pytest.mark.slow
@pytest.mark.sweep
def test_an_exploration_finds_more_rooms_than_random_actions(run: Run) -> None:
    """Of the same number of steps; the archive outgrows what it may keep on the way."""
    pytest.importorskip("ale_py", reason="ale-py is not installed")
    steps = ("--steps", "100000")
    cells, rooms = explored(run("go_explore.py", *steps))
    at_random = run("go_explore.py", *steps, "--random")
    assert at_random.strip() == "rooms at random: [1]"
    assert len(rooms) >= 3
    assert cells > 100
