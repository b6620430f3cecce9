"""One worker as the server sees it: its link, its output and its end, in whichever order they come."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone, ProcessTerminated
from twisted.internet.interfaces import ITransport
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from gymtwist.server.worker_output import OutputReader
from gymtwist.server.worker_process import WorkerExited, WorkerLink, WorkerProcess
from gymtwist.server.worker_starter import adopt
from gymtwist.worker import amp_commands
from gymtwist.worker.amp_commands import Link
from tests.support.harness import Log, SteppedReactor, descriptor_count


def noting(notes: list[Any], note: object, result: Any) -> Any:
    """Note something in passing; return the result."""
    notes.append(note)
    return result


class Born:
    """A worker with a link in memory and a real pipe."""

    def __init__(self) -> None:
        """Have no process yet."""
        self.log = Log()
        self.reactor = SteppedReactor()
        reader, self.output = os.pipe()
        self.link = WorkerLink()
        self.worker = WorkerProcess(self.link, OutputReader(self.reactor, reader, "new process"))
        self.transport = StringTransport()
        verifyObject(ITransport, self.transport)
        self.link.makeConnection(self.transport)
        self.order: list[str] = []

    def call(self) -> list[Failure]:
        """Call the worker; return what becomes of it."""
        outcome: list[Failure] = []

        def failed(failure: Failure) -> None:
            outcome.append(failure)
            self.order.append("call")

        self.link.callRemote(amp_commands.Shutdown).addErrback(failed)
        return outcome

    def close(self) -> None:
        """Let go."""
        os.close(self.output)
        self.reactor.turn()
        self.worker.output.close()
        self.reactor.close()
        self.log.close()


@pytest.fixture
def born() -> Iterator[Born]:
    """A worker."""
    born = Born()
    yield born
    born.close()


def test_the_loss_of_the_link_is_not_the_end(born: Born) -> None:
    """Only the process's end tells how it ended, so calls wait for that."""
    outcome = born.call()
    born.link.connectionLost()
    assert not outcome
    assert not born.worker.finished.called
    born.worker.ended(-11)
    assert str(outcome[0].value) == "was killed by SIGSEGV"


def test_calls_fail_before_the_worker_has_finished(born: Born) -> None:
    """Ampoule looks a worker up when a call fails, and forgets it when it has finished."""
    born.call()
    born.worker.finished.addCallback(lambda how: noting(born.order, "finished", how))
    born.worker.ended(3)
    assert born.order == ["call", "finished"]


def test_calls_after_the_end_fail(born: Born) -> None:
    """At once, with the same reason; ampoule traps it as a terminated process."""
    born.worker.ended(3)
    outcome = born.call()
    assert outcome[0].check(ProcessTerminated)
    assert str(outcome[0].value) == "exited with status 3"


def test_a_worker_ends_once(born: Born) -> None:
    """The end is reported once, whichever source reports it first."""
    born.worker.ended(3)
    born.worker.ended(-9)
    born.link.connectionLost()
    assert born.worker.finished.result == "exited with status 3"


@pytest.mark.parametrize("link_first", [True, False])
def test_a_worker_may_end_with_its_link(born: Born, link_first: bool) -> None:
    """When nobody else will tell of it, whether the link is lost already or not."""
    reaped: list[bool] = []

    def reap() -> int:
        reaped.append(True)
        return 5

    if link_first:
        born.link.connectionLost()
    born.worker.ends_with_link(reap)
    assert bool(reaped) is link_first
    if not link_first:
        born.link.connectionLost()
    assert born.worker.finished.result == "exited with status 5"
    assert reaped == [True]


def test_kill_aborts_the_link(born: Born) -> None:
    """That is what the worker is tied to; it is not dead before its process says so."""
    born.worker.started(7)
    born.worker.kill()
    assert born.transport.disconnected
    assert not born.worker.finished.called


def test_kill_of_a_worker_whose_link_is_lost_does_nothing(born: Born) -> None:
    """As often as it is asked."""
    born.worker.started(7)
    born.link.connectionLost()
    born.worker.kill()
    born.worker.kill()
    assert not born.transport.disconnected


def test_kill_reaches_a_worker_that_let_go_of_its_link(born: Born) -> None:
    """By whoever else can kill it; but not one that has ended."""
    killed: list[str] = []
    born.worker.started(7, lambda: killed.append("killed"))
    born.link.connectionLost()
    born.worker.kill()
    assert killed == ["killed"]
    assert not born.worker.finished.called
    born.worker.ended(-9)
    born.worker.kill()
    assert killed == ["killed"]


def test_kill_of_a_worker_that_is_not_forked_yet_ends_it(born: Born) -> None:
    """A fork server may hang; the process that it may make some day is of no concern."""
    outcome = born.call()
    born.worker.kill()
    assert str(outcome[0].value) == "ended"
    born.worker.started(7)
    born.worker.ended(0)


def test_the_reason_is_the_end_whatever_came_over_the_link(born: Born) -> None:
    """Bytes that are not AMP have no reason of their own; ampoule knows only that of a process that ended."""
    born.call()
    born.link.dataReceived(b"\xff" * 64)
    born.worker.ended(-9)
    assert str(born.call()[0].value) == "was killed by SIGKILL"


def test_kill_of_a_worker_that_has_ended_does_nothing(born: Born) -> None:
    """A timer may come too late."""
    born.worker.ended(0)
    born.worker.kill()


def test_a_process_id_is_reported(born: Born) -> None:
    """To whoever waits for it; what it prints is marked with it."""
    told: list[int | None] = []
    born.worker.pid.addCallback(lambda pid: noting(told, pid, pid))
    born.worker.started(4711)
    assert told == [4711]
    assert born.worker.output.source == "process 4711"


def test_a_worker_that_never_was_has_no_process_id(born: Born) -> None:
    """Those who wait for the id get None."""
    told: list[int | None] = []
    born.worker.pid.addCallback(told.append)
    born.worker.ended(None)
    assert told == [None]


def test_what_it_printed_is_logged_before_its_calls_fail(born: Born) -> None:
    """So that a traceback stands before the line that the session ended."""
    born.worker.started(7)
    os.write(born.output, b"Fatal Python error: Segmentation fault\n")
    outcome = born.call()
    seen: list[int] = []
    born.worker.finished.addCallback(lambda how: noting(seen, len(born.log.having("Segmentation")), how))
    born.worker.ended(-11)
    assert outcome
    assert seen == [1]


def test_the_chosen_worker_is_reported_before_the_command_is_sent(born: Born) -> None:
    """The pool does not say which worker it chose."""
    chosen: list[tuple[WorkerProcess, bytes]] = []
    call = born.link.callRemote(
        amp_commands.Shutdown, assigned=lambda worker: chosen.append((worker, born.transport.value()))
    )
    call.addErrback(lambda failure: failure.trap(WorkerExited))
    assert chosen == [(born.worker, b"")]
    assert b"Shutdown" in born.transport.value()
    born.worker.ended(0)


@pytest.mark.parametrize(("kind", "lines"), [(amp.AMP, 2), (Link, 0)])
def test_a_link_logs_nothing(kind: type[amp.AMP], lines: int) -> None:
    """There are several to each session; amp.AMP logs two lines for each."""
    with capturedLogs() as logged:
        link = kind()
        link.makeConnection(StringTransport())
        link.connectionLost(Failure(ConnectionDone()))
    assert len(logged) == lines


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-(signal.SIGRTMIN + 3), f"was killed by signal {signal.SIGRTMIN + 3}"),
        (None, "ended"),
    ],
)
def test_how_a_worker_ended_is_a_clause(exit_code: int | None, text: str) -> None:
    """It can follow "its process"."""
    assert str(WorkerExited(exit_code)) == text


@pytest.fixture
def linked(born: Born) -> Iterator[tuple[Born, socket.socket]]:
    """A worker with a real link, and the worker's end of it."""
    ours, its = socket.socketpair()
    link = WorkerLink()
    link.worker, born.worker.link = born.worker, link
    adopt(born.reactor, ours, link)
    with its:
        yield born, its


def test_descriptors_that_a_worker_sends_are_closed(linked: tuple[Born, socket.socket]) -> None:
    """The server would run out of them."""
    born, its = linked
    before = descriptor_count()
    for data in (b"\0\xff", b"k" * 10):  # the beginning of a box
        socket.send_fds(its, [data], [0] * 20)
        born.reactor.turn()
    assert descriptor_count() == before
    assert not born.worker.finished.called


def test_boxes_are_measured_one_by_one(born: Born) -> None:
    """An idle worker answers for as long as the server runs."""
    answers: list[object] = []
    killed: list[None] = []
    born.worker.started(1, lambda: killed.append(None))
    for number in range(1, 4):
        born.link.callRemote(amp_commands.Ping).addCallback(answers.append)
        born.link.dataReceived(b"\0\7_answer\0\1%x\0\1k\xff\xff%b\0\0" % (number, bytes(65535)))
    assert (answers, killed) == ([{}] * 3, [])


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b"".join(b"\0\2%02d\xff\xff" % key + bytes(65535) for key in range(3)), "a box of more than 131072 bytes"),
        (b"\0\10_command\0\4Fork\0\4_ask\0\0011\0\0", "a command"),
        (b"\0\7_answer\0\00299\0\0", "KeyError"),
        (b"\0\0", "a command"),
    ],
    ids=["a large box", "a command", "an answer to nothing", "an empty box"],
)
def test_a_worker_that_sends_what_it_may_not_is_killed(
    linked: tuple[Born, socket.socket], sent: bytes, problem: str
) -> None:
    """Its session ends; the server keeps nothing of it, and has no error of its own."""
    born, its = linked
    killed: list[None] = []
    born.worker.started(1, lambda: killed.append(None))
    its.setblocking(False)
    while sent:
        with contextlib.suppress(BlockingIOError):
            sent = sent[its.send(sent) :]
        born.reactor.turn()
        if killed:
            break
    assert killed
    assert born.log.having(problem)
    assert not [line for line in born.log.lines if "Unhandled" in line]
