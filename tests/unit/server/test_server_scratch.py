"""The directories that sessions work in, as the server keeps them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gymtwist.server import scratch_directories
from gymtwist.server.scratch_directories import PREFIX, ScratchDirectories
from gymtwist.worker.session_users import SessionUsers
from tests.support.connection_fixtures import serving
from tests.support.harness import Harness, Log, SteppedReactor


@pytest.fixture
def reactor() -> Iterator[SteppedReactor]:
    """The reactor of one server."""
    reactor = SteppedReactor()
    yield reactor
    reactor.close()


@pytest.fixture
def scratch(tmp_path: Path, reactor: SteppedReactor, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScratchDirectories]:
    """Those of one server."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = ScratchDirectories(reactor)
    yield scratch
    scratch.close()


def test_without_a_directory_for_them_sessions_have_none(
    scratch: ScratchDirectories, reactor: SteppedReactor, tmp_path: Path
) -> None:
    """They are served all the same; the log has a line, and the number of further ones."""
    tmp_path.rmdir()
    log = Log()
    assert [scratch.make(number) for number in range(1, 101)] == [""] * 100
    scratch.remove("")
    assert len(log.lines) == 1
    assert f"{tmp_path}" in log.lines[0]
    assert "session 1 works in the server's directory" in log.lines[0]
    reactor.advance(1.0)
    assert log.lines[1:] == ["More without a scratch directory, not logged: 99 sessions"]
    log.close()
    tmp_path.mkdir()
    assert Path(scratch.make(101)).is_dir()


def test_a_user_is_kept_for_sessions_that_began_from_snapshots(tmp_path: Path, reactor: SteppedReactor) -> None:
    """They run as that user, whatever became of the session that was there first; another one must not get it."""
    users = SessionUsers(range(1000, 1004), tmp_path / "users")
    users.open()
    scratch = ScratchDirectories(reactor, users)
    first = scratch.user("first")
    scratch.share_users("branch", "first")
    scratch.share_users("twig", "branch")
    scratch.user("branch")
    for path in ("first", "branch"):
        scratch.remove(path)
        others = [scratch.user("other"), scratch.user("another")]
        assert first not in others
        scratch.remove("other")
        scratch.remove("another")
    scratch.remove("twig")
    assert {scratch.user(name) for name in "abcd"} == {1000, 1001, 1002, 1003}


def test_a_client_is_served_without_a_directory(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is not told of one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    harness.factory.scratch = ScratchDirectories(harness.reactor)
    client, process = serving(harness)
    assert process.job["directory"] == ""
    client.close()


def test_what_was_left_is_removed_in_a_thread(
    scratch: ScratchDirectories, reactor: SteppedReactor, tmp_path: Path
) -> None:
    """It may take long, so no session waits for it; what a server uses stays."""
    left = tmp_path / f"{PREFIX}left"
    (left / "1").mkdir(parents=True)
    scratch.start()
    own = Path(scratch.make(1))
    assert left.exists()
    reactor.turn()
    assert own.is_dir()
    assert [each.name for each in tmp_path.iterdir()] == [own.parent.name]


def test_a_lock_is_closed_once(scratch: ScratchDirectories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be that of a client's socket by then."""
    shutil.rmtree(Path(scratch.make(1)).parent)

    def refuse(directory: Path) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(scratch_directories, "_locked", refuse)
        assert scratch.make(2) == ""
    other, end = os.pipe()
    os.write(end, b"x")
    for path in Path(tempfile.gettempdir()).iterdir():
        path.rmdir()
    assert Path(scratch.make(3)).is_dir()
    assert os.read(other, 1) == b"x"
    os.close(other)
    os.close(end)


def test_another_server_that_starts_meanwhile(
    scratch: ScratchDirectories, reactor: SteppedReactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Does not take a directory that is about to be locked for one that was left behind."""
    mkdtemp = tempfile.mkdtemp

    def interrupted(prefix: str) -> str:
        """Make the directory; another server removes what it finds unlocked."""
        monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
        made = mkdtemp(prefix=prefix)
        ScratchDirectories(reactor).start()
        reactor.turn()
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    assert Path(scratch.make(1)).is_dir()
