"""The command line: every option explains itself, and every wrong value is an error of one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.server_process import run_twistd

OPTIONS = [
    "port",
    "listen",
    "warm",
    "max-sessions",
    "queue",
    "opening-timeout",
    "idle-timeout",
    "step-timeout",
    "drain",
    "keepalive",
    "memory-limit",
    "preload",
    "setup",
    "allow",
    "monitor-root",
    "display",
    "seed",
    "start-method",
]

WRONG = [
    ("--port", "70000"),
    ("--port", "-1"),
    ("--port", "soon"),
    ("--port", "nonsense:5001"),
    ("--port", ""),
    ("--listen", "nonsense:5001"),
    ("--listen", "ssl:0:privateKey=/does/not/exist.pem"),
    ("--warm", "-1"),
    ("--warm", "many"),
    ("--max-sessions", "0"),
    ("--max-sessions", "1.5"),
    ("--queue", "-1"),
    ("--opening-timeout", "soon"),
    ("--opening-timeout", "-1"),
    ("--opening-timeout", "nan"),
    ("--idle-timeout", "-1"),
    ("--step-timeout", "soon"),
    ("--drain", "-5"),
    ("--keepalive", "never"),
    ("--memory-limit", "-1"),
    ("--memory-limit", "lots"),
    ("--setup", "/does/not/exist.py"),
    ("--monitor-root", "/does/not/exist"),
    ("--seed", "one"),
    ("--start-method", "thread"),
    ("--nonsense", "1"),
]


@pytest.fixture(scope="module")
def help_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What `twistd gymsock --help` prints, on a wide screen."""
    ended = run_twistd("gymsock", "--help", directory=tmp_path_factory.mktemp("help"), changes={"COLUMNS": "1000"})
    assert ended.returncode == 0
    return ended.stdout


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_a_help_text(help_text: str, option: str) -> None:
    """A newcomer understands what it is for."""
    found = re.search(rf"^ *(-\w, )?--{option}=? +(.*)$", help_text, re.MULTILINE)
    assert found, f"--{option} is not in the help"
    words = re.sub(r"\[default.*", "", found.group(2)).split()
    assert len(words) >= 4, found.group(0)


@pytest.mark.parametrize(("option", "value"), WRONG, ids=[" ".join(words) for words in WRONG])
def test_a_wrong_value_is_an_error_of_one_line(tmp_path: Path, option: str, value: str) -> None:
    """The last line names what was wrong; there is no traceback, and twistd fails."""
    ended = run_twistd("-n", "--pidfile=", "gymsock", option, value, directory=tmp_path)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout
    last = ended.stdout.strip().splitlines()[-1]
    assert option.lstrip("-") in last or (value and value in last), last
    assert len(last) < 300


def test_an_argument_too_many_is_an_error_of_one_line(tmp_path: Path) -> None:
    """A forgotten -- before a word is not taken for anything else."""
    ended = run_twistd("-n", "--pidfile=", "gymsock", "5001", directory=tmp_path)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout
    assert "argument" in ended.stdout.strip().splitlines()[-1]
