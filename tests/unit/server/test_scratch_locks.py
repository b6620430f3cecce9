"""The directories that sessions work in, as the server keeps them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from gymtwist.server import scratch_directories
from gymtwist.server.scratch_directories import ScratchDirectories


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScratchDirectories]:
    """Those of one server."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    scratch = ScratchDirectories(Clock())
    yield scratch
    scratch.close()


def test_a_lock_is_closed_once(scratch: ScratchDirectories, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be that of a client's socket by then."""
    shutil.rmtree(Path(scratch.make(1)).parent)

    def refuse(directory: Path) -> int:
        raise BlockingIOError

    with monkeypatch.context() as patch:
        patch.setattr(scratch_directories, "_locked", refuse)
        with pytest.raises(BlockingIOError):
            scratch.make(2)
    other, end = os.pipe()
    os.write(end, b"x")
    for path in Path(tempfile.gettempdir()).iterdir():
        path.rmdir()
    assert Path(scratch.make(3)).is_dir()
    assert os.read(other, 1) == b"x"
    os.close(other)
    os.close(end)


def test_another_server_that_starts_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not take a directory that is about to be locked for one that was left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours, other = ScratchDirectories(Clock()), ScratchDirectories(Clock())
    mkdtemp = tempfile.mkdtemp

    def interrupted(prefix: str) -> str:
        """Makes the directory; another server removes what it finds unlocked."""
        monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
        made = mkdtemp(prefix=prefix)
        other.make(1)
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", interrupted)
    assert Path(ours.make(1)).is_dir()
    ours.close()
    other.close()
