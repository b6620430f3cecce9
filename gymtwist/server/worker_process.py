"""A worker as the server sees it: its AMP link, its output, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import connectionDone
from twisted.protocols.amp import ANSWER, ERROR
from twisted.python.failure import Failure

from gymtwist.error_texts import how_ended
from gymtwist.server.process_link import ProcessLink
from gymtwist.server.worker_output import OutputReader

#: The source of output in the log while the process id is unknown.
NEW_PROCESS = "new process"


class WorkerLink(ProcessLink):
    """The server's end of the AMP link to one worker; ampoule's ``ampParent``.

    Losing the link does not mean that the worker has ended: calls fail when the process has ended, with its exit
    status.

    Attributes:
        worker: The worker at the other end.
        lost: Whether the link is lost.
    """

    worker: WorkerProcess

    def __init__(self) -> None:
        super().__init__()
        self.lost = False

    def callRemote(
        self, commandType: Any, *a: Any, assigned: Callable[[WorkerProcess], None] | None = None, **kw: Any
    ) -> defer.Deferred[Any]:
        """Send a command; see ``amp.AMP``.

        Args:
            commandType: The command.
            a: See ``amp.AMP``.
            assigned: Called with the worker before the command is sent: the pool does not say which one it chose. None
                to call nothing.
            kw: The command's arguments.
        """
        if assigned is not None:
            assigned(self.worker)
        if self.lost:
            # It was killed while idle, and its exit is not reported yet. The transport would refuse descriptors.
            return defer.fail(WorkerExited(None))
        answer: defer.Deferred[Any] = super().callRemote(commandType, *a, **kw)
        return answer

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the loss of the link."""
        self.lost = True
        self.worker.link_lost()

    def ampBoxReceived(self, box: Any) -> None:
        """Handle a box, which must be an answer: workers send the server no commands."""
        if ANSWER not in box and ERROR not in box:
            raise ValueError("a command")
        super().ampBoxReceived(box)

    def kill_process(self) -> None:
        """Kill the worker."""
        self.worker.kill()

    def abort(self) -> None:
        """Close the link, which ends the worker; see :mod:`gymtwist.worker.parent_death`."""
        if not self.lost and self.transport is not None:
            self.transport.abortConnection()

    def fail_calls(self, reason: Failure) -> None:
        """Fail all pending and later calls with this reason, whatever was received over the link."""
        self.stopReceivingBoxes(reason)
        self.transport = None


class WorkerProcess:
    """A process that serves one session: it is requested, then exists from :meth:`started` until :meth:`ended`.

    Args:
        link: The server's end of the AMP link to it.
        output: Reads its output.
        end: The inode number of its end of that link.

    Attributes:
        pid: A Deferred that fires with the process id; with None if the process ends before its id is known.
        finished: A Deferred that fires when the process has ended and its calls have failed; ampoule waits for it.
    """

    #: The node that the process is on; empty for this machine.
    place = ""
    #: The bytes held by a process on a node, and its processor time in seconds.
    used = (0, 0.0)
    #: The session that it serves.
    session: Any = None
    #: Its process id; None until that is known.
    process: int | None = None

    def __init__(self, link: WorkerLink, output: OutputReader, end: int = 0) -> None:
        link.worker = self
        self.link = link
        self.output = output
        self.end = end
        self.pid: defer.Deferred[int | None] = defer.Deferred()
        self.finished: defer.Deferred[str] = defer.Deferred()
        self._ended = False
        #: Kills the process, for when closing its link may not end it.
        self._kill: Callable[[], None] = self._give_up
        self._reap: Callable[[], int | None] | None = None

    # The life of the process, as reported by whatever started it

    def requested(self, kill_starter: Callable[[], None]) -> None:
        """Note that the process was requested.

        Args:
            kill_starter: Called if the process is to be killed before it is known to exist.
        """

        def kill() -> None:
            kill_starter()
            self._give_up()

        self._kill = kill

    def _give_up(self) -> None:
        """Stop waiting for a process that may never exist; if it does start later, it ends with its link."""
        self.ended(None)

    def started(self, pid: int, kill: Callable[[], None] = lambda: None) -> None:
        """Note that the process exists.

        Args:
            pid: Its id.
            kill: Kills it if closing its link may not end it: an environment may have closed the other end.
        """
        if self._ended:
            return
        self._kill = kill
        if self.output.source == NEW_PROCESS:
            self.output.source = f"process {pid}"
        self.process = pid
        self.pid.callback(pid)

    def ends_with_link(self, reap: Callable[[], int | None]) -> None:
        """Treat the loss of the link as the end of the process, since no parent reports it.

        Args:
            reap: Called at the end; returns the argument for :meth:`ended`.
        """
        self._reap = reap
        if self.link.lost:
            self.ended(reap())

    def link_lost(self) -> None:
        """Note that the link is lost, or that the process has ended while another process holds its end of the link."""
        if self._reap is not None:
            self.ended(self._reap())

    def ended(self, exit_code: int | None) -> None:
        """Note that the process has ended; only the first report counts.

        Args:
            exit_code: Its exit status, or minus the number of the signal that killed it; None if neither is known.
        """
        if self._ended:
            return
        self._ended = True
        exited = WorkerExited(exit_code)
        # The order matters: the last output is logged before the line that says that the session ended. Ampoule looks
        # the worker up when a call fails, and forgets it once it has finished.
        self.output.close()
        if not self.pid.called:
            self.pid.callback(None)
        self.link.abort()
        self.link.fail_calls(Failure(exited))
        self.finished.callback(str(exited))

    # What the server does to it

    def kill(self) -> None:
        """Kill the process and its group, whatever it is doing; its end is reported like any other."""
        self.link.abort()
        if not self._ended:
            self._kill()


class WorkerExited(ProcessTerminated):
    """A worker has ended; as a string, a clause that says how: ``was killed by SIGSEGV``.

    It is a ``ProcessTerminated`` because ampoule expects one from a worker that cannot answer.

    Args:
        exit_code: See :meth:`WorkerProcess.ended`.
    """

    def __init__(self, exit_code: int | None) -> None:
        killed = exit_code is not None and exit_code < 0
        super().__init__(None if killed else exit_code, -exit_code if killed and exit_code is not None else None)

    def __str__(self) -> str:
        code: int | None = self.exitCode if self.signal is None else -self.signal
        return how_ended(code)
