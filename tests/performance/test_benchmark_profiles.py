"""The profiles of a step's time and a session's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gymtwist_benchmarks import page_copies, step_profile
from gymtwist_benchmarks.contenders import HERE
from tests.support.patience import PATIENCE


@pytest.mark.parametrize(("shared", "count"), [(True, None), (False, None), (True, 4)])
def test_the_parts_of_a_step(shared: bool, count: int | None) -> None:
    """All parts are there, and their sum is the whole."""
    together, *each = step_profile.measure("CartPole-v1", shared, count, 1000, 100)
    environment, session, client, _ = each
    assert 0 < environment < together
    assert session > 0 < client
    assert sum(each) == pytest.approx(together)


@pytest.mark.parametrize("command", ["step-profile", "page-copies"])
def test_the_help_of_a_command_measures_nothing(command: str) -> None:
    """It prints what the command does, and ends."""
    words = [sys.executable, str(HERE.parent), command, "--help"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert ended.stdout.startswith(f"usage: benchmarks {command} [-h]\n")


def test_the_copies_of_a_session() -> None:
    """A session has some hundred pages of its own, most of them without anything new."""
    ended = subprocess.run(
        [sys.executable, str(HERE.parent), "page-copies"], capture_output=True, text=True, timeout=600, check=False
    )
    if "root alone" in ended.stderr or "Permission" in ended.stderr:
        pytest.skip("Linux shows the frames of pages to root alone")
    assert ended.returncode == 0, ended.stderr
    rows = {
        name.strip(): int(count) for _, name, count, *_ in (line.split("|") for line in ended.stdout.splitlines()[2:])
    }
    together = rows.pop("together")
    assert together == sum(rows.values())
    assert 200 < together < 3000
    assert rows["the same: counted up, and down again"] > 0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "the same: counted up, and down again"),
        ({8: 3, 16: -2}, "counts of references alone"),
        ({8: 1 << 40}, "up to 16 words of 512"),
        ({8 * index: 1 << 40 for index in range(17)}, "more than that"),
    ],
)
def test_how_a_page_differs(changes: dict[int, int], kind: str) -> None:
    """Pages are compared by whole words."""
    theirs = (1 << 50).to_bytes(8, "little") * 512
    ours = bytearray(theirs)
    for place, change in changes.items():
        ours[place : place + 8] = ((1 << 50) + change).to_bytes(8, "little")
    assert page_copies.kind_of(bytes(ours), theirs) == kind


def test_only_root_may_look(tmp_path: Path) -> None:
    """Others see frames of 0, from which any result would be wrong."""
    region = page_copies.Region(0, 4096, True)
    path = tmp_path / "pagemap"
    path.write_bytes((1 << 63).to_bytes(8, "little"))
    with path.open("rb") as pagemap, pytest.raises(PermissionError, match="as root"):
        page_copies._entries(pagemap, region)
