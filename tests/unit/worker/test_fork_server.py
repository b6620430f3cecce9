"""The fork server: a real one, driven over a blocking AMP connection."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.python.failure import Failure

from gymtwist.server.worker_starter import popen
from gymtwist.worker import amp_commands, session_status
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.blocking_amp import AMPConnection, BlockingTransport
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import ClassicClient
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, children, descriptors, eventually, left_after
from tests.support.server_process import ENVIRONMENTS


class Server(Link):
    """The server's end: it notes which workers have ended."""

    def __init__(self) -> None:
        """Knows of none."""
        super().__init__()
        self.ended: dict[int, int] = {}

    @amp_commands.Exited.responder
    def exited(self, pid: int, status: int) -> dict[str, Any]:
        """Note the end of a worker."""
        self.ended[pid] = os.waitstatus_to_exitcode(status)
        return {}


class OneByOne(BlockingTransport):
    """Sends each descriptor with a byte of its own, as Twisted's transports do."""

    def write(self, data: bytes) -> None:
        """Send, with the descriptors that belong to the first bytes."""
        for descriptor in self._descriptors:
            socket.send_fds(self._socket, [data[:1]], [descriptor])
            data = data[1:]
        self._descriptors.clear()
        self._socket.sendall(data)


class WorkerProcess:
    """A worker as the test holds it."""

    def __init__(self, pid: int, ours: socket.socket, output: int) -> None:
        """Speaks AMP with it, and reads what it prints."""
        self.pid, self.socket, self.output = pid, ours, output
        self.handle = Handle(pid)
        self.link = Link()
        self.connection = AMPConnection(self.link, ours)

    def serve(self, environment: str) -> ClassicClient:
        """Give it a session; return the client."""
        client, its = socket.socketpair()
        descriptor = session_status.create()
        with its:
            answer: defer.Deferred[Any] = self.link.callRemote(
                amp_commands.Serve,
                session=1,
                protocol=b"classic",
                handshake=handshake(environment),
                trailing_data=b"",
                recovery_reply=b"",
                directory="",
                overrides=b"",
                user=0,
                socket=its.fileno(),
                status=descriptor,
            )
        answer.addErrback(lambda failure: None)
        os.close(descriptor)
        made = ClassicClient(client)
        assert made.read_string() == ""
        return made

    def close(self) -> None:
        """Let go of it."""
        self.socket.close()
        os.close(self.output)


class ForkServer:
    """A fork server process."""

    def __init__(self, directory: Path, setup: Path = ENVIRONMENTS) -> None:
        """Start it, and wait until it has imported everything."""
        self.socket, its = socket.socketpair()
        # A pipe, as the server's is: what the fork server prints to is known not to be a file.
        self.output, output = os.pipe()
        ready, ready_writer = os.pipe()
        settings = WorkerSettings(monitor_root=str(directory), setup=str(setup), debuggable=True)
        with its:
            self.process: subprocess.Popen[bytes] = popen(
                "forkserver", settings, output, amp_descriptor=its.fileno(), ready_descriptor=ready_writer
            )
        os.close(output)
        os.close(ready_writer)
        told = b""
        while not told.strip():  # empty lines are signs of progress
            assert select.select([ready], [], [], PATIENCE)[0]
            told = os.read(ready, 65536)
            assert told, os.read(self.output, 65536).decode()
        os.close(ready)
        self.server = Server()
        self.connection = AMPConnection(self.server, self.socket)
        transport: Any = OneByOne(self.socket)
        self.server.transport = transport
        self.workers: list[WorkerProcess] = []

    def receive_until(self, predicate: Callable[[], object]) -> None:
        """Receive until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not predicate():
            assert select.select([self.socket], [], [], deadline - time.monotonic())[0], "nothing came"
            self.connection.receive()

    def fork(self, count: int = 1) -> list[WorkerProcess]:
        """Ask for workers all at once; return them."""
        asked: list[tuple[list[Any], socket.socket, int]] = []
        self.process.send_signal(signal.SIGSTOP)
        for _ in range(count):
            ours, its = socket.socketpair()
            reader, writer = os.pipe()
            outcome: list[Any] = []
            with its:
                answer: defer.Deferred[Any] = self.server.callRemote(amp_commands.Fork, amp=its.fileno(), output=writer)
            os.close(writer)
            answer.addBoth(outcome.append)
            asked.append((outcome, ours, reader))
        self.process.send_signal(signal.SIGCONT)
        self.receive_until(lambda: all(outcome for outcome, _, _ in asked))
        forked = [WorkerProcess(outcome[0]["pid"], ours, reader) for outcome, ours, reader in asked]
        self.workers += forked
        return forked

    def wait_ended(self, worker: WorkerProcess) -> int:
        """Wait until the fork server tells of a worker's end; return how it ended."""
        self.receive_until(lambda: worker.pid in self.server.ended)
        return self.server.ended[worker.pid]

    def close(self) -> None:
        """End all."""
        for worker in self.workers:
            worker.close()
        self.socket.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.output)


@pytest.fixture(scope="module")
def shared_forkserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """A fork server with the environments of the tests, for those that leave it as it is."""
    made = ForkServer(tmp_path_factory.mktemp("forkserver"))
    yield made
    made.close()


@pytest.fixture
def forkserver(shared_forkserver: ForkServer) -> Iterator[ForkServer]:
    """The same; each test finds it without workers."""
    yield shared_forkserver
    for worker in shared_forkserver.workers:
        worker.close()
        shared_forkserver.wait_ended(worker)
    shared_forkserver.workers.clear()
    eventually(lambda: not children(shared_forkserver.process.pid), PATIENCE)


@pytest.fixture
def own_forkserver(tmp_path: Path) -> Iterator[ForkServer]:
    """A fork server of the test's own."""
    made = ForkServer(tmp_path)
    yield made
    made.close()


def test_a_worker_is_forked(forkserver: ForkServer) -> None:
    """It is a child process of the fork server, and serves."""
    (worker,) = forkserver.fork()
    assert children(forkserver.process.pid) == {worker.pid}
    with worker.serve("CartPole-v1") as client:
        client.play(20)


def test_workers_that_are_started_together_share_nothing(forkserver: ForkServer) -> None:
    """Each has its own link and output, and no descriptor of another or of the fork server."""
    several = forkserver.fork(5)
    assert len({worker.pid for worker in several}) == 5
    for worker in several:
        with worker.serve("CartPole-v1") as client:
            client.play(1)
            sockets = [each for each in descriptors(worker.pid) if each.startswith("socket:")]
            assert len(sockets) == 2  # its link and its client
            assert not [each for each in descriptors(worker.pid) if "eventpoll" in each]


def test_the_fork_server_keeps_no_descriptor_of_a_worker(forkserver: ForkServer) -> None:
    """However many it forks."""
    forkserver.fork()  # it has all that it keeps for itself, then
    before = len(descriptors(forkserver.process.pid))
    for worker in forkserver.fork(5):
        worker.serve("CartPole-v1").close()
    assert len(descriptors(forkserver.process.pid)) == before


@pytest.mark.parametrize(("environment", "exit_code"), [
    ("Fault/SegfaultInStep-v0", -signal.SIGSEGV),
    ("Fault/ExitInStep-v0", 3),
])  # fmt: skip
def test_the_end_of_a_worker_is_reported(forkserver: ForkServer, environment: str, exit_code: int) -> None:
    """With its status."""
    (worker,) = forkserver.fork()
    with worker.serve(environment) as client:
        client.reset()
        client.send(b"\1\0\1\0\0\0" + b"0")
        assert forkserver.wait_ended(worker) == exit_code


def test_a_killed_worker_is_reported(forkserver: ForkServer) -> None:
    """By its number; others live on."""
    one, two = forkserver.fork(2)
    one.handle.kill()
    assert forkserver.wait_ended(one) == -signal.SIGKILL
    with two.serve("CartPole-v1") as client:
        client.play(1)
    assert two.pid not in forkserver.server.ended


def test_an_idle_worker_ends_with_its_link(forkserver: ForkServer) -> None:
    """As when the server lets go of it before the Fork is answered."""
    (worker,) = forkserver.fork()
    worker.socket.shutdown(socket.SHUT_RDWR)
    assert forkserver.wait_ended(worker) in (0, -signal.SIGKILL)


def littered(worker: WorkerProcess) -> tuple[ClassicClient, list[Handle]]:
    """Have an environment leave a plain process, one in a session of its own, and a daemon behind."""
    client = worker.serve("Fault/LeaveChildren-v0")
    client.reset()
    info = client.step(0).info
    return client, [Handle(info[name]) for name in ("plain", "apart", "daemon")]


def test_processes_of_a_worker_end_with_it(forkserver: ForkServer) -> None:
    """Background processes, processes in sessions of their own, and daemons; another worker's stay."""
    one, two = forkserver.fork(2)
    client, left = littered(one)
    other_client, others = littered(two)
    client.close()
    one.link.callRemote(amp_commands.Shutdown).addErrback(lambda failure: None)
    forkserver.wait_ended(one)
    assert not left_after(left, PATIENCE)
    assert left_after(others, 0.2) == others
    other_client.close()


def test_processes_of_a_killed_worker_end_with_it(forkserver: ForkServer) -> None:
    """It had no chance to clean up."""
    (worker,) = forkserver.fork()
    client, left = littered(worker)
    worker.handle.kill()
    forkserver.wait_ended(worker)
    assert not left_after(left, PATIENCE)
    eventually(lambda: not children(forkserver.process.pid), PATIENCE)
    client.close()


@pytest.mark.parametrize("end", ["the server is killed", "it is told"])
def test_nothing_outlives_the_fork_server(own_forkserver: ForkServer, end: str) -> None:
    """Neither its workers nor what these left behind."""
    forkserver = own_forkserver
    (worker,) = forkserver.fork()
    client, left = littered(worker)
    if end == "it is told":
        forkserver.server.callRemote(amp_commands.Shutdown).addErrback(lambda failure: None)
    else:
        forkserver.socket.shutdown(socket.SHUT_RDWR)
        worker.socket.shutdown(socket.SHUT_RDWR)
    assert forkserver.process.wait(PATIENCE) == 0
    assert not left_after([worker.handle, *left], PATIENCE)
    client.close()


def test_what_the_operator_started_stays(tmp_path: Path) -> None:
    """A setup file may start a virtual display: the end of a session is not its end."""
    setup = tmp_path / "setup.py"
    setup.write_text(
        "import pathlib, subprocess\n"
        "display = subprocess.Popen(['sleep', '1000'])\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(display.pid))\n"
    )
    forkserver = ForkServer(tmp_path, setup)
    display = Handle(int((tmp_path / "pid").read_text()))
    try:
        (worker,) = forkserver.fork()
        worker.handle.kill()
        forkserver.wait_ended(worker)
        assert not display.wait(0.2)
    finally:
        forkserver.close()
        display.kill()


def test_a_fork_that_fails_is_an_error(own_forkserver: ForkServer) -> None:
    """Its descriptors are closed, and the fork server lives on."""
    forkserver = own_forkserver
    if os.getuid() == 0:
        pytest.skip("the number of root's processes has no limit")
    pid = forkserver.process.pid
    before = len(descriptors(pid))
    resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
    outcome: list[Any] = []
    ours, its = socket.socketpair()
    with ours, its:
        answer: defer.Deferred[Any] = forkserver.server.callRemote(
            amp_commands.Fork, amp=its.fileno(), output=its.fileno()
        )
        answer.addBoth(outcome.append)
        forkserver.receive_until(lambda: outcome)
    assert isinstance(outcome[0], Failure)
    assert outcome[0].check(OSError)
    assert len(descriptors(pid)) == before


def test_a_worker_is_killed_on_request(forkserver: ForkServer) -> None:
    """By its number; one that has ended, or never was a worker, is left alone."""
    one, other = forkserver.fork(2)
    for pid in (one.pid, os.getpid()):
        forkserver.server.callRemote(amp_commands.Kill, pid=pid)
    assert forkserver.wait_ended(one) == -signal.SIGKILL
    forkserver.server.callRemote(amp_commands.Kill, pid=one.pid)
    with other.serve("CartPole-v1") as client:
        client.play(1)


def test_what_the_setup_file_started_ends_with_the_fork_server(tmp_path: Path) -> None:
    """Also in a session of its own, and deaf to being asked."""
    (tmp_path / "setup.py").write_text(
        "import subprocess\n"
        "subprocess.Popen(['sleep', '1000'])\n"
        "subprocess.Popen(['sh', '-c', 'trap \"\" TERM; while :; do sleep 1; done'], start_new_session=True)\n"
    )
    forkserver = ForkServer(tmp_path, tmp_path / "setup.py")
    handles = [Handle(worker) for worker in children(forkserver.process.pid)]
    assert len(handles) == 2
    try:
        (worker,) = forkserver.fork()
        with worker.serve("CartPole-v1") as client:
            client.play(1)
        forkserver.close()
        assert not left_after(handles, PATIENCE)
    finally:
        for handle in handles:
            handle.kill()


def test_a_default_timeout_for_sockets_is_not_for_the_links(tmp_path: Path) -> None:
    """A setup file may set one, for what its environments talk to."""
    (tmp_path / "setup.py").write_text("import socket\nsocket.setdefaulttimeout(0.05)\n")
    forkserver = ForkServer(tmp_path, tmp_path / "setup.py")
    try:
        (worker,) = forkserver.fork()
        time.sleep(0.3)
        with worker.serve("CartPole-v1") as client:
            client.play(1)
    finally:
        forkserver.close()


@pytest.mark.parametrize("role", ["forkserver", "worker", "check"])
def test_a_setup_file_that_hangs_ends_with_the_server(tmp_path: Path, role: str) -> None:
    """Nobody listens to the link yet; the kernel tells of the server's death."""
    (tmp_path / "setup.py").write_text("import time\nprint('hangs', flush=True)\ntime.sleep(1000)\n")
    settings = WorkerSettings(monitor_root=str(tmp_path), setup=str(tmp_path / "setup.py"))
    script = (
        "import sys, time\n"
        "from gymtwist.worker.worker_settings import WorkerSettings\n"
        "from gymtwist.server.worker_starter import popen\n"
        "print(popen(sys.argv[1], WorkerSettings.from_argument(sys.argv[2]), 1).pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    words = [sys.executable, "-c", script, role, settings.to_argument()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        handle = Handle(int(server.stdout.readline()))
        assert "hangs" in server.stdout.readline()
        server.kill()
        assert not left_after([handle], PATIENCE)
