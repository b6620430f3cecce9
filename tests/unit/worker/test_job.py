"""Both ends of AMP: a real worker process at one, the server's verbs at the other, a real session between them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import defer
from twisted.internet.interfaces import ITransport, IUNIXTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyClass

from gymtwist.server.worker_starter import popen
from gymtwist.worker import amp_commands, session_status
from gymtwist.worker.amp_commands import Link
from gymtwist.worker.blocking_amp import AMPConnection, BlockingTransport
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client import ClassicClient
from gymtwist_conformance.reference_client.classic_client import handshake, space, step
from tests.support.patience import PATIENCE

CARTPOLE = handshake("CartPole-v1")


class WorkerProtocol:
    """A worker process, and the server's end of AMP with it."""

    def __init__(self, directory: Path) -> None:
        """Start it."""
        ours, its = socket.socketpair()
        self.output = directory / "output"
        settings = WorkerSettings(monitor_root=str(directory), seed=1)
        with its, self.output.open("wb") as output:
            self.process: subprocess.Popen[bytes] = popen(
                "worker", settings, output.fileno(), amp_descriptor=its.fileno()
            )
        self.socket = ours
        self.link = Link()
        self.connection = AMPConnection(self.link, ours)

    def serve(self, given: socket.socket, trailing_data: bytes = b"", message: bytes = CARTPOLE) -> list[Any]:
        """Give it a session; return what becomes of it."""
        descriptor = session_status.create()
        self.status = SessionStatus(descriptor)
        outcome: list[Any] = []
        answer: defer.Deferred[Any] = self.link.callRemote(
            amp_commands.Serve,
            session=1,
            protocol=b"classic",
            handshake=message,
            trailing_data=trailing_data,
            recovery_reply=b"",
            directory="",
            overrides=b"",
            user=0,
            socket=given.fileno(),
            status=descriptor,
        )
        answer.addBoth(outcome.append)
        os.close(descriptor)
        return outcome

    def wait(self, outcome: list[Any]) -> Any:
        """Receive until there is an outcome."""
        while not outcome:
            assert select.select([self.socket], [], [], 20)[0], "no answer came"
            self.connection.receive()
        return outcome[0]

    def shut_down(self) -> int:
        """Tell it to end; return its status."""
        outcome: list[Any] = []
        answer: defer.Deferred[Any] = self.link.callRemote(amp_commands.Shutdown)
        answer.addBoth(outcome.append)
        assert self.wait(outcome) == {}
        return self.process.wait(PATIENCE)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProtocol]:
    """A worker process."""
    worker = WorkerProtocol(tmp_path)
    yield worker
    worker.process.kill()
    worker.process.wait()
    worker.socket.close()


@pytest.fixture
def pair() -> Iterator[tuple[ClassicClient, socket.socket]]:
    """A client, and the server's end of its connection, as the reactor leaves it."""
    ours, its = socket.socketpair()
    its.setblocking(False)
    with ClassicClient(ours) as client, its:
        yield client, its


def test_the_transport_is_what_amp_needs() -> None:
    """A transport that carries descriptors."""
    verifyClass(ITransport, BlockingTransport)
    verifyClass(IUNIXTransport, BlockingTransport)


def test_a_session_is_one_command(worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]) -> None:
    """It answers why the session ended, when the client has left."""
    client, given = pair
    outcome = worker.serve(given)
    assert client.read_string() == ""
    client.reset()
    for _ in range(10):
        client.step(0)
    assert not outcome
    client.close()
    answer = worker.wait(outcome)
    assert answer["reason"] == "the client left"
    assert answer["processor_time"] > 0
    assert (worker.status.steps, worker.status.episodes) == (10, 1)


def test_the_session_status_shows_a_session(worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]) -> None:
    """From the server's side, while it goes on."""
    client, given = pair
    outcome = worker.serve(given)
    assert client.read_string() == ""
    assert worker.status.answered
    client.reset()
    client.step(0)
    client.send(space(0))
    client.read_string()
    assert (worker.status.steps, worker.status.operation, worker.status.busy_since) == (1, Operation.STEP, None)
    assert worker.status.last_activity > 0
    client.close()
    worker.wait(outcome)


def test_the_surplus_is_read_first(worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]) -> None:
    """Then what the socket has."""
    client, given = pair
    commands_ = space(0) + b"\0" + step(1)
    worker.serve(given, trailing_data=commands_[:5])
    client.send(commands_[5:])
    assert client.read_string() == ""
    assert "Discrete" in client.read_string()
    client.read_observation()


@pytest.mark.parametrize("size", [32 * 1024, 65535])
def test_a_large_surplus_fits_into_a_command(
    worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket], size: int
) -> None:
    """As much as one value of AMP may have."""
    client, given = pair
    worker.serve(given, trailing_data=space(0) * (size // 2))
    client.read_string()
    for _ in range(size // 2):
        assert client.read_string()


def test_an_unknown_environment_is_answered_and_summed_up(
    worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]
) -> None:
    """To the client by an error string, to the server by the reason."""
    client, given = pair
    outcome = worker.serve(given, message=handshake("CartPoel-v1"))
    assert 'unknown environment "CartPoel-v1"; did you mean "CartPole-v1"' in client.read_string()
    assert 'unknown environment "CartPoel-v1"' in worker.wait(outcome)["reason"]


def test_a_worker_ends_on_request(worker: WorkerProtocol) -> None:
    """It answers first; its status is 0."""
    assert worker.shut_down() == 0


def test_a_worker_ends_after_its_session_on_request(
    worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]
) -> None:
    """As ampoule's pool does it."""
    client, given = pair
    outcome = worker.serve(given)
    client.read_string()
    client.close()
    worker.wait(outcome)
    assert worker.shut_down() == 0
    assert worker.output.read_bytes() == b""


def test_an_idle_worker_ends_with_its_link(worker: WorkerProtocol) -> None:
    """The server has gone; there is nothing to say and nothing to do."""
    worker.socket.close()
    worker.process.wait(PATIENCE)


def test_a_serving_worker_ends_with_its_link(worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]) -> None:
    """It is killed, whatever its environment does."""
    client, given = pair
    worker.serve(given)
    client.read_string()
    worker.socket.close()
    assert worker.process.wait(PATIENCE) == -signal.SIGKILL


def test_a_call_fails_when_its_worker_is_killed(
    worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]
) -> None:
    """The link tells of it."""
    client, given = pair
    outcome = worker.serve(given)
    client.read_string()
    worker.process.kill()
    assert isinstance(worker.wait(outcome), Failure)


def test_a_protocol_that_is_not_known_ends_the_worker(
    worker: WorkerProtocol, pair: tuple[ClassicClient, socket.socket]
) -> None:
    """An error of our own is an answer too: the server does not wait forever."""
    _, given = pair
    outcome: list[Any] = []
    answer: defer.Deferred[Any] = worker.link.callRemote(
        amp_commands.Serve,
        session=1,
        protocol=b"carrier pigeon",
        handshake=b"",
        trailing_data=b"",
        recovery_reply=b"",
        directory="",
        overrides=b"",
        user=0,
        socket=given.fileno(),
        status=given.fileno(),
    )
    answer.addBoth(outcome.append)
    assert isinstance(worker.wait(outcome), Failure)
    worker.process.wait(PATIENCE)
