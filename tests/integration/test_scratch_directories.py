"""Each session works in a directory of its own, of which nothing is left however the session ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gymtwist_conformance.reference_client import INT32, Failed, FramedClient
from gymtwist_conformance.reference_client.classic_client import step
from tests.conftest import Start
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import ServerProcess, connected

SETUP = """
import os, signal
import gymnasium
from tests.support.plain_environment import Plain

class Writing(Plain):
    def __init__(self, render_mode=None):
        super().__init__(render_mode)
        import found_beside
        os.makedirs("deep/er", exist_ok=True)
        with open("deep/er/log.txt", "a") as log:
            log.write("made\\n")

    def act(self, action):
        if action:
            os.kill(os.getpid(), signal.SIGSEGV)
        with open("deep/er/log.txt") as log:
            return {"directory": os.getcwd(), "made": len(log.readlines())}

gymnasium.register("Writing-v0", entry_point=Writing)
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The system's directory for temporary files."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


@pytest.fixture
def run(start: Start, tmp_path: Path, scratch: Path) -> Callable[..., ServerProcess]:
    """Start servers, in a directory with a module that is imported in sessions."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "found_beside.py").touch()
    setup = tmp_path / "setup.py"
    setup.write_text(SETUP)
    return lambda *options: start(*options, directory=home, setup=setup, changes={"TMPDIR": str(scratch)})


def told(client: FramedClient) -> tuple[Path, int]:
    """Return the directory of a session, and how often the environment was made there."""
    client.reset()
    info = client.step(0).info
    return Path(info["directory"]), info["made"]


def crash(server: ServerProcess) -> None:
    """Let a session crash that no other process resumes, and check that its directory is removed."""
    with server.open("Writing-v0") as client:
        client.reset()
        directory = Path(client.step(0).info["directory"])
        assert directory.exists()
        client.send(step(1))
        client.wait_closed()
    eventually(lambda: not directory.exists(), PATIENCE, "the end of the directory")


def test_a_session_works_in_a_directory_of_its_own(
    run: Callable[..., ServerProcess], tmp_path: Path, scratch: Path
) -> None:
    """Which its next process has after a crash, and which is gone when the client leaves; imports go on as before.

    The server removes the directory of a process that cannot.
    """
    server = run()
    address = ("127.0.0.1", server.port)
    with FramedClient(connected(address), INT32) as client, FramedClient(connected(address), INT32) as other:
        client.make("Writing-v0")
        other.make("Writing-v0")
        (directory, made), (another, _) = told(client), told(other)
        assert directory != another
        assert directory.is_relative_to(scratch)
        assert (directory.stat().st_mode & 0o777, made) == (0o700, 1)
        with pytest.raises(Failed, match="SIGSEGV"):
            client.step(1)
        assert told(client) == (directory, 2)
    eventually(lambda: not directory.exists() and not another.exists(), PATIENCE, "the end of both directories")
    crash(server)
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name != "__pycache__"] == ["found_beside.py"]
    server.stop()
    assert not list(scratch.iterdir())


def test_nothing_is_left_of_a_killed_server(run: Callable[..., ServerProcess], scratch: Path) -> None:
    """The next one removes it, and not what belongs to a server that runs, whose workers are fresh interpreters."""
    killed, running = run(), run("--start-method", "spawn", "--warm", "1")
    crash(running)
    with killed.open("Writing-v0") as client, running.open("Writing-v0") as other:
        client.reset()
        other.reset()
        left = Path(client.step(0).info["directory"])
        killed.track()
        killed.process.send_signal(signal.SIGKILL)
        client.wait_closed()
        assert left.exists()
        with run().open("Writing-v0") as newcomer:
            newcomer.reset()
            newcomer.step(0)
            eventually(lambda: not left.parent.exists(), PATIENCE, "the end of what was left")
            assert Path(other.step(0).info["directory"]).exists()
