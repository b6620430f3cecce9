"""The starters of workers, which implement ampoule's ``IStarter``, including one that spawns fresh interpreters."""

from __future__ import annotations

import contextlib
import os
import re
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
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.errors import RequestError, SnapshotRefused, UnknownSnapshot, WorkerStartError
from gymtwist.server.control_groups import ControlGroups
from gymtwist.server.process_end import ProcessEnd
from gymtwist.server.worker_output import OutputReader
from gymtwist.server.worker_process import NEW_PROCESS, WorkerLink, WorkerProcess
from gymtwist.worker import process_control
from gymtwist.worker.amp_commands import Branch
from gymtwist.worker.readiness import Readiness
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds that a process may take without reporting progress while it imports modules or tries environments.
READY_TIMEOUT = 120.0
#: The last line of output of a process that cannot isolate sessions.
_NOT_ISOLATED = re.compile(rf"{WorkerStartError.__name__}: (.*)\Z")


def popen(
    role: str, settings: WorkerSettings, output: int, *, amp_descriptor: int = -1, ready_descriptor: int = -1
) -> subprocess.Popen[bytes]:
    """Start a Python process of ``gymtwist.worker`` in its own process session.

    Args:
        role: Its role; see :mod:`gymtwist.worker.__main__`.
        settings: The settings of the workers.
        output: The descriptor for its standard output and standard error.
        amp_descriptor: The descriptor of its AMP socket; -1 for none.
        ready_descriptor: Where it reports that it has imported everything; -1 for nowhere.

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
        # Some environments draw from sets of strings: this gives those sets the same order in every process.
        env={"PYTHONHASHSEED": "0", **os.environ},
    )


def import_failed(printed: bytes) -> WorkerStartError:
    """Return the error for a process that could not import everything.

    Args:
        printed: Its output. The message begins with the last line, which in a traceback is the exception.
    """
    text = printed.decode(errors="replace").rstrip()
    if refused := _NOT_ISOLATED.search(text):
        return WorkerStartError(refused.group(1))
    return WorkerStartError(f"--preload or --setup failed: {text.rpartition(chr(10))[2]}\n{text}")


class Ready(NamedTuple):
    """The report of a process that has imported everything.

    Attributes:
        printed: The end of its output.
        readiness: The environments that it can make.
        seconds: How long it took.
    """

    printed: bytes
    readiness: Readiness
    seconds: float


def wait_ready(ready: int, output: int, now: Callable[[], float] = time.monotonic) -> Ready:
    """Wait until a process reports that it has imported everything; blocks, so call it before the reactor runs.

    Args:
        ready: The pipe for its reports: an empty line for each sign of progress, then its readiness.
        output: The pipe for its output.
        now: Returns the time in seconds.

    Raises:
        WorkerStartError: It has ended, or it timed out; the message has the reason.
    """
    printed = reported = b""
    began = now()
    deadline = began + READY_TIMEOUT
    watched = [ready, output]
    while True:
        readable, _, _ = select.select(watched, [], [], max(0.0, deadline - now()))
        if output in readable:
            if now() > deadline:
                raise WorkerStartError(f"--preload or --setup took more than {READY_TIMEOUT:.0f} s")
            data = os.read(output, 65536)
            if not data:
                watched.remove(output)
            # Only the end is kept: a traceback ends with the exception.
            printed = (printed + data)[-65536:]
        elif ready in readable:
            data = os.read(ready, 65536)
            if not data:
                raise import_failed(printed)
            deadline = now() + READY_TIMEOUT
            reported = (reported + data).lstrip(b"\n")
            if reported.endswith(b"\n"):
                return Ready(printed, Readiness.from_line(reported), now() - began)
        else:
            raise WorkerStartError(f"--preload or --setup took more than {READY_TIMEOUT:.0f} s")


def adopt(reactor: Any, connection: socket.socket, protocol: amp.AMP) -> None:
    """Connect a protocol to the server's end of a UNIX socket pair; the socket object is closed here."""
    connection.setblocking(False)
    reactor.adoptStreamConnection(connection.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: protocol))
    connection.close()


class Starter:
    """What all starters share.

    Args:
        reactor: The reactor of the server.
        settings: The settings of the workers.

    Attributes:
        groups: The control groups of sessions; None until :meth:`have_groups` is called.
        readiness: The available environments; known once the starter has started.
        ready_timeout: Seconds that a process started later may take to answer, since it reports no progress.
        on_lost: Called when the process that cleans up after idle workers has ended.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        self.reactor = reactor
        self.settings = settings
        self.groups: ControlGroups | None = None
        self.readiness = Readiness()
        self.ready_timeout = READY_TIMEOUT
        self.on_lost: Callable[[], None] = lambda: None

    def have_groups(self, groups: ControlGroups) -> None:
        """Start workers in control groups from now on, if there are any."""
        self.groups = groups
        self.settings = groups.applied_to(self.settings)

    @property
    def process(self) -> int | None:
        """The id of the process that starts workers; None if that is the server."""
        return None

    def begin(self) -> None:
        """Begin the slow part of the start; call this only in a process that no longer forks or changes its user."""

    def start(self) -> None:
        """Check that everything can be imported, before the first worker is started.

        Raises:
            WorkerStartError: Something cannot; the message has the reason.
        """
        raise NotImplementedError

    def started(self, ready: Ready) -> None:
        """Note the outcome of the start."""
        self.readiness = ready.readiness
        self.ready_timeout = READY_TIMEOUT + ready.seconds

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Start the process of a worker; both descriptors are closed here once the process has them."""
        raise NotImplementedError

    def check(self) -> None:
        """Replace the process that starts workers if it does not answer; called every few seconds."""

    def stop(self) -> defer.Deferred[None]:
        """End the process that starts workers; return a Deferred that fires when that is done."""
        return defer.succeed(None)

    def startAMPProcess(
        self, ampChild: object, ampParent: object = None, ampChildArgs: object = ()
    ) -> tuple[WorkerLink, defer.Deferred[str]]:
        """Start a worker; see ``ampoule.iampoule.IStarter``.

        Returns:
            The server's end of the AMP link to it, and a Deferred that fires when it has ended.

        Raises:
            OSError: There are no descriptors left, or no process can be started.
        """
        worker, worker_end, writer = self._connect()
        self.start_worker(worker, worker_end, writer)
        return worker.link, worker.finished

    def _connect(self) -> tuple[WorkerProcess, int, int]:
        """Return a worker to be started, and the descriptors for its AMP socket and its output.

        Raises:
            OSError: There are no descriptors left.
        """
        server_end, worker_end = socket.socketpair()
        reader, writer = os.pipe()
        link = WorkerLink()
        output = OutputReader(self.reactor, reader, NEW_PROCESS)
        worker = WorkerProcess(link, output, os.fstat(worker_end.fileno()).st_ino)
        worker.finished.addCallback(self._remove_group, worker)
        try:
            adopt(self.reactor, server_end, link)
        except OSError:
            os.close(writer)
            raise
        return worker, worker_end.detach(), writer

    def _remove_group(self, how: str, worker: WorkerProcess) -> str:
        if self.groups is not None and worker.process is not None:
            self.groups.ended(worker.process, worker.end)
        return how

    def branch_off(self, origin: WorkerLink, ticket: str) -> tuple[WorkerProcess, defer.Deferred[None]]:
        """Make a worker fork another one from a snapshot.

        Args:
            origin: The link to the worker.
            ticket: The ticket of the snapshot.

        Returns:
            The new worker, which may get its job at once, and a Deferred that fires when its process has begun; the
                Deferred fails with RequestError if no process begins.

        Raises:
            OSError: There are no descriptors left.
        """
        worker, worker_end, writer = self._connect()

        def close(answer: Any) -> Any:
            os.close(worker_end)
            os.close(writer)
            return answer

        def forked(answer: dict[str, Any]) -> None:
            pid = answer["pid"]
            if not pid:
                is_known = answer["code"] != UnknownSnapshot.code
                raise (SnapshotRefused if is_known else UnknownSnapshot)(answer["problem"])
            worker.link.responsive = True
            worker.started(pid)
            self.adopted(pid)

            def reap() -> None:
                self.disowned(pid)
                process_control.kill_group(pid)

            worker.ends_with_link(reap)

        def failed(failure: Failure) -> Failure:
            worker.ended(None)
            if failure.check(RequestError):
                return failure
            return Failure(UnknownSnapshot("the session of this ticket has ended"))

        answer = origin.callRemote(Branch, ticket=ticket, amp=worker_end, output=writer)
        return worker, answer.addBoth(close).addCallback(forked).addErrback(failed)

    def adopted(self, pid: int) -> None:
        """Note that another worker forked this one."""

    def disowned(self, pid: int) -> None:
        """Note that such a worker has ended."""

    def startPythonProcess(self, prot: object, *args: object) -> None:
        """Refuse: this part of ampoule's interface is for starters that extend ampoule's own."""
        raise NotImplementedError("only startAMPProcess is supported")


@implementer(IStarter)
class SpawnStarter(Starter):
    """Starts a fresh interpreter for each worker: slow, but it works where fork does not.

    Args:
        reactor: The reactor of the server.
        settings: The settings of the workers.
        beside_others: Whether a fork server imports everything as well.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings, *, beside_others: bool = False) -> None:
        super().__init__(reactor, settings)
        self._beside_others = beside_others

    def start(self) -> None:
        """Check that everything can be imported, unless another starter does.

        Raises:
            WorkerStartError: Something cannot; the message has the reason.
        """
        if self._beside_others:
            return
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
            self.started(wait_ready(ready, output))
        finally:
            # Kill the processes that the setup file started, too: each worker starts its own.
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
            # The process keeps its id until it is reaped, so this kills its own group.
            process_control.kill_group(process.pid)
            return process.wait()

        worker.ends_with_link(reap)
        if not worker.finished.called and hasattr(os, "pidfd_open"):  # Linux
            # Processes left behind by the worker may hold the other end of the link.
            with contextlib.suppress(OSError):  # for most workers, the link is enough
                worker.finished.addCallback(ProcessEnd(self.reactor, process.pid, worker.link_lost).close)
