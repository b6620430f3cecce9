"""A server that cannot start: the operator is told why, in the foreground and by a daemon that was to be."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually
from tests.support.server_process import ANY_PORT, run_twistd, twistd, variables


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def start_in_vain(directory: Path, *options: str, port: str = ANY_PORT) -> str:
    """Start a server in the foreground that fails, and return its output."""
    ended = run_twistd("-n", "--pidfile=", "gymsock", "--port", port, *options, directory=directory)
    assert ended.returncode == 1
    return ended.stdout


def test_a_port_that_is_taken_ends_the_server(tmp_path: Path, taken_port: int) -> None:
    """The port and the reason are named, without a traceback of the server."""
    printed = start_in_vain(tmp_path, port=str(taken_port))
    assert f"gymsock cannot listen on tcp:{taken_port}" in printed
    assert "in use" in printed
    assert printed.count(str(taken_port)) == 1
    assert "Traceback" not in printed


def test_a_daemon_whose_port_is_taken_ends(tmp_path: Path, taken_port: int) -> None:
    """The twistd that was to leave a daemon behind does not wait for it, and leaves no pid file."""
    ended = run_twistd("--pidfile=g.pid", "--logfile=g.log", "gymsock", "--port", str(taken_port), directory=tmp_path)
    assert ended.returncode == 1
    assert f"gymsock cannot listen on tcp:{taken_port}" in ended.stdout
    # What was started in the background removes the file after twistd has been told, and has ended.
    eventually(lambda: not (tmp_path / "g.pid").exists(), PATIENCE, "the end of the daemon")


def test_a_port_that_cannot_be_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Whatever the endpoint raises."""
    printed = start_in_vain(tmp_path, port="tcp:99999")
    assert "gymsock cannot listen on tcp:99999" in printed
    assert "port must be 0-65535" in printed
    assert "Traceback" not in printed


LATE = """
from twisted.internet import defer, task
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

@implementer(IPlugin, IStreamServerEndpointStringParser, IStreamServerEndpoint)
class Late:
    prefix = "late"

    def parseStreamServer(self, reactor, *arguments):
        self.reactor = reactor
        return self

    def listen(self, factory):
        return task.deferLater(self.reactor, 0, defer.fail, OSError("the network is gone"))

parser = Late()
"""


def test_a_port_that_cannot_be_opened_later_ends_the_server(tmp_path: Path) -> None:
    """As some endpoints find out when the server runs already: it stops in order, and its status shows a failure."""
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "late_endpoint.py").write_text(LATE)
    path = os.pathsep.join((str(tmp_path), variables()["PYTHONPATH"]))
    ended = run_twistd(
        *("-n", "--pidfile=g.pid", "gymsock", "--port", "late:x", "--listen", ANY_PORT),
        directory=tmp_path,
        changes={"PYTHONPATH": path},
    )
    assert ended.returncode == 1
    (line,) = (line for line in ended.stdout.splitlines() if "the network is gone" in line)
    assert "gymsock cannot listen on late:x: the network is gone; stopping" in line
    assert "Server Shut Down" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert "Listening on" not in ended.stdout
    assert not (tmp_path / "g.pid").exists()


def test_a_working_directory_that_is_gone_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Before anything looks for files there."""
    (tmp_path / "gone").mkdir()
    ended = subprocess.run(
        ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *twistd(), "-n", "gymsock", "--setup", "setup.py"],
        cwd=tmp_path / "gone",
        env=variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    printed = ended.stdout + ended.stderr
    assert printed.strip().endswith("the working directory was removed; start in one that exists")
    assert "Traceback" not in printed


@pytest.fixture
def setup_file(tmp_path: Path) -> str:
    """The name of a setup file that raises."""
    (tmp_path / "setup.py").write_text('raise ValueError("the environments are gone")\n')
    return "setup.py"


def test_a_daemon_whose_setup_fails_ends(tmp_path: Path, setup_file: str) -> None:
    """It reports what the setup file raised, and where."""
    ended = run_twistd(
        *("--pidfile=g.pid", "--logfile=g.log", "gymsock", "--port", ANY_PORT, "--setup", setup_file),
        directory=tmp_path,
    )
    assert ended.returncode == 1
    assert "gymsock cannot start" in ended.stdout
    # What was started in the background writes its log after twistd has been told, and has ended.

    def told(said: str) -> bool:
        return said in ended.stdout + (tmp_path / "g.log").read_text()

    eventually(lambda: told("setup.py") and told("the environments are gone"), PATIENCE, "what the file raised")
    eventually(lambda: not (tmp_path / "g.pid").exists(), PATIENCE, "the end of the daemon")


def test_a_setup_file_that_raises_ends_the_server(tmp_path: Path, setup_file: str) -> None:
    """A server without its environments is of no use: it says why and where, and with `spawn` it finds out, too."""
    printed = start_in_vain(tmp_path, "--setup", setup_file, "--start-method", "spawn")
    assert "the environments are gone" in printed
    assert "setup.py" in printed


def test_a_setup_file_that_exits_ends_the_server(tmp_path: Path) -> None:
    """sys.exit and worse in the setup file do not leave a server behind that waits forever."""
    (tmp_path / "setup.py").write_text("import os\nos._exit(5)\n")
    assert "--setup" in start_in_vain(tmp_path, "--setup", "setup.py")


def test_a_missing_preload_module_ends_the_server(tmp_path: Path) -> None:
    """The message names the module."""
    assert "no_such_module" in start_in_vain(tmp_path, "--preload", "no_such_module")
