"""The service: what starts, and in which order everything stops."""

from __future__ import annotations

import gc
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from twisted.internet import defer
from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface.verify import verifyObject

from gymtwist.errors import HandshakeError, WorkerStartError
from gymtwist.server.gym_service import GymService
from gymtwist.server.ports import CannotStart, Endpoint
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.session_events import Refused
from tests.support.harness import FakeStarter, Log, SteppedReactor, soon
from tests.support.patience import PATIENCE


class Server:
    """A service with fake workers that listens on a UNIX socket."""

    def __init__(self, directory: Path, control: Path | None = None) -> None:
        """Have not started."""
        self.log = Log()
        self.reactor = SteppedReactor()
        self.path = str(directory / "gymsock")
        self.starter = FakeStarter(self.reactor)
        options = ServerOptions(port=f"unix:{self.path}", warm=2, control=None if control is None else str(control))
        self.service = GymService(self.reactor, options, self.starter)

    def start(self) -> None:
        """Start as twistd does."""
        self.service.privilegedStartService()
        self.service.startService()

    def turn(self) -> None:
        """Let the server and its workers act."""
        self.reactor.turn()
        for process in self.starter.alive:
            process.listen()

    def connect(self) -> socket.socket:
        """Connect a client."""
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        soon(lambda: self.service.factory.connections, self.turn)
        return client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that has not started."""
    server = Server(tmp_path)
    yield server
    server.reactor.close()
    server.log.close()


def test_it_starts_workers_and_says_where_it_listens(server: Server) -> None:
    """Ports are opened first, while the process is still privileged."""
    server.service.privilegedStartService()
    assert Path(server.path).exists()
    assert not server.starter.alive
    server.service.startService()
    assert len(server.starter.alive) == 2
    assert server.log.having(f"Listening on unix:{server.path}")
    server.service.stopService()
    soon(lambda: not server.starter.alive, server.turn)


def test_a_stop_closes_the_port_then_drains_then_ends_the_workers(server: Server) -> None:
    """One after the other: those who play go on for the time of the drain, and have their workers meanwhile."""
    server.start()
    stopped: list[object] = []
    with closing(server.connect()):
        server.service.stopService().addCallback(stopped.append)
        server.turn()
        assert not Path(server.path).exists()
        assert server.log.having("Stopping: 1 connection may go on for 10 s")
        assert len(server.starter.alive) == 2
        server.reactor.advance(9.0)
        assert server.service.factory.connections
        server.reactor.advance(1.1)
    soon(lambda: stopped, server.turn)
    assert not server.starter.alive
    assert not server.service.running


def test_what_was_not_logged_is_counted_at_the_end(server: Server) -> None:
    """One address cannot fill the log, and the last line about that does not get lost."""
    server.start()
    for _ in range(30):
        server.service.factory.events.publish(Refused("127.0.0.1:5", HandshakeError("garbage")))
    assert len(server.log.having("refused 127.0.0.1:5: garbage")) == 20
    stopped: list[object] = []
    server.service.stopService().addCallback(stopped.append)
    soon(lambda: stopped, server.turn)
    assert server.log.having("more of 127.0.0.1, not logged: 10 refusals")


def test_memory_is_measured_in_a_thread_of_its_own(server: Server) -> None:
    """Neither in the reactor's, which serves clients, nor in one that removes directories; it ends with the server."""
    server.start()
    measured: list[str] = []
    server.service.factory.in_thread(lambda: threading.current_thread().name).addCallback(measured.append)
    soon(lambda: measured, server.turn)
    assert "memory" in measured[0]
    stopped: list[object] = []
    server.service.stopService().addCallback(stopped.append)
    soon(lambda: stopped, server.turn)
    assert measured[0] not in {each.name for each in threading.enumerate()}


def test_a_port_that_is_taken_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    """With the description of the endpoint; the service of the endpoint would log it and go on."""
    server.service.privilegedStartService()
    other = Server(tmp_path)
    with pytest.raises(CannotStart, match=f"gymsock cannot listen on unix:{server.path}"):
        other.service.privilegedStartService()
    other.log.close()
    other.reactor.close()


def test_a_control_socket_that_is_taken_is_an_error_at_once(tmp_path: Path) -> None:
    """As any other; its path may have any characters."""
    path = tmp_path / "a:b=c\\"
    first, second = Server(tmp_path, path), Server(tmp_path / "..", path)
    first.service.privilegedStartService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(CannotStart, match=r"gymsock cannot listen on unix:.*mode=600"):
        second.service.privilegedStartService()
    for each in (first, second):
        each.log.close()
        each.reactor.close()


class RaisingEndpoint:
    """An endpoint that raises an error instead of returning it."""

    def listen(self, protocolFactory: object) -> defer.Deferred[object]:
        """Raise it."""
        raise OSError("there is no such device")


def test_an_endpoint_that_raises_is_an_error_at_once(server: Server) -> None:
    """As one that returns the error, which Twisted's own do."""
    server.service._endpoints[0]._endpoint = RaisingEndpoint()
    with pytest.raises(CannotStart, match=r"gymsock cannot listen on .*: there is no such device"):
        server.service.privilegedStartService()


class PendingEndpoint:
    """An endpoint that does not open its port."""

    def listen(self, protocolFactory: object) -> defer.Deferred[object]:
        """Wait until it is cancelled."""
        return defer.Deferred()


def test_a_stop_before_a_port_is_open_logs_no_failure(server: Server) -> None:
    """Nor the startup banner, which needs the addresses of all ports."""
    server.service._endpoints[0]._endpoint = PendingEndpoint()
    server.start()
    stopped: list[object] = []
    server.service.stopService().addCallback(stopped.append)
    soon(lambda: stopped, server.turn)
    gc.collect()  # Twisted reports a failure when its deferred is collected
    assert "Unhandled error in Deferred:" not in server.log.others
    assert not server.log.having("Listening on")


def test_workers_that_cannot_start_are_an_error(server: Server) -> None:
    """Of one line."""
    server.starter.import_error = WorkerStartError("the setup file is broken")
    with pytest.raises(CannotStart, match="gymsock cannot start: the setup file is broken"):
        server.start()


def test_an_endpoint_is_one_of_twisteds(server: Server) -> None:
    """So that Twisted's own service starts and stops it."""
    assert verifyObject(IStreamServerEndpoint, Endpoint(server.reactor, "tcp:0", server.service.factory.events, print))


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, int(sys.argv[1])))
from gymtwist.server.gym_service import GymService
from gymtwist.server.server_options import ServerOptions
from tests.support.harness import FakeStarter, SteppedReactor
reactor = SteppedReactor()
options = ServerOptions(port=f"unix:{sys.argv[2]}", max_sessions=8, warm=2, queue=4)
service = GymService(reactor, options, FakeStarter(reactor))
service.privilegedStartService()
print(service.factory.limit.total, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(("descriptors", "connections"), [(4000, 512), (428, 150), (300, 86), (150, 64)])
def test_connections_without_a_session_leave_descriptors_to_those_with_one(
    tmp_path: Path, descriptors: int, connections: int
) -> None:
    """What is kept back is for sessions, idle workers and the queue; with fewer than 64 nobody could enter."""
    ended = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(descriptors), str(tmp_path / "gymsock")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    total, limit = map(int, ended.stdout.split())
    reserved = 6 * 10 + 4 + 64
    assert total == max(64, min(512, (descriptors - reserved) // 2)) == connections
    assert limit == min(descriptors, reserved + 1024)
