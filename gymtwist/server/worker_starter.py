"""How children start: ampoule's ``IStarter``, by a fork server or by fresh interpreters."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ampoule.iampoule import IStarter
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.protocols import amp
from zope.interface import implementer

from gymtwist.errors import WorkerStartError
from gymtwist.server.worker_output import OutputReader
from gymtwist.server.worker_process import NEW_PROCESS, WorkerLink, WorkerProcess
from gymtwist.worker import process_control
from gymtwist.worker.readiness import Readiness
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds in which everything must be imported before the first session.
READY_TIMEOUT = 120.0


def popen(
    role: str, settings: WorkerSettings, output: int, *, amp_descriptor: int = -1, ready_descriptor: int = -1
) -> subprocess.Popen[bytes]:
    """Start a Python process of ``gymtwist.worker`` in a session of its own.

    Args:
        role: What it shall be, see :mod:`gymtwist.worker.__main__`.
        settings: What it is told.
        output: The descriptor that it prints to.
        amp_descriptor: The descriptor of its AMP socket.
        ready_descriptor: Where it says that it has imported everything.

    Raises:
        OSError: No process can be started.
    """
    passed = [descriptor for descriptor in (amp_descriptor, ready_descriptor) if descriptor >= 0]
    arguments = [settings.to_argument(), str(amp_descriptor), str(ready_descriptor)]
    return subprocess.Popen(
        [sys.executable, "-m", "gymtwist.worker", role, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=passed,
        start_new_session=True,
    )


def import_failed(printed: bytes) -> WorkerStartError:
    """Make the error of a process that could not import everything.

    Args:
        printed: What it printed; the last line of a traceback says what was raised, and is to be read first.
    """
    text = printed.decode(errors="replace").rstrip()
    return WorkerStartError(f"--preload or --setup failed: {text.rpartition(chr(10))[2]}\n{text}")


class Ready(NamedTuple):
    """The outcome of a process that has imported everything.

    Attributes:
        printed: The end of its output.
        readiness: The environments that it can make.
    """

    printed: bytes
    readiness: Readiness


def wait_ready(ready: int, output: int) -> Ready:
    """Wait until a process says that it has imported everything; the reactor does not run yet.

    Args:
        ready: Where it says so.
        output: What it prints to.

    Raises:
        WorkerStartError: It has ended, or takes too long; the message has the reason.
    """
    printed = b""
    deadline = time.monotonic() + READY_TIMEOUT
    watched = [ready, output]
    while True:
        readable, _, _ = select.select(watched, [], [], max(0.0, deadline - time.monotonic()))
        if output in readable:
            if time.monotonic() > deadline:
                raise WorkerStartError(f"--preload or --setup took more than {READY_TIMEOUT:.0f} s")
            data = os.read(output, 65536)
            if not data:
                watched.remove(output)
            # The end of it is kept: a traceback ends with what went wrong.
            printed = (printed + data)[-65536:]
        elif ready in readable:
            line = b""
            while not line.endswith(b"\n"):
                data = os.read(ready, 65536)
                if not data:
                    raise import_failed(printed)
                line += data
            return Ready(printed, Readiness.from_line(line))
        else:
            raise WorkerStartError(f"--preload or --setup took more than {READY_TIMEOUT:.0f} s")


def adopt(reactor: Any, connection: socket.socket, protocol: amp.AMP) -> None:
    """Connect a protocol to the server's end of a UNIX socket pair, which is closed here."""
    connection.setblocking(False)
    reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: protocol))
    connection.close()


class Starter:
    """What both ways of starting a child share.

    Args:
        reactor: The reactor of the server.
        settings: What children are told.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        self.reactor = reactor
        self.settings = settings
        #: The environments that there are; known once it has started.
        self.readiness = Readiness()
        #: Called when nobody is left to kill what children leave behind.
        self.on_lost: Callable[[], None] = lambda: None

    def startAMPProcess(
        self, ampChild: object, ampParent: object = None, ampChildArgs: object = ()
    ) -> tuple[WorkerLink, defer.Deferred[str]]:
        """Start a child; see ``ampoule.iampoule.IStarter``.

        Returns:
            The server's end of AMP with it, and what fires when it has ended.

        Raises:
            OSError: There are no descriptors left, or no process can be started.
        """
        ours, its = socket.socketpair()
        reader, writer = os.pipe()
        link = WorkerLink()
        worker = WorkerProcess(link, OutputReader(self.reactor, reader, NEW_PROCESS))
        try:
            adopt(self.reactor, ours, link)
        except OSError:
            os.close(writer)
            raise
        self.start_worker(worker, its.detach(), writer)
        return link, worker.finished

    def startPythonProcess(self, prot: object, *args: object) -> None:
        """Refuse: this part of ampoule's interface is for starters that build on its own one."""
        raise NotImplementedError("only startAMPProcess is served")

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Start the process of a child; both descriptors are closed here once it has them."""
        raise NotImplementedError


@implementer(IStarter)
class SpawnStarter(Starter):
    """Starts each child as a fresh interpreter: slow, but it works where fork does not."""

    def start(self) -> None:
        """Make sure that everything can be imported.

        Raises:
            WorkerStartError: It cannot; the message has the reason.
        """
        output, writer = os.pipe()
        ready, ready_writer = os.pipe()
        try:
            check = popen("check", self.settings, writer, ready_descriptor=ready_writer)
        except OSError:
            os.close(output)
            os.close(ready)
            raise
        finally:
            os.close(writer)
            os.close(ready_writer)
        try:
            self.readiness = wait_ready(ready, output).readiness
        finally:
            # With all that the setup file started: each child will start it for itself.
            process_control.kill_group(check.pid)
            check.wait()
            os.close(output)
            os.close(ready)

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Start a fresh interpreter."""
        try:
            process = popen("worker", self.settings, output, amp_descriptor=amp_descriptor)
        finally:
            os.close(amp_descriptor)
            os.close(output)
        worker.started(process.pid)

        def reap() -> int:
            # Not reaped yet, the process keeps its id, so that the group killed is its own.
            process_control.kill_group(process.pid)
            return process.wait()

        worker.ends_with_link(reap)

    def stop(self) -> defer.Deferred[None]:
        """Do nothing: every child is told by its own link."""
        return defer.succeed(None)
