"""The file of options."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.python import usage

from gymtwist.server.command_line import Options
from gymtwist.server.server_options import ServerOptions


def read(path: Path, text: str, *words: str) -> ServerOptions:
    """Parse a command line with a file of this text."""
    path.write_text(text)
    options = Options()
    options.parseOptions([f"--config={path}", *words])
    return options.server_options()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a file."""
    return tmp_path / "gymsock.toml"


def test_every_kind_of_option_can_be_in_the_file(path: Path) -> None:
    """Numbers, texts, lists and flags."""
    text = 'port = 5002\nidle-timeout = 2.5\nallow = ["ALE/*", "CartPole-*"]\ndebuggable = true\ndisplay = false'
    options = read(path, text)
    assert options.port.startswith("tcp:5002:")
    assert (options.idle_timeout, options.allow) == (2.5, ("ALE/*", "CartPole-*"))
    assert (options.debuggable, options.display) == (True, False)


def test_the_command_line_goes_before_the_file(path: Path) -> None:
    """A list is taken from one of both alone."""
    options = read(
        path, 'idle-timeout = 2.5\nqueue = 3\nallow = ["a"]\nlisten = ["unix:/s"]', "--idle-timeout=7", "--allow=b"
    )
    assert (options.idle_timeout, options.queue) == (7.0, 3)
    assert (options.allow, options.listen) == (("b",), ("unix:/s:backlog=1024",))


def test_what_the_command_line_overrides_is_checked(path: Path) -> None:
    """The file would fail without it."""
    with pytest.raises(usage.UsageError, match="--idle-timeout x: must be a number of seconds"):
        read(path, 'idle-timeout = "x"', "--idle-timeout=7")


def test_paths_of_the_file_are_relative_to_it(path: Path) -> None:
    """Wherever the server starts."""
    found = path.parent / "setup.py"
    found.write_text("")
    assert read(path, 'setup = "setup.py"').setup == str(found)
    assert read(path, 'session-reads = ["setup.py"]').session_reads == (str(found),)


def test_an_empty_file_changes_nothing(path: Path) -> None:
    """But that there is one."""
    options = read(path, "")
    assert options == ServerOptions(config=str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("idel-timeout = 3", "there is no `idel-timeout`; did you mean `idle-timeout`"),
        ("idle_timeout = 3", "there is no `idle_timeout`; did you mean `idle-timeout`"),
        ("zzz = 3", "there is no `zzz`; there are allow, allow-host, "),
        ("config = 'x'", "there is no `config`"),
        ("help = true", "there is no `help`"),
        ("idle-timeout = 'x'", "--idle-timeout x: must be a number of seconds"),
        ("idle-timeout = true", "`idle-timeout` must be a text or a number"),
        ("idle-timeout = [1]", "`idle-timeout` must be a text or a number"),
        ("allow = 'x'", r"`allow` must be a list of texts"),
        ("allow = [1]", r"`allow` must be a list of texts"),
        ("debuggable = 1", "`debuggable` must be true or false"),
        ("setup = 1", "`setup` must be a text"),
        ("session-writes = ['']", "--session-writes : there is no such file or directory"),
        ("[port]\nx = 1", "`port` must be a text or a number"),
        ("port", "not TOML"),
        ("port = " + 100_000 * "[", "not TOML"),
    ],
)
def test_a_file_that_is_wrong_is_refused(path: Path, text: str, problem: str) -> None:
    """The error names the file, the key and the remedy."""
    with pytest.raises(usage.UsageError, match=f"--config {path}: .*{problem}"):
        read(path, text)


def test_a_command_line_can_be_parsed_again_elsewhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon changes its directory."""
    path.write_text("queue = 3")
    monkeypatch.chdir(path.parent)
    options = Options()
    options.parseOptions(["--config", path.name])
    monkeypatch.chdir("/")
    again = Options()
    again.parseOptions(list(options.words))
    assert again.server_options().queue == 3
