"""One child as the server sees it: a link that speaks AMP, what it prints, and its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from gymtwist.server.worker_output import OutputReader
from gymtwist.worker.amp_link import Link

#: Who prints, as the log says it, until there is a process id.
NEW_PROCESS = "new process"


class WorkerLink(Link):
    """The server's end of AMP with one child; in ampoule's words the ``ampParent``.

    The link's loss is not the end of the child: its calls fail when the process has ended, with the status that says
    how. See :class:`WorkerProcess`.

    Attributes:
        worker: The child at the other end.
    """

    worker: WorkerProcess

    def callRemote(
        self, commandType: Any, *a: Any, assigned: Callable[[WorkerProcess], None] | None = None, **kw: Any
    ) -> defer.Deferred[Any]:
        """Send a command; see ``amp.AMP``.

        Args:
            commandType: The command.
            a: As for ``amp.AMP``.
            assigned: Called with this child before the command is sent: the pool does not tell which child it chose.
            kw: The command's arguments.
        """
        if assigned is not None:
            assigned(self.worker)
        if not self.worker.reachable:
            # Killed while it was idle, and its end is not told of yet. The transport would refuse descriptors.
            return defer.fail(WorkerExited(None))
        answer: defer.Deferred[Any] = super().callRemote(commandType, *a, **kw)
        return answer

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the child that its link is lost."""
        self.worker.link_lost()

    def fail(self, reason: Failure) -> None:
        """Fail the calls that wait for an answer, and those to come; for this reason, whatever came over the link."""
        self.stopReceivingBoxes(reason)
        self.transport = None


class WorkerProcess:
    """A process that serves one session.

    Args:
        link: The server's end of AMP with it.
        output: Reads what it prints.

    Attributes:
        pid: Fires with the process id, or fails if there is no process.
        finished: Fires when the process has ended and its calls have failed; ampoule waits for it.
    """

    def __init__(self, link: WorkerLink, output: OutputReader) -> None:
        link.worker = self
        self.link = link
        self.output = output
        self.pid: defer.Deferred[int] = defer.Deferred()
        self.finished: defer.Deferred[str] = defer.Deferred()
        self._ended = False
        self._link_lost = False
        self._reap: Callable[[], int | None] | None = None
        self._killer: Callable[[], None] | None = None
        self._unstarted: Callable[[], None] | None = None

    def starting(self, unstarted: Callable[[], None]) -> None:
        """Note that the process was asked for.

        Args:
            unstarted: Called if it is to be killed before anybody has said that it exists.
        """
        self._unstarted = unstarted

    def started(self, pid: int, killer: Callable[[], None] | None = None) -> None:
        """Note that the process exists.

        Args:
            pid: Its id.
            killer: Kills it, where the loss of its link may not.
        """
        if self._ended:
            return
        self._killer = killer
        if self.output.source == NEW_PROCESS:
            self.output.source = f"process {pid}"
        self.pid.callback(pid)

    @property
    def reachable(self) -> bool:
        """Whether the link lasts."""
        return not self._link_lost

    def kill(self) -> None:
        """Kill the process and all in its group, whatever it is doing; see :mod:`gymtwist.worker.parent_death`."""
        if not self._link_lost and self.link.transport is not None:
            self.link.transport.abortConnection()
        if self._ended:
            return
        if self._killer is not None:
            # An environment may have closed the other end of the link, and so much else, without ending.
            self._killer()
        elif not self.pid.called:
            # A fork server that does not answer is not waited for: should the process come, it ends with its link.
            if self._unstarted is not None:
                self._unstarted()
            self.ended(None)

    def link_lost(self) -> None:
        """Note that the link is lost."""
        self._link_lost = True
        if self._reap is not None:
            self.ended(self._reap())

    def ends_with_link(self, reap: Callable[[], int | None]) -> None:
        """Take the loss of the link for the end of the process, as nobody else will tell of it.

        Args:
            reap: Called at the end; returns what :meth:`ended` takes.
        """
        self._reap = reap
        if self._link_lost:
            self.ended(reap())

    def ended(self, exit_code: int | None) -> None:
        """Note that the process has ended.

        Args:
            exit_code: Its exit status, the negative number of the signal that killed it, or None if neither is known.
        """
        if self._ended:
            return
        self._ended = True
        self.output.close()
        failure = Failure(WorkerExited(exit_code))
        if not self.pid.called:
            self.pid.errback(failure)
            self.pid.addErrback(lambda _: None)  # whoever waits for it knows by now
        # In this order: ampoule looks the child up when a call fails, and forgets it when it has finished.
        self.kill()
        self.link.fail(failure)
        self.finished.callback(str(failure.value))


class WorkerExited(ProcessTerminated):
    """A child has ended; as a string, a clause that says how: ``was killed by SIGSEGV``.

    It is a ``ProcessTerminated`` because that is what ampoule expects of a child that cannot answer.

    Args:
        exit_code: As :meth:`Child.ended` takes it.
    """

    def __init__(self, exit_code: int | None) -> None:
        killed = exit_code is not None and exit_code < 0
        super().__init__(None if killed else exit_code, -exit_code if killed and exit_code is not None else None)

    def __str__(self) -> str:
        if self.signal is not None:
            try:
                return f"was killed by {signal.Signals(self.signal).name}"
            except ValueError:  # a real-time signal
                return f"was killed by signal {self.signal}"
        return "ended" if self.exitCode is None else f"exited with status {self.exitCode}"
