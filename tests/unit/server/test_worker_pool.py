"""The pool: a child for each session, idle ones kept ready, and no storm when they die."""

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
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_process import WorkerExited
from gymtwist.server.worker_starter import SpawnStarter
from gymtwist.worker import amp_commands
from gymtwist_conformance.reference_client.classic_client import handshake
from tests.support.harness import SETTINGS, FakeStarter, World

classImplements(FakeStarter, IStarter)


@pytest.fixture
def world() -> Iterator[World]:
    """A world with three idle children."""
    world = World("--warm", "3")
    yield world
    world.close()


def idle(world: World) -> int:
    """Counts the children that live and have no job."""
    return len(world.starter.alive) - len(world.starter.serving)


def serve(world: World) -> None:
    """Has a child serve a client that says nothing more."""
    world.connect().sendall(handshake("CartPole-v1"))
    world.turn()


def test_every_starter_is_one_of_ampoules(world: World) -> None:
    """Ours, and the one of these tests."""
    for starter in (
        world.starter,
        ForkServerStarter(world.reactor, SETTINGS),
        SpawnStarter(world.reactor, SETTINGS),
    ):
        verifyObject(IStarter, starter)
        with pytest.raises(NotImplementedError):
            starter.startPythonProcess(None)


def test_our_shutdown_is_ampoules() -> None:
    """The pool sends ampoule's; importing that in a child would install a reactor."""
    ours, theirs = amp_commands.Shutdown, ampoule.commands.Shutdown
    assert ours.commandName == theirs.commandName
    assert ours.responseType is theirs.responseType
    assert (ours.arguments, ours.response) == (theirs.arguments, theirs.response)
    assert ours.requiresAnswer == theirs.requiresAnswer


def test_what_is_overridden_is_still_ampoules() -> None:
    """A new ampoule that renames what we override is noticed here, not in production."""
    for name in ("start", "startAWorker", "_addProcess", "dumpStats", "stop"):
        theirs, ours = getattr(ProcessPool, name), getattr(WorkerPool, name)
        assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters)


def test_idle_children_are_started_at_the_start(world: World) -> None:
    """As many as were asked for."""
    assert idle(world) == 3


def test_a_child_is_replaced_when_its_session_begins(world: World) -> None:
    """So that the next connection finds one ready."""
    serve(world)
    assert (idle(world), len(world.starter.serving)) == (3, 1)


def test_the_end_of_a_session_starts_no_further_child(world: World) -> None:
    """Ampoule would replace it; it is replaced already."""
    serve(world)
    process = world.starter.serving[0]
    process.begin()
    process.answer()
    world.turn()
    assert not process.alive
    assert (idle(world), len(world.starter.processes)) == (3, 4)


def test_no_child_serves_twice(world: World) -> None:
    """Each is told to end once it has answered."""
    for _ in range(5):
        serve(world)
        process = world.starter.serving[-1]
        process.begin()
        process.answer()
        world.turn()
        assert process.worker.shut
    assert all(len(process.worker.jobs) <= 1 for process in world.starter.processes)


def test_without_idle_children_each_is_started_on_demand() -> None:
    """And none before."""
    world = World("--warm", "0")
    assert not world.starter.processes
    serve(world)
    assert (idle(world), len(world.starter.serving)) == (0, 1)
    world.close()


def test_an_idle_child_that_dies_is_replaced_after_a_while(world: World) -> None:
    """One whose imports fail would otherwise be started for ever."""
    world.starter.processes[0].die(1)
    world.turn()
    assert idle(world) == 2
    assert world.log.having("An idle worker exited with status 1; starting another in 1 s")
    world.reactor.advance(1.0)
    assert idle(world) == 3


def test_the_while_gets_longer(world: World) -> None:
    """It doubles, up to half a minute."""
    waits = []
    for _ in range(7):
        for process in world.starter.alive:
            process.die(1)
        world.turn()
        waits.append(world.pool._refill.getTime() - world.reactor.seconds())
        world.reactor.advance(waits[-1])
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_a_session_makes_the_while_short_again(world: World) -> None:
    """Children do start, then."""
    for _ in range(3):
        world.starter.alive[0].die(1)
        world.reactor.advance(4.0)
    serve(world)
    process = world.starter.serving[0]
    process.begin()
    process.answer()
    world.turn()
    world.starter.alive[0].die(1)
    world.turn()
    assert world.log.having("starting another in 1 s")[1:]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_connection_in_the_while_is_served(world: World, left: int) -> None:
    """By a child that is left, or by one that is started for it alone."""
    for process in world.starter.alive[left:]:
        process.die(1)
    world.turn()
    serve(world)
    assert len(world.starter.serving) == 1
    assert idle(world) == max(0, left - 1)
    world.reactor.advance(1.0)
    assert idle(world) == 3


def test_children_that_cannot_be_started_are_tried_later(world: World) -> None:
    """The session that took the last idle one does not notice."""
    world.starter.error = OSError(11, "Resource temporarily unavailable")
    serve(world)
    assert len(world.starter.serving) == 1
    assert world.log.having("Cannot start an idle worker")
    world.starter.error = None
    world.reactor.advance(1.0)
    assert idle(world) == 3


def test_a_job_whose_child_dies_fails(world: World) -> None:
    """With the way it died."""
    failures: list[Failure] = []
    serving = world.pool.serve(
        lambda worker: None,
        session=1,
        protocol=b"classic",
        handshake=b"",
        trailing_data=b"",
        recovery_reply=b"",
        socket=0,
        status=0,
    )
    serving.addErrback(failures.append)
    world.turn()
    world.starter.serving[0].die(-11)
    assert str(failures[0].value) == "was killed by SIGSEGV"
    assert failures[0].check(WorkerExited)


def test_stop_lets_every_idle_child_go(world: World) -> None:
    """It fires when all have ended, and none is started any more."""
    stopped: list[object] = []
    world.pool.stop().addCallback(stopped.append)
    assert not stopped
    world.turn()
    assert stopped
    assert not world.starter.alive
    assert len(world.starter.processes) == 3
    assert not world.pool.looping.running


def test_stop_in_the_while_starts_nothing(world: World) -> None:
    """The timer is gone, too."""
    world.starter.processes[0].die(1)
    world.pool.stop()
    world.turn()
    world.reactor.advance(60.0)
    assert len(world.starter.processes) == 3


def test_kill_kills_every_child(world: World) -> None:
    """Idle or not."""
    serve(world)
    world.pool.stop()
    world.pool.kill()
    world.turn()
    assert not world.starter.alive


def test_a_job_after_the_stop_is_an_error(world: World) -> None:
    """Nobody would do it."""
    world.pool.stop()
    world.turn()
    with pytest.raises(WorkerStartError, match="the server is shutting down"):
        world.pool.serve(lambda worker: None)
