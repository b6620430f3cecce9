"""The starter that forks workers from a fork server, in milliseconds."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ampoule.iampoule import IStarter
from twisted.internet import defer
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.server.process_link import ANSWER_TIMEOUT, ProcessLink
from gymtwist.server.server_log import log
from gymtwist.server.worker_output import OutputReader
from gymtwist.server.worker_process import WorkerProcess
from gymtwist.server.worker_starter import READY_TIMEOUT, Ready, Starter, adopt, popen, wait_ready
from gymtwist.worker import amp_commands, process_control
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds to wait before replacing a fork server that ended: its imports may be what ends it.
RESTART_DELAY = 1.0
#: Seconds that a fork server has to end when told to.
STOP_TIMEOUT = 5.0


class ForkServer(ProcessLink):
    """The server's end of the AMP link to one fork server process.

    Args:
        reactor: The reactor of the server.
        settings: The settings of the workers.
        ended: Called with the exit code when the process has ended.
        ready_descriptor: Where the process reports that it has imported everything; -1 for nowhere.
        ready_timeout: Seconds that the imports may take.

    Attributes:
        lost: Whether the process has ended.

    Raises:
        OSError: There are no descriptors left, or no process can be started.
    """

    def __init__(
        self,
        reactor: Any,
        settings: WorkerSettings,
        ended: Callable[[int], None],
        ready_descriptor: int = -1,
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        super().__init__()
        self.lost = False
        self._ended = ended
        self._workers: dict[int, WorkerProcess] = {}
        self._ready_by = time.monotonic() + ready_timeout
        self._output: OutputReader | None = None
        server_end, process_end = socket.socketpair()
        self.output_pipe, writer = os.pipe()
        try:
            self.process = popen(
                "forkserver",
                settings,
                writer,
                amp_descriptor=process_end.fileno(),
                ready_descriptor=ready_descriptor,
            )
        except OSError:
            server_end.close()
            os.close(self.output_pipe)
            raise
        finally:
            process_end.close()
            os.close(writer)
        try:
            adopt(reactor, server_end, self)
        except OSError:
            server_end.close()
            os.close(self.output_pipe)
            self.reap()
            raise

    def wait_ready(self, ready_pipe: int) -> Ready:
        """Wait until the process has imported everything, before the reactor runs.

        Raises:
            WorkerStartError: It could not import everything; the message has the reason.
        """
        try:
            ready = wait_ready(ready_pipe, self.output_pipe)
        except BaseException:  # a signal may have ended the wait
            self._ended = lambda _: None  # nobody relies on it yet
            self.reap()
            os.close(self.output_pipe)
            raise
        self.responsive = True
        return ready

    def log_output(self, reactor: Any, printed: bytes = b"") -> None:
        """Log what the process prints from now on, preceded by what it has printed so far."""
        self._output = OutputReader(reactor, self.output_pipe, "fork server")
        if printed:
            self._output.childDataReceived("output", printed)

    # Workers

    def fork(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Fork a worker, and close both descriptors here once the worker has them."""

        def forked(answer: dict[str, int]) -> None:
            self.responsive = True
            pid = answer["pid"]
            self._workers[pid] = worker
            worker.link.responsive = True  # it has nothing to import
            worker.started(pid, partial(self._kill_worker, pid))

        def failed(failure: Failure) -> None:
            log.error("No process could be started: {reason}", reason=failure.getErrorMessage())
            # The process may exist, if the fork server ended just then. Its link reports its end in any case.
            worker.ends_with_link(lambda: None)

        def close(_: object) -> None:
            os.close(amp_descriptor)
            os.close(output)

        worker.requested(self._kill_unresponsive)
        answer = self.callRemote(amp_commands.Fork, amp=amp_descriptor, output=output)
        answer.addCallbacks(forked, failed).addBoth(close)

    def _kill_worker(self, pid: int) -> None:
        """Kill a worker, unless the process or its fork server has ended."""
        if not self.lost and pid in self._workers:
            self.callRemote(amp_commands.Kill, pid=pid)

    def check(self, now: float) -> None:
        """Kill the fork server if it does not answer pings."""
        if self.ping(now) > ANSWER_TIMEOUT:
            self._kill_unresponsive()

    def _kill_unresponsive(self) -> None:
        """Kill the fork server, which does not answer, unless it may still be importing."""
        importing = not self.responsive and time.monotonic() < self._ready_by
        if not importing and self.process.returncode is None:
            log.error("The fork server does not answer, and is killed")
            self.kill_process()

    def kill_process(self) -> None:
        """Kill the fork server; its workers continue."""
        self.process.kill()

    @amp_commands.Exited.responder
    def exited(self, pid: int, status: int) -> dict[str, Any]:
        """Note that a worker has ended."""
        self._workers.pop(pid).ended(os.waitstatus_to_exitcode(status))
        return {}

    # The end

    def stop(self) -> None:
        """Tell the process to end."""
        self.callRemote(amp_commands.Shutdown).addErrback(lambda failure: failure.trap(ConnectionClosed))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the process has ended; its workers are now orphans, and continue."""
        self.lost = True  # callbacks that fail below may ask for workers at once
        super().connectionLost(reason)
        exit_code = self.reap()
        workers, self._workers = self._workers, {}
        for pid, worker in workers.items():
            # Each led its process group, and may leave other processes in it.
            worker.ends_with_link(partial(process_control.kill_group, pid))
        self._ended(exit_code)

    def reap(self) -> int:
        """Reap the process, and stop reading what it prints."""
        self.process.kill()
        exit_code = self.process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None
        return exit_code


@implementer(IStarter)
class ForkServerStarter(Starter):
    """Forks each worker from a process that has imported everything.

    If that process ends, its workers continue, and a new one is started.

    Args:
        reactor: The reactor of the server.
        settings: The settings of the workers.
    """

    def __init__(self, reactor: Any, settings: WorkerSettings) -> None:
        super().__init__(reactor, settings)
        self.fork_server: ForkServer | None = None
        self._begun: tuple[ForkServer, int] | None = None
        self._waiting: list[tuple[WorkerProcess, int, int]] = []
        self._restart: Any = None
        self._stopped: defer.Deferred[None] | None = None

    @property
    def process(self) -> int | None:
        """The id of the fork server process; None if there is none now."""
        return None if self.fork_server is None else self.fork_server.process.pid

    def begin(self) -> None:
        """Start the fork server, which imports while this process does other work before :meth:`start`.

        Call this after daemonizing and changing the user, if this process does either.
        """
        ready_pipe, ready_writer = os.pipe()
        try:
            self._begun = ForkServer(self.reactor, self.settings, self._lost, ready_writer), ready_pipe
        except OSError:
            os.close(ready_pipe)
            raise
        finally:
            os.close(ready_writer)

    def start(self) -> None:
        """Start the fork server unless :meth:`begin` has, and wait until it has imported everything.

        Raises:
            WorkerStartError: It could not; the message has the reason.
        """
        if self._begun is None:
            self.begin()
        assert self._begun is not None
        fork_server, ready_pipe = self._begun
        try:
            ready = fork_server.wait_ready(ready_pipe)
            self.started(ready)
            fork_server.log_output(self.reactor, ready.printed)
        finally:
            os.close(ready_pipe)
        self.fork_server = fork_server

    def start_worker(self, worker: WorkerProcess, amp_descriptor: int, output: int) -> None:
        """Fork a worker; if there is no fork server now, or it is just ending, wait for the next one."""
        if self.fork_server is None or self.fork_server.lost:
            self._waiting.append((worker, amp_descriptor, output))
        else:
            self.fork_server.fork(worker, amp_descriptor, output)

    def adopted(self, pid: int) -> None:
        """Make the fork server leave alone a worker that another worker has forked."""
        if self.fork_server is not None and not self.fork_server.lost:
            self.fork_server.callRemote(amp_commands.Adopt, pid=pid)

    def disowned(self, pid: int) -> None:
        """Tell the fork server that this worker has ended."""
        if self.fork_server is not None and not self.fork_server.lost:
            self.fork_server.callRemote(amp_commands.Disown, pid=pid)

    def check(self) -> None:
        """Kill a fork server that does not answer; a new one replaces it."""
        if self.fork_server is not None:
            self.fork_server.check(self.reactor.seconds())

    def _lost(self, exit_code: int) -> None:
        """Replace the fork server, which has ended."""
        self.fork_server = None
        if self._stopped is not None:
            self._stopped.callback(None)
            return
        log.error("The fork server ended (status {status}); starting another, sessions continue", status=exit_code)
        self._restart = self.reactor.callLater(RESTART_DELAY, self._start_again)
        self.on_lost()

    def _start_again(self) -> None:
        self._restart = None
        try:
            fork_server = ForkServer(self.reactor, self.settings, self._lost, ready_timeout=self.ready_timeout)
        except OSError as error:
            log.error("Cannot start a fork server ({error}); trying again", error=error)
            self._restart = self.reactor.callLater(RESTART_DELAY, self._start_again)
            return
        fork_server.log_output(self.reactor)
        self.fork_server = fork_server
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            self.start_worker(*each)

    def stop(self) -> defer.Deferred[None]:
        """End the fork server.

        Returns:
            A Deferred that fires when it has ended; it is killed if that takes more than :data:`STOP_TIMEOUT`.
        """
        stopped = self._stopped = defer.Deferred()
        if self._restart is not None:
            self._restart.cancel()
        for worker, amp_descriptor, output in self._waiting:
            os.close(amp_descriptor)
            os.close(output)
            worker.ends_with_link(lambda: None)
        self._waiting.clear()
        if self.fork_server is None:
            stopped.callback(None)
            return stopped
        self.fork_server.stop()
        timeout = self.reactor.callLater(STOP_TIMEOUT, self.fork_server.process.kill)
        stopped.addCallback(lambda _: timeout.active() and timeout.cancel())
        return stopped
