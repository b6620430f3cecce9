"""The server's end of a real fork server: workers come, go, and outlive it."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gymtwist.errors import WorkerStartError
from gymtwist.server.fork_server_starter import RESTART_DELAY, ForkServerStarter
from gymtwist.server.process_link import ANSWER_TIMEOUT
from gymtwist.server.worker_process import WorkerLink
from gymtwist.server.worker_starter import SpawnStarter, Starter
from gymtwist.worker import amp_commands, session_status
from gymtwist.worker.worker_settings import WorkerSettings
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import Log, SteppedReactor, soon
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, children, descriptors, eventually, left_after


class Parent:
    """A server that has a starter and nothing else."""

    def __init__(self, directory: Path, setup: str = "") -> None:
        """Have started nothing."""
        self.log = Log()
        self.reactor = SteppedReactor()
        file = directory / "setup.py"
        file.write_text(setup)
        self.settings = WorkerSettings(monitor_root=str(directory), setup=str(file))
        self.links: list[WorkerLink] = []
        # Other tests may have left helpers of Python's own, such as multiprocessing's.
        self._others = children(os.getpid())

    def processes(self) -> set[int]:
        """Return the processes that it has, dead or alive."""
        return children(os.getpid()) - self._others

    def turn(self) -> None:
        """Let the reactor wait for a moment, and act."""
        self.reactor.turn(1)
        self.reactor.iterate(0.01)

    def worker(self, starter: Starter) -> tuple[WorkerLink, list[int], list[str]]:
        """Start a worker; return its link, and what its process id and its end are going to be."""
        link, finished = starter.startAMPProcess(None)
        pid: list[int] = []
        end: list[str] = []

        def known(number: int | None) -> None:
            if number is not None:
                pid.append(number)

        link.worker.pid.addCallback(known)
        finished.addCallback(end.append)
        self.links.append(link)
        return link, pid, end

    def process(self, link: WorkerLink, pid: list[int]) -> Handle:
        """Wait for the process of a worker."""
        soon(lambda: pid, self.turn)
        return Handle(pid[0])


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Parent]:
    """A server; at the end it has no process and no descriptor more than before."""
    gc.collect()  # else what earlier tests have left would be finalized within this one
    before = Counter(descriptors(os.getpid()))
    parent = Parent(tmp_path)
    yield parent
    parent.reactor.advance(0)
    assert not [call for call in parent.reactor.getDelayedCalls() if call.active()]
    parent.reactor.close()
    parent.log.close()
    del parent
    gc.collect()
    # Threads of this process that earlier tests have left may have a file open just now.
    try:
        eventually(lambda: len(descriptors(os.getpid())) <= before.total(), PATIENCE)
    except AssertionError as error:
        raise AssertionError(f"more descriptors: {Counter(descriptors(os.getpid())) - before}") from error


@pytest.fixture
def starter(parent: Parent) -> Iterator[ForkServerStarter]:
    """One with a fork server."""
    starter = ForkServerStarter(parent.reactor, parent.settings)
    starter.start()
    yield starter
    for link in parent.links:
        link.worker.kill()
    soon(lambda: all(link.worker.finished.called for link in parent.links), parent.turn)
    stopped: list[None] = []
    starter.stop().addCallback(stopped.append)
    soon(lambda: stopped, parent.turn)
    assert not parent.processes()


def kill_forkserver(starter: ForkServerStarter) -> None:
    """Kill the fork server."""
    assert starter.fork_server is not None
    starter.fork_server.process.kill()


def serve(link: WorkerLink) -> list[Any]:
    """Give a worker a session without an environment, of which the client has left; return what becomes of it."""
    outcome: list[Any] = []
    ours, its = socket.socketpair()
    ours.close()
    descriptor = session_status.create()
    answer = link.callRemote(
        amp_commands.Serve,
        session=1,
        protocol=b"classic",
        handshake=handshake(""),
        trailing_data=b"",
        recovery_reply=b"",
        directory="",
        overrides=b"",
        user=0,
        socket=its.fileno(),
        status=descriptor,
    )

    def close(result: object) -> object:
        its.close()
        os.close(descriptor)
        return result

    answer.addBoth(close).addBoth(outcome.append)
    return outcome


def test_a_worker_is_forked_and_reported(parent: Parent, starter: ForkServerStarter) -> None:
    """Its process id, and how it ended."""
    link, pid, end = parent.worker(starter)
    handle = parent.process(link, pid)
    handle.kill()
    soon(lambda: end, parent.turn)
    assert end == ["was killed by SIGKILL"]


def test_a_worker_may_be_killed_before_it_is_forked(parent: Parent, starter: ForkServerStarter) -> None:
    """It ends as soon as it begins."""
    link, _, end = parent.worker(starter)
    link.worker.kill()
    soon(lambda: end, parent.turn)


def test_a_worker_serves(parent: Parent, starter: ForkServerStarter) -> None:
    """What it is told goes over its link, descriptors too."""
    link, _, _ = parent.worker(starter)
    outcome = serve(link)
    soon(lambda: outcome, parent.turn)
    assert outcome[0]["reason"] == "the client left"


def test_workers_outlive_the_fork_server(parent: Parent, starter: ForkServerStarter) -> None:
    """They serve on, and their end is noticed by their link."""
    link, pid, end = parent.worker(starter)
    handle = parent.process(link, pid)
    kill_forkserver(starter)
    soon(lambda: parent.log.having("The fork server ended (status -9)"), parent.turn)
    outcome = serve(link)
    soon(lambda: outcome, parent.turn)
    assert outcome[0]["reason"] == "the client left"
    handle.kill()
    soon(lambda: end, parent.turn)


def test_a_worker_that_is_wanted_without_a_fork_server_waits_for_the_next(
    parent: Parent, starter: ForkServerStarter
) -> None:
    """A client that connects just then is served a little later."""
    kill_forkserver(starter)
    soon(lambda: parent.log.having("The fork server ended"), parent.turn)
    link, pid, end = parent.worker(starter)
    outcome = serve(link)
    for _ in range(5):
        parent.turn()
    assert not pid
    parent.reactor.advance(RESTART_DELAY)
    soon(lambda: outcome, parent.turn)
    assert outcome[0]["reason"] == "the client left"
    assert not end


def test_a_worker_that_was_being_forked_when_the_fork_server_died_ends(
    parent: Parent, starter: ForkServerStarter
) -> None:
    """Its session is given to another; it does not wait forever."""
    assert starter.fork_server is not None
    os.kill(starter.fork_server.process.pid, signal.SIGSTOP)
    link, pid, end = parent.worker(starter)
    parent.turn()
    outcome = serve(link)
    kill_forkserver(starter)
    soon(lambda: end, parent.turn)
    assert not pid
    assert str(outcome[0].value) == "ended"


def test_a_worker_that_is_wanted_while_the_fork_server_dies_waits_for_the_next(
    parent: Parent, starter: ForkServerStarter
) -> None:
    """The end of another one, which was being forked just then, may be why it is wanted."""
    assert starter.fork_server is not None
    os.kill(starter.fork_server.process.pid, signal.SIGSTOP)
    link, _, _ = parent.worker(starter)
    link.abort()
    soon(lambda: link.lost, parent.turn)
    outcomes: list[list[Any]] = []
    link.worker.finished.addCallback(lambda _: outcomes.append(serve(parent.worker(starter)[0])))
    kill_forkserver(starter)
    soon(lambda: outcomes, parent.turn)
    parent.reactor.advance(RESTART_DELAY)
    soon(lambda: outcomes[0], parent.turn)
    assert outcomes[0][0]["reason"] == "the client left"


def test_a_stop_without_a_fork_server_ends_those_who_wait_for_one(parent: Parent) -> None:
    """And no other is started."""
    starter = ForkServerStarter(parent.reactor, parent.settings)
    starter.start()
    kill_forkserver(starter)
    soon(lambda: parent.log.having("The fork server ended"), parent.turn)
    _, _, end = parent.worker(starter)
    stopped: list[None] = []
    starter.stop().addCallback(stopped.append)
    soon(lambda: stopped and end, parent.turn)
    parent.reactor.advance(60.0)
    assert not parent.processes()


@pytest.mark.parametrize(
    ("kind", "setup", "told"),
    [
        (ForkServerStarter, "raise ValueError('gone')", "ValueError: gone"),
        (ForkServerStarter, "import os; print('bye', flush=True); os._exit(5)", "bye"),
        (ForkServerStarter, "import os; print('bye', flush=True); os._exit(0)", "bye"),
        (SpawnStarter, "import os; print('bye', flush=True); os._exit(0)", "bye"),
        (SpawnStarter, "import sys; sys.exit()", "called sys.exit"),
    ],
)
def test_a_setup_file_that_fails_is_an_error(tmp_path: Path, kind: type[Any], setup: str, told: str) -> None:
    """With what it printed."""
    parent = Parent(tmp_path, setup)
    with pytest.raises(WorkerStartError, match=told):
        kind(parent.reactor, parent.settings).start()
    parent.reactor.turn()
    parent.reactor.close()
    parent.log.close()


def test_a_spawned_worker_serves_and_ends(parent: Parent) -> None:
    """Without a fork server."""
    starter = SpawnStarter(parent.reactor, parent.settings)
    link, pid, end = parent.worker(starter)
    outcome = serve(link)
    soon(lambda: outcome, parent.turn)
    handle = Handle(pid[0])
    link.callRemote(amp_commands.Shutdown).addErrback(lambda failure: None)
    soon(lambda: end, parent.turn)
    assert end == ["exited with status 0"]
    assert not left_after([handle], 0)


def test_a_spawned_worker_can_be_killed(parent: Parent) -> None:
    """It is reaped, and tells how it ended."""
    starter = SpawnStarter(parent.reactor, parent.settings)
    _, pid, end = parent.worker(starter)
    Handle(pid[0]).kill()
    soon(lambda: end, parent.turn)
    assert end == ["was killed by SIGKILL"]
    assert not parent.processes()


def test_a_fork_server_that_is_stopped_is_replaced(parent: Parent, starter: ForkServerStarter) -> None:
    """Within seconds, though it was asked for nothing: it would cost the next client its patience."""
    assert starter.fork_server is not None
    os.kill(starter.fork_server.process.pid, signal.SIGSTOP)
    starter.check()
    parent.reactor.advance(ANSWER_TIMEOUT + 1)
    starter.check()
    soon(lambda: parent.log.having("The fork server ended (status -9)"), parent.turn)
    assert parent.log.having("The fork server does not answer")
    parent.reactor.advance(RESTART_DELAY)
    link, _, _ = parent.worker(starter)
    outcome = serve(link)
    soon(lambda: outcome, parent.turn)
    assert outcome[0]["reason"] == "the client left"
    starter.check()
    soon(lambda: starter.fork_server is not None and starter.fork_server.ping(0.0) == 0.0, parent.turn)


def test_a_fork_server_that_imports_is_given_its_time(parent: Parent, starter: ForkServerStarter) -> None:
    """It answers when it has imported everything, as the first one did."""
    kill_forkserver(starter)
    soon(lambda: parent.log.having("The fork server ended"), parent.turn)
    parent.reactor.advance(RESTART_DELAY)
    starter.check()
    parent.reactor.advance(ANSWER_TIMEOUT + 1)
    starter.check()
    link, _, _ = parent.worker(starter)
    outcome = serve(link)
    soon(lambda: outcome, parent.turn)
    assert not parent.log.having("The fork server does not answer")


def test_a_fork_server_is_not_waited_for_by_a_worker_that_is_killed(parent: Parent, starter: ForkServerStarter) -> None:
    """The worker does not exist yet, and it is the fork server that does not answer."""
    assert starter.fork_server is not None
    os.kill(starter.fork_server.process.pid, signal.SIGSTOP)
    link, _, end = parent.worker(starter)
    link.kill_process()
    soon(lambda: end and parent.log.having("The fork server ended (status -9)"), parent.turn)
    assert parent.log.having("The fork server does not answer")


def test_an_idle_worker_that_is_stopped_can_be_killed(parent: Parent, starter: ForkServerStarter) -> None:
    """It reads nothing, but its fork server kills it."""
    link, pid, end = parent.worker(starter)
    handle = parent.process(link, pid)
    assert link.responsive
    os.kill(handle.process, signal.SIGSTOP)
    link.kill_process()
    soon(lambda: end, parent.turn)
    assert end == ["was killed by SIGKILL"]
