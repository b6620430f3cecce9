"""The pool: a worker for each session, idle ones kept ready, and no storm when they die."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import ampoule.commands
import pytest
from ampoule.iampoule import IStarter
from ampoule.pool import ProcessPool
from twisted.python.failure import Failure
from zope.interface import classImplements
from zope.interface.verify import verifyObject

from gymtwist.errors import WorkerStartError
from gymtwist.server.fork_server_starter import ForkServerStarter
from gymtwist.server.process_link import ANSWER_TIMEOUT, PING_INTERVAL
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_process import WorkerExited
from gymtwist.server.worker_starter import SpawnStarter
from gymtwist.worker import amp_commands
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import SETTINGS, FakeStarter, Harness

classImplements(FakeStarter, IStarter)


@pytest.fixture
def harness() -> Iterator[Harness]:
    """A harness with three idle workers."""
    harness = Harness("--warm", "3")
    yield harness
    harness.close()


def idle(harness: Harness) -> int:
    """Count the workers that live and have no job."""
    return len(harness.starter.alive) - len(harness.starter.serving)


def serve(harness: Harness) -> None:
    """Have a worker serve a client that says nothing more."""
    harness.connect().sendall(handshake("CartPole-v1"))
    harness.turn()


def test_every_starter_is_one_of_ampoules(harness: Harness) -> None:
    """Ours, and the one of these tests."""
    for starter in (
        harness.starter,
        ForkServerStarter(harness.reactor, SETTINGS),
        SpawnStarter(harness.reactor, SETTINGS),
    ):
        verifyObject(IStarter, starter)
        with pytest.raises(NotImplementedError):
            starter.startPythonProcess(None)


def test_our_shutdown_is_ampoules() -> None:
    """The pool sends ampoule's; importing that in a worker would install a reactor."""
    ours, theirs = amp_commands.Shutdown, ampoule.commands.Shutdown
    assert ours.commandName == theirs.commandName
    assert ours.responseType is theirs.responseType
    assert (ours.arguments, ours.response) == (theirs.arguments, theirs.response)
    assert ours.requiresAnswer == theirs.requiresAnswer


def test_overridden_methods_exist_in_ampoule() -> None:
    """A new ampoule that renames what we override is noticed here, not in production."""
    for name in ("start", "startAWorker", "_addProcess", "dumpStats", "stop"):
        theirs, ours = getattr(ProcessPool, name), getattr(WorkerPool, name)
        assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters)


def test_idle_workers_are_started_at_the_start(harness: Harness) -> None:
    """As many as were asked for."""
    assert idle(harness) == 3


def test_a_worker_is_replaced_when_its_session_begins(harness: Harness) -> None:
    """So that the next connection finds one ready."""
    serve(harness)
    assert (idle(harness), len(harness.starter.serving)) == (3, 1)


def test_the_end_of_a_session_starts_no_further_worker(harness: Harness) -> None:
    """Ampoule would replace it; it is replaced already."""
    serve(harness)
    process = harness.starter.serving[0]
    process.begin()
    process.answer()
    harness.turn()
    assert not process.alive
    assert (idle(harness), len(harness.starter.processes)) == (3, 4)


def test_no_worker_serves_twice(harness: Harness) -> None:
    """Each is told to end once it has answered."""
    for _ in range(5):
        serve(harness)
        process = harness.starter.serving[-1]
        process.begin()
        process.answer()
        harness.turn()
        assert process.worker.shut
    assert all(len(process.worker.jobs) <= 1 for process in harness.starter.processes)


def test_without_idle_workers_each_is_started_on_demand() -> None:
    """And none before."""
    harness = Harness("--warm", "0")
    assert not harness.starter.processes
    serve(harness)
    assert (idle(harness), len(harness.starter.serving)) == (0, 1)
    harness.close()


def test_an_idle_worker_that_dies_is_replaced_after_a_while(harness: Harness) -> None:
    """One whose imports fail would otherwise be started forever."""
    harness.starter.processes[0].die(1)
    harness.turn()
    assert idle(harness) == 2
    assert harness.log.having("An idle worker exited with status 1; starting another in 1 s")
    harness.reactor.advance(1.0)
    assert idle(harness) == 3


def test_the_while_gets_longer(harness: Harness) -> None:
    """It doubles, up to half a minute."""
    waits = []
    for _ in range(7):
        for process in harness.starter.alive:
            process.die(1)
        harness.turn()
        waits.append(harness.pool._refill.getTime() - harness.reactor.seconds())
        harness.reactor.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_session_makes_the_while_short_again(harness: Harness) -> None:
    """Workers do start, then."""
    for _ in range(3):
        harness.starter.alive[0].die(1)
        harness.reactor.advance(4.0)
    serve(harness)
    process = harness.starter.serving[0]
    process.begin()
    process.answer()
    harness.turn()
    harness.starter.alive[0].die(1)
    harness.turn()
    assert harness.log.having("starting another in 1 s")[1:]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_connection_in_the_while_is_served(harness: Harness, left: int) -> None:
    """By a worker that is left, or by one that is started for it alone."""
    for process in harness.starter.alive[left:]:
        process.die(1)
    harness.turn()
    serve(harness)
    assert len(harness.starter.serving) == 1
    assert idle(harness) == max(0, left - 1)
    harness.reactor.advance(1.0)
    assert idle(harness) == 3


def test_workers_that_cannot_be_started_are_tried_later(harness: Harness) -> None:
    """The session that took the last idle one does not notice."""
    harness.starter.error = OSError(11, "Resource temporarily unavailable")
    serve(harness)
    assert len(harness.starter.serving) == 1
    assert harness.log.having("Cannot start an idle worker")
    harness.starter.error = None
    harness.reactor.advance(1.0)
    assert idle(harness) == 3


def test_a_job_whose_worker_dies_fails(harness: Harness) -> None:
    """With the way it died."""
    failures: list[Failure] = []
    serving = harness.pool.serve(
        lambda worker: None,
        session=1,
        protocol=b"classic",
        handshake=b"",
        trailing_data=b"",
        recovery_reply=b"",
        directory="",
        overrides=b"",
        user=0,
        socket=0,
        status=0,
    )
    serving.addErrback(failures.append)
    harness.turn()
    harness.starter.serving[0].die(-11)
    assert str(failures[0].value) == "was killed by SIGSEGV"
    assert failures[0].check(WorkerExited)


def test_stop_lets_every_idle_worker_go(harness: Harness) -> None:
    """It fires when all have ended, and none is started any more."""
    stopped: list[object] = []
    harness.pool.stop().addCallback(stopped.append)
    assert not stopped
    harness.turn()
    assert stopped
    assert not harness.starter.alive
    assert len(harness.starter.processes) == 3
    assert not harness.pool.looping.running


def test_stop_in_the_while_starts_nothing(harness: Harness) -> None:
    """The timer is gone, too."""
    harness.starter.processes[0].die(1)
    harness.pool.stop()
    harness.turn()
    harness.reactor.advance(60.0)
    assert len(harness.starter.processes) == 3


def test_kill_kills_every_worker(harness: Harness) -> None:
    """Idle or not."""
    serve(harness)
    harness.pool.stop()
    harness.pool.kill()
    harness.turn()
    assert not harness.starter.alive


def test_a_job_after_the_stop_is_an_error(harness: Harness) -> None:
    """Nobody would do it."""
    harness.pool.stop()
    harness.turn()
    with pytest.raises(WorkerStartError, match="the server is shutting down"):
        harness.pool.serve(lambda worker: None)


def test_an_idle_worker_that_does_not_answer_is_replaced(harness: Harness) -> None:
    """Those that answer stay; a session is not pinged, as its worker would take that for the server's end."""
    serve(harness)
    for _ in range(3):
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()
    stopped = next(process for process in harness.starter.alive if not process.worker.jobs)
    stopped.worker.silent = True
    for _ in range(int(ANSWER_TIMEOUT / PING_INTERVAL) + 2):
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()
    assert harness.log.having("An idle worker does not answer")
    assert not stopped.alive
    assert (idle(harness), len(harness.starter.serving), len(harness.starter.processes)) == (3, 1, 5)
    assert not [line for line in harness.log.lines if "starting another" in line]


def test_what_starts_workers_is_checked_as_often(harness: Harness) -> None:
    """It may have stopped although no worker has."""
    for count in range(3):
        assert harness.starter.checks == count
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()


def test_workers_are_not_blamed_for_a_stop_of_the_server(harness: Harness) -> None:
    """What they have answered in the meantime is read only after the timers."""
    for _ in range(3):
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()
    harness.reactor.advance(PING_INTERVAL)  # they are pinged, and not heard
    harness.reactor.advance(10 * ANSWER_TIMEOUT)
    for _ in range(3):
        harness.turn()
        harness.reactor.advance(PING_INTERVAL)
    assert not harness.log.having("does not answer")
    assert len(harness.starter.processes) == 3


def test_a_worker_that_still_imports_is_given_its_time(harness: Harness) -> None:
    """As long as the imports may take, of which the starter knows how long they took the first time."""
    harness.starter.ready_timeout = 100 * PING_INTERVAL
    for process in harness.starter.alive:
        process.worker.silent = True
    for _ in range(100):
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()
    assert len(harness.starter.processes) == 3
    for _ in range(3):
        harness.reactor.advance(PING_INTERVAL)
        harness.turn()
    assert len(harness.starter.processes) > 3
