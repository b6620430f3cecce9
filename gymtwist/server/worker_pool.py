"""The pool: ampoule's ``ProcessPool``, with a child for each session and idle ones kept ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ampoule.pool import ProcessPool
from twisted.internet import defer

from gymtwist.errors import WorkerStartError
from gymtwist.server.server_log import log
from gymtwist.server.worker_process import WorkerLink, WorkerProcess
from gymtwist.server.worker_starter import Starter
from gymtwist.worker.amp_commands import Serve

#: Seconds after which an idle child beyond those to keep ready is let go.
_MAX_IDLE = 60
#: Seconds to wait, at first and at most, after a child ended that had served nobody.
_BACKOFF, _MAX_BACKOFF = 1.0, 30.0


class WorkerPool(ProcessPool):  # type: ignore[misc] # ampoule has no types
    """Keeps idle children ready and gives each of them one session.

    Ampoule replaces a child when its job has ended; here it is replaced when its job begins, so that the next
    connection finds one ready, and never beyond the number wanted.

    Args:
        reactor: Tells the time.
        starter: Starts the children.
        warm: How many idle children to keep ready.
    """

    def __init__(self, reactor: Any, starter: Starter, warm: int) -> None:
        self._reactor = reactor
        self._warm = warm
        self._backoff = _BACKOFF
        self._refill: Any = None
        # A child serves one session and is never used again: recycleAfter=1. How many sessions there may be is the
        # business of gymtwist.server.admission, so the pool itself sets no limit and queues nothing.
        super().__init__(
            ampParent=WorkerLink,
            min=0,
            max=2**31,
            maxIdle=_MAX_IDLE,
            recycleAfter=1,
            starter=starter,
            name="gymsock",
        )

    def start(self, ampChild: object = None) -> defer.Deferred[Any]:
        """Start the idle children."""
        self.started = True
        self._keep_warm()
        return defer.succeed(None)

    def serve(self, assigned: Callable[[WorkerProcess], None], **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Give a session to a child.

        Args:
            assigned: Called with the child that was chosen.
            job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`.

        Returns:
            The answer of the child; :class:`~gymtwist.server.worker_process.WorkerExited` if it ended without one.

        Raises:
            WorkerStartError: No child is ready, and none is started any more.
            OSError: No child is ready, and none can be started.
        """
        if not self.ready:
            self._fill(1)
        if not self.ready:
            raise WorkerStartError("the server is shutting down")
        answer: defer.Deferred[dict[str, Any]] = self.doWork(Serve, assigned=assigned, **job)
        answer.addCallback(self._served)
        # The job is given: nothing that happens from here on may look as if it were not.
        self.startAWorker()
        return answer

    def _served(self, answer: dict[str, Any]) -> dict[str, Any]:
        self._backoff = _BACKOFF
        return answer

    def _fill(self, wanted: int) -> None:
        """Start children until so many are idle."""
        # What is more than this may be let go by ampoule's own pruning.
        self.min = len(self.busy) + wanted
        for _ in range(wanted - len(self.ready)):
            super().startAWorker()

    def _keep_warm(self) -> None:
        """Start idle children until there are as many as wanted, now or when it is possible again."""
        try:
            self._fill(self._warm)
        except OSError as error:
            log.error(
                "No idle child can be started ({error}); next try in {delay:.0f} s", error=error, delay=self._backoff
            )
            self._back_off()

    def startAWorker(self) -> None:
        """Start what idle children are wanted; ampoule calls this too whenever a job has ended."""
        if self._refill is None:
            self._keep_warm()

    def _addProcess(self, child: WorkerLink, finished: defer.Deferred[str]) -> None:
        """Take a child into the pool; unlike ampoule's, without lines in the log for each."""
        self.processes.add(child)
        self.ready.add(child)
        self._finishCallbacks[child] = finished
        self._lastUsage[child] = time.time()
        self._calls[child] = 0
        finished.addCallback(self._worker_finished, child)

    def _worker_finished(self, how: str, worker: WorkerLink) -> str:
        unused = worker in self.ready
        self._pruneProcess(worker)
        if unused and not self.finished and self._refill is None:
            log.error("An idle child {how}; another follows in {delay:.0f} s", how=how, delay=self._backoff)
            self._back_off()
        return how

    def _back_off(self) -> None:
        self._refill = self._reactor.callLater(self._backoff, self._refill_now)
        self._backoff = min(2 * self._backoff, _MAX_BACKOFF)

    def _refill_now(self) -> None:
        self._refill = None
        self._keep_warm()

    def renew(self) -> None:
        """Replace the idle children: their fork server has ended, which was to kill what they leave behind."""
        for worker in list(self.ready):
            self.ready.discard(worker)
            self.stopAWorker(worker)
        self.startAWorker()

    def dumpStats(self) -> None:
        """Say nothing: ampoule would write a paragraph at each change of the pool."""

    def stop(self) -> defer.Deferred[Any]:
        """Let every child go.

        Returns:
            Fires when all have ended; :meth:`kill` hurries them.
        """
        self.finished = True
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        if self.looping.running:
            self.looping.stop()
        return defer.DeferredList([self.stopAWorker(worker) for worker in list(self.processes)])

    def kill(self) -> None:
        """Kill every child."""
        for link in list(self.processes):
            link.worker.kill()
