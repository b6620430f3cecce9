"""The server's end of the fork server: children that start in milliseconds."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from functools import partial
from typing import Any

from ampoule.iampoule import IStarter
from twisted.internet import defer
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.errors import WorkerStartError
from gymtwist.server.server_log import log
from gymtwist.server.worker_output import OutputReader
from gymtwist.server.worker_process import WorkerProcess
from gymtwist.server.worker_starter import READY_TIMEOUT, Starter, adopt, popen, wait_ready
from gymtwist.worker import amp_commands, process_control
from gymtwist.worker.amp_link import Link
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds to wait before a fork server that died is started anew: it may die of what it imports.
RESTART_DELAY = 1.0
#: Seconds a fork server has to leave when it is told to.
STOP_TIMEOUT = 5.0


class ForkServerLink(Link):
    """The server's end of AMP with the fork server."""

    def __init__(self, starter: ForkServerStarter) -> None:
        super().__init__()
        self._starter = starter

    @amp_commands.Exited.responder
    def exited(self, pid: int, status: int) -> dict[str, Any]:
        """A child has ended."""
        self._starter.worker_exited(pid, os.waitstatus_to_exitcode(status))
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The fork server has ended."""
        super().connectionLost(reason)
        self._starter.lost()


@implementer(IStarter)
class ForkServerStarter(Starter):
    """Starts each child by a fork of a process that has imported everything before.

    If that process is killed, its children go on serving, and another one is started.

    Args:
        reactor: The reactor of the server.
        settings: What children are told.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        super().__init__(reactor, settings)
        self._workers: dict[int, WorkerProcess] = {}
        self._waiting: list[tuple[WorkerProcess, int, int]] = []
        self._link: ForkServerLink | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: OutputReader | None = None
        self._restart: Any = None
        self._ready = False
        self._launched = 0.0
        self._stopped: defer.Deferred[None] | None = None

    def start(self) -> None:
        """Start the fork server, and wait until it has imported everything.

        Raises:
            WorkerStartError: It could not; the message has the reason.
        """
        ready_reader, ready_writer = os.pipe()
        try:
            output = self._launch(ready_writer)
        finally:
            os.close(ready_writer)
        try:
            printed, self.readiness = wait_ready(ready_reader, output)
        except WorkerStartError:
            self._reap()
            raise
        finally:
            os.close(ready_reader)
        self._ready = True
        self._output = OutputReader(self.reactor, output, "fork server")
        if printed:
            self._output.childDataReceived("output", printed)

    def _launch(self, ready_writer: int = -1) -> int:
        """Start the process and link up with it.

        Returns:
            The reading end of what it prints to.
        """
        ours, its = socket.socketpair()
        reader, writer = os.pipe()
        try:
            self._process = popen(
                "forkserver",
                self.settings,
                writer,
                amp_descriptor=its.fileno(),
                ready_descriptor=ready_writer,
            )
        except OSError:
            ours.close()
            os.close(reader)
            raise
        finally:
            its.close()
            os.close(writer)
        link = ForkServerLink(self)
        try:
            adopt(self.reactor, ours, link)
        except OSError:
            ours.close()
            os.close(reader)
            self._reap()
            raise
        self._link = link
        self._ready, self._launched = False, time.monotonic()
        return reader

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Have a child forked, by the next fork server if there is none now."""

        def forked(answer: dict[str, int]) -> None:
            self._ready = True
            self._workers[answer["pid"]] = worker
            worker.started(answer["pid"], partial(self._kill, answer["pid"]))

        def failed(failure: Failure) -> None:
            log.error("No process could be started: {reason}", reason=failure.getErrorMessage())
            # It may exist if the fork server ended just then: what is certain is that its link tells of its end.
            worker.ends_with_link(lambda: None)

        def close(_: object) -> None:
            os.close(amp_descriptor)
            os.close(output)

        if self._link is None:
            self._waiting.append((worker, amp_descriptor, output))
            return
        worker.starting(self._replace)
        answer = self._link.callRemote(amp_commands.Fork, amp=amp_descriptor, output=output)
        answer.addCallbacks(forked, failed).addBoth(close)

    def _kill(self, pid: int) -> None:
        """Have a child killed, unless its fork server has told of its end, or has ended itself."""
        if self._link is not None and pid in self._workers:
            self._link.callRemote(amp_commands.Kill, pid=pid)

    def _replace(self) -> None:
        """Kill a fork server that does not answer, unless it still imports; another one follows."""
        importing = not self._ready and time.monotonic() < self._launched + READY_TIMEOUT
        if self._process is not None and not importing:
            log.error("The fork server does not answer, and is killed")
            self._process.kill()

    def worker_exited(self, pid: int, exit_code: int) -> None:
        """Note what the fork server tells of a child."""
        self._workers.pop(pid).ended(exit_code)

    def lost(self) -> None:
        """Note that the fork server has ended: its children are orphans now, and go on."""
        self._link = None
        exit_code = self._reap()
        workers, self._workers = self._workers, {}
        for pid, worker in workers.items():
            worker.ends_with_link(partial(_reap_orphan, pid))
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        log.error("The fork server ended (status {status}); starting another, sessions go on", status=exit_code)
        self._restart = self.reactor.callLater(RESTART_DELAY, self._start_again)
        self.on_lost()

    def _start_again(self) -> None:
        self._restart = None
        try:
            self._output = OutputReader(self.reactor, self._launch(), "fork server")
        except OSError as error:
            log.error("No fork server can be started ({error}); trying again", error=error)
            self._restart = self.reactor.callLater(RESTART_DELAY, self._start_again)
            return
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self.start_worker(*each)

    def _reap(self) -> int | None:
        """Reap the fork server, and stop reading what it prints."""
        exit_code = None
        if self._process is not None:
            self._process.kill()
            exit_code = self._process.wait()
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None
        return exit_code

    def stop(self) -> defer.Deferred[None]:
        """End the fork server.

        Returns:
            Fires when it has ended; it is killed if it takes more than :data:`STOP_TIMEOUT`.
        """
        stopped = self._stopped = defer.Deferred()
        if self._restart is not None:
            self._restart.cancel()
        for worker, amp_descriptor, output in self._waiting:
            os.close(amp_descriptor)
            os.close(output)
            worker.ends_with_link(lambda: None)
        self._waiting.clear()
        if self._link is None or self._process is None:
            stopped.callback(None)
            return stopped
        self._link.callRemote(amp_commands.Shutdown).addErrback(lambda failure: failure.trap(ConnectionClosed))
        timeout = self.reactor.callLater(STOP_TIMEOUT, self._process.kill)
        stopped.addCallback(lambda _: timeout.active() and timeout.cancel())
        return stopped


def _reap_orphan(pid: int) -> None:
    """Kill what an orphan left in its process group, of which it was the leader."""
    process_control.kill_group(pid)
