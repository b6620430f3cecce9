"""The examples that search with snapshots: a small game to its end, and a large one for what is far away."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.server_process import REPOSITORY, ServerProcess

#: Seconds that an example may take.
PATIENCE = 1800.0


def run(server: ServerProcess, example: str, *words: str) -> str:
    """Run an example to its end; return what it prints."""
    command = [sys.executable, str(REPOSITORY / "examples" / example), f"127.0.0.1:{server.port}", *words]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("environment", "best"),
    [
        (["CliffWalking-v1"], "13 steps, return -13, the end"),
        (["FrozenLake-v1", "is_slippery=false"], "6 steps, return 1, the end"),
    ],
    ids=["cliff", "lake"],
)
def test_a_search_plays_a_small_game_perfectly(module_server: ServerProcess, environment: list[str], best: str) -> None:
    """There is no better plan: these are the known optima, and no chance is left to luck."""
    assert run(module_server, "tree_search.py", *environment).startswith(f"{best}: [")


def explored(printed: str) -> tuple[int, list[int]]:
    """Return the number of cells and the rooms that an exploration ends with."""
    (cells, rooms) = re.findall(r"^(\d+) cells, rooms \[([\d, ]+)\]", printed, re.MULTILINE)[0]
    return int(cells), [int(room) for room in rooms.split(", ")]


def test_an_exploration_can_be_repeated(module_server: ServerProcess) -> None:
    """Its explorers work side by side, and what they find is the same each time, as branches of one state are."""
    pytest.importorskip("ale_py", reason="ale-py is not installed")
    first, second = (run(module_server, "go_explore.py", "--steps", "600", "--seed", "3") for _ in range(2))
    assert first == second
    assert explored(first)[0] > 10


@pytest.mark.slow
@pytest.mark.sweep
def test_an_exploration_finds_more_rooms_than_random_actions(module_server: ServerProcess) -> None:
    """Of the same number of steps; the archive outgrows what it may keep on the way."""
    pytest.importorskip("ale_py", reason="ale-py is not installed")
    steps = ("--steps", "100000")
    cells, rooms = explored(run(module_server, "go_explore.py", *steps))
    at_random = run(module_server, "go_explore.py", *steps, "--random")
    assert at_random.strip() == "rooms at random: [1]"
    assert len(rooms) >= 3
    assert cells > 100
