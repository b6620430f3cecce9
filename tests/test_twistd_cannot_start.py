"""A server that cannot start: the operator is told why, in the foreground and by a daemon that was to be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .server import ANY_PORT, run_twistd


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_that_is_taken_ends_the_server(tmp_path: Path, taken_port: int) -> None:
    """The port and the reason are named, without a traceback of the server."""
    ended = run_twistd("-n", "--pidfile=", "gymsock", "--port", str(taken_port), directory=tmp_path)
    assert ended.returncode == 1
    assert f"gymsock cannot listen on tcp:{taken_port}" in ended.stdout
    assert "in use" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_a_daemon_whose_port_is_taken_ends(tmp_path: Path, taken_port: int) -> None:
    """The twistd that was to leave a daemon behind does not wait for it, and leaves no pid file."""
    ended = run_twistd("--pidfile=g.pid", "--logfile=g.log", "gymsock", "--port", str(taken_port), directory=tmp_path)
    assert ended.returncode == 1
    assert f"gymsock cannot listen on tcp:{taken_port}" in ended.stdout
    assert not (tmp_path / "g.pid").exists()


def test_a_daemon_whose_setup_fails_ends(tmp_path: Path) -> None:
    """It says what the file raised."""
    (tmp_path / "setup.py").write_text('raise ValueError("the environments are gone")\n')
    ended = run_twistd(
        *("--pidfile=g.pid", "--logfile=g.log", "gymsock", "--port", ANY_PORT, "--setup", "setup.py"),
        directory=tmp_path,
    )
    assert ended.returncode == 1
    assert "gymsock cannot start" in ended.stdout
    assert "the environments are gone" in ended.stdout + (tmp_path / "g.log").read_text()
    assert not (tmp_path / "g.pid").exists()


def test_setup_that_fails_with_spawn_ends_the_server(tmp_path: Path) -> None:
    """Where each child is an interpreter of its own, one of them tries the file before the server serves."""
    (tmp_path / "setup.py").write_text('raise ValueError("the environments are gone")\n')
    ended = run_twistd(
        *("-n", "--pidfile=", "gymsock", "--port", ANY_PORT, "--setup", "setup.py", "--start-method", "spawn"),
        directory=tmp_path,
    )
    assert ended.returncode == 1
    assert "the environments are gone" in ended.stdout
