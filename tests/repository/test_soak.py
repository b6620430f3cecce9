"""The report of a soak; `make soak` makes one that takes hours."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.process_inspection import children, command_line
from tools.soak.__main__ import main
from tools.soak.journal import quantiles
from tools.soak.soak_run import SoakRun

COUNTED = {
    **dict.fromkeys(("sessions", "connections", "steps_total", "sessions_ended_total"), 2.0),
    **dict.fromkeys(("refusals_total", "worker_crashes_total", "session_resumptions_total"), 1.0),
}


def cost(at: float, kind: str, megabytes: int = 50, descriptors: int = 20, **fields: Any) -> dict[str, Any]:
    """Return a record of what the server costs."""
    process = {**dict.fromkeys(("rss", "pss", "anonymous"), megabytes * 10**6), "descriptors": descriptors}
    about = {"processes": 8, "marked": 8, "scratch": 1, "used": 0.2, "machine_load": 1.5, "quiet": True, "seconds": 20}
    return {"at": at, "kind": kind, "parent": process, "fork_server": process, **about, **COUNTED, **fields}


def journal(directory: Path, *more: dict[str, Any], last: dict[str, Any] | None = None) -> None:
    """Write the journal of a soak where nothing is wrong, but for some records."""
    seconds = {name: quantiles([0.001 * each for each in range(1, 101)]) for name in ("step", "session")}
    counts = {"steps by Int32": 900, "sessions by Int32": 9}
    records = [
        {"at": 0, "kind": "begin", "machine": "A machine.", "commit": "abc", "seed": 1},
        cost(10, "sample"),
        cost(600, "lull"),
        {"at": 630, "kind": "witnesses", "counts": counts, "seconds": seconds},
        {"at": 630, "kind": "crowd", "counts": {"play": 1200, "vanish": 3}, "seconds": {}},
        last or cost(7200, "lull", megabytes=51),
        *more,
        {"at": 7300, "kind": "end", "complaints": [], "outlived": [], "marked": {}, "scratch": 0},
    ]
    (directory / "journal").write_text("".join(json.dumps(record) + "\n" for record in records))


def report(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, str, str]:
    """Report the soak of a directory; return the status and both outputs."""
    monkeypatch.setattr("sys.argv", ["soak", "--report", str(directory), *options])
    status = main()
    return status, *capsys.readouterr()


def test_a_soak_that_cannot_begin_leaves_no_server(tmp_path: Path) -> None:
    """Whether its journal cannot be opened, or cannot be written."""
    before = children(os.getpid())
    (tmp_path / "one" / "journal").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        SoakRun(tmp_path / "one", 1.0, 1.0, 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "journal").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space"):
        SoakRun(tmp_path / "other", 1.0, 1.0, 1).run()
    started = set(children(os.getpid())) - set(before)
    assert [each for each in started if "twistd" in command_line(each)] == []


def test_a_soak_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In tables, and in charts that a browser can draw."""
    journal(tmp_path)
    status, figures, verdict = report(tmp_path, monkeypatch, capsys)
    assert (status, verdict) == (0, "everything held\n")
    assert "Commit abc, 120 minutes, seed 1" in figures
    assert "| server, memory proportional (PSS), MB" in figures
    assert "+2.0 %" in figures
    assert "| clients that vanished" in figures
    root = ElementTree.parse(tmp_path / "soak.svg").getroot()
    assert "Open descriptors" in [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]


def test_a_page_takes_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The charts are put beside it."""
    journal(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n")
    assert report(tmp_path, monkeypatch, capsys, "--page", str(page))[0] == 0
    assert "(page-measured.svg)" in page.read_text()
    assert page.read_text().endswith("after\n")
    assert (tmp_path / "page-measured.svg").exists()


@pytest.mark.parametrize(
    ("record", "last", "verdict"),
    [
        ({"at": 20, "kind": "loss", "what": "REST, CartPole-v1", "text": "reset"}, None, "loss of REST, CartPole-v1"),
        ({"at": 20, "kind": "fault", "what": "flood", "text": "refused"}, None, "fault of flood: refused"),
        (None, cost(7200, "lull", megabytes=53), "server: rss grew from 50.0 to 53.0 MB"),
        (None, cost(7200, "lull", descriptors=21), "fork server: 20 descriptors became 21"),
        (
            None,
            cost(7200, "lull", quiet=False, left={"7": "sleep"}),
            "something was left after 120 min: {'7': 'sleep'}",
        ),
    ],
    ids=["loss", "fault", "memory", "descriptors", "process"],
)
def test_what_did_not_hold_is_named(
    record: dict[str, Any] | None,
    last: dict[str, Any] | None,
    verdict: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And the status is 1."""
    journal(tmp_path, *([record] if record else []), last=last)
    status, _, errors = report(tmp_path, monkeypatch, capsys)
    assert status == 1
    assert f"FAILED {verdict}" in errors


@pytest.mark.sweep
@pytest.mark.slow
def test_a_short_soak_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not compared: the first minutes fill what is kept."""
    words = ["soak", "--directory", str(tmp_path / "soak"), "--minutes", "1", "--load", "1"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    records = [json.loads(line) for line in (tmp_path / "soak" / "journal").read_text().splitlines()]
    assert [each for each in records if each["kind"] in ("loss", "fault")] == []
    assert all(each["quiet"] for each in records if each["kind"] == "lull")
    assert records[-1]["outlived"] == [] == records[-1]["complaints"]
