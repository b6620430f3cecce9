"""The command line of the real `twistd`: its help, and how it reports a wrong value."""

from __future__ import annotations

from pathlib import Path

import pytest
import twisted
from twisted.python import usage

from gymtwist import __version__
from gymtwist.server.command_line import Options
from gymtwist.server.server_options import ServerOptions
from tests.support.server_process import run_twistd


def test_the_help_lists_every_option(tmp_path: Path) -> None:
    """`twistd gymsock --help` starts nothing; the unit tests check the texts."""
    ended = run_twistd("gymsock", "--help", directory=tmp_path)
    assert ended.stdout.startswith("Usage: twistd [options] gymsock [options]\n")
    assert ended.returncode == 0
    for name in ServerOptions.__struct_fields__:
        assert f"--{name.replace('_', '-')}" in ended.stdout


def test_a_wrong_value_is_an_error_of_one_line(tmp_path: Path) -> None:
    """The last line names what was wrong; there is no traceback, and twistd fails."""
    ended = run_twistd("-n", "--pidfile=", "gymsock", "--port", "nonsense:5001", directory=tmp_path)
    if twisted.__version__ >= "26.10":  # an earlier twistd prints the error and exits with status 0
        assert ended.returncode != 0
    assert "Traceback" not in ended.stdout
    last = ended.stdout.strip().splitlines()[-1]
    assert "--port nonsense:5001: must be a port number or an endpoint description" in last
    assert len(last) < 300


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--warm", "many"], "--warm many: must be a whole number from 0 to 1000000"),
        (["--nonsense", "1"], "option --nonsense not recognized"),
        (["5001"], "argument"),
    ],
)
def test_what_cannot_be_parsed_is_named(words: list[str], problem: str) -> None:
    """By the error that twistd prints."""
    with pytest.raises(usage.UsageError, match=problem):
        Options().parseOptions(words)


def test_the_version(tmp_path: Path) -> None:
    """It is gymtwist's, not only Twisted's."""
    ended = run_twistd("gymsock", "--version", directory=tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"gymtwist {__version__}, Twisted ")
