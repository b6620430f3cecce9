"""The pool: ampoule's ``ProcessPool``, with one worker per session and some idle workers kept ready.

Ampoule replaces a worker when its job ends; this pool replaces it when its job begins, so that the next connection
finds an idle one. It never keeps more idle workers than wanted. It goes beyond ampoule's public interface (``doWork``,
``startAWorker``, ``stopAWorker``, ``processes``, ``ready``, ``busy``, ``min``, ``finished``) in two ways:

- ``_addProcess`` is overridden, so this class calls ``_pruneProcess`` and fills ``_finishCallbacks``, ``_lastUsage``
  and ``_calls``: ampoule's version logs a line when any worker ends, and does not distinguish idle workers from busy
  ones.
- ``stop`` is overridden, because ampoule's version keeps pruning until the last worker has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ampoule.pool import ProcessPool
from twisted.internet import defer, task
from twisted.python.failure import Failure

from gymtwist.errors import WorkerStartError
from gymtwist.server.process_link import ANSWER_TIMEOUT, PING_INTERVAL
from gymtwist.server.server_log import log
from gymtwist.server.worker_process import WorkerLink, WorkerProcess
from gymtwist.server.worker_starter import Starter
from gymtwist.worker.amp_commands import Serve

#: Seconds after which a surplus idle worker is stopped.
_MAX_IDLE = 60
#: The first and the longest delay in seconds after an idle worker has ended.
_BACKOFF, _MAX_BACKOFF = 1.0, 30.0
#: Seconds that a worker has to exit after it has answered, before it is killed.
EXIT_TIMEOUT = 10.0


class NodeRoom(NamedTuple):
    """The capacity of a node.

    Attributes:
        name: The name of the node.
        sessions: The number of its sessions.
        room: How many sessions it can have in total.
        is_resting: Whether its agent must start before a session can begin there.
        resources: For each resource, how much the node's sessions take, and how much it has.
    """

    name: str
    sessions: int
    room: int
    is_resting: bool
    resources: dict[str, tuple[float, float]]


class WorkerPool(ProcessPool):  # type: ignore[misc] # ampoule has no types
    """Keeps idle workers ready, and assigns one session to each worker.

    Args:
        reactor: Provides the time.
        starter: Starts the workers.
        warm: The number of idle workers to keep ready.

    Attributes:
        warm: The number of idle workers to keep ready.
    """

    #: The capacity of each node; empty on a server without nodes.
    rooms: tuple[NodeRoom, ...] = ()
    #: The resources that queued sessions wait for.
    wanted: Mapping[str, float] = MappingProxyType({})
    #: Whether this server must watch the workers itself.
    is_watching = True

    def __init__(self, reactor: Any, starter: Starter, warm: int) -> None:
        self.warm = warm
        self._reactor = reactor
        self._backoff = _BACKOFF
        self._refill: Any = None
        self._checking = task.LoopingCall.withCount(self._check)
        self._checking.clock = reactor
        # A worker serves one session and is never reused: recycleAfter=1. gymtwist.server.admission limits the
        # sessions, so the pool sets no limit and queues nothing.
        super().__init__(
            ampParent=WorkerLink,
            min=0,
            max=2**31,
            maxIdle=_MAX_IDLE,
            recycleAfter=1,
            starter=starter,
            name="gymsock",
        )

    # Start and stop

    def start(self, ampChild: object = None) -> defer.Deferred[Any]:
        """Start the idle workers."""
        self.started = True
        self._keep_warm()
        self._checking.start(PING_INTERVAL, now=False)
        return defer.succeed(None)

    def stop(self) -> defer.Deferred[Any]:
        """Tell every worker to exit.

        Returns:
            A Deferred that fires when all have ended; :meth:`kill` speeds that up.
        """
        self.finished = True
        if self._refill is not None:
            self._refill.cancel()
            self._refill = None
        for loop in (self.looping, self._checking):
            if loop.running:
                loop.stop()
        return defer.DeferredList([self.stopAWorker(link) for link in list(self.processes)])

    def kill(self) -> None:
        """Kill every worker."""
        for link in list(self.processes):
            link.worker.kill()

    # Sessions

    def serve(self, assigned: Callable[[WorkerProcess], None], **job: Any) -> defer.Deferred[dict[str, Any]]:
        """Assign a session to a worker.

        Args:
            assigned: Called with the worker.
            job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`.

        Returns:
            A Deferred that fires with the worker's answer; it fails with
                :class:`~gymtwist.server.worker_process.WorkerExited` if the worker ends without one.

        Raises:
            WorkerStartError: No worker is idle, and none will be started any more.
            OSError: No worker is idle, and none can be started.
        """
        if not self.ready:
            self._fill(1)
        if not self.ready:
            raise WorkerStartError("the server is shutting down")
        chosen: list[WorkerProcess] = []

        def note(worker: WorkerProcess) -> None:
            chosen.append(worker)
            assigned(worker)

        answer: defer.Deferred[dict[str, Any]] = self.doWork(Serve, assigned=note, **job)
        answer.addCallback(self._served, chosen)
        # The session is assigned: a failure to start the next idle worker must not look like a failure of the session.
        self.startAWorker()
        return answer

    def branch(
        self, origin: WorkerProcess, ticket: str, assigned: Callable[[WorkerProcess], None], **job: Any
    ) -> defer.Deferred[dict[str, Any]]:
        """Assign a session to a worker that another worker forks from a snapshot.

        Args:
            origin: The other worker.
            ticket: The ticket of the snapshot.
            assigned: See :meth:`serve`.
            job: See :meth:`serve`.

        Returns:
            A Deferred as for :meth:`serve`; it fails with RequestError if no worker is forked.

        Raises:
            OSError: There are no descriptors left.
        """
        worker, begun = self.starter.branch_off(origin.link, ticket)
        self._addProcess(worker.link, worker.finished)
        others: set[WorkerLink] = set(self.ready) - {worker.link}
        self.ready: set[WorkerLink] = {worker.link}
        try:
            # The job waits in the socket until the process begins.
            answer: defer.Deferred[dict[str, Any]] = self.doWork(Serve, assigned=assigned, **job)
        finally:
            self.ready |= others
        answer.addCallback(self._served, [worker])

        def refused(failure: Failure) -> Failure:
            answer.addErrback(lambda ended: None)  # its end is expected: it never began
            return failure

        return begun.addCallbacks(lambda _: answer, refused)  # type: ignore[no-any-return] # ampoule has no types

    def _served(self, answer: dict[str, Any], chosen: list[WorkerProcess]) -> dict[str, Any]:
        """Log what the worker has printed, and make sure that it exits."""
        self._backoff = _BACKOFF
        (worker,) = chosen
        worker.output.drain()
        if not worker.finished.called:
            timeout = self._reactor.callLater(EXIT_TIMEOUT, worker.kill)

            def cancel(how: str) -> str:
                if timeout.active():
                    timeout.cancel()
                return how

            worker.finished.addCallback(cancel)
        return answer

    # Idle workers

    def _fill(self, wanted: int) -> None:
        """Start workers until this number are idle."""
        # Ampoule stops idle workers beyond this number.
        self.min = len(self.busy) + wanted
        for _ in range(wanted - len(self.ready)):
            super().startAWorker()

    def _keep_warm(self) -> None:
        """Start idle workers up to the wanted number; on failure, try again later."""
        try:
            self._fill(self.warm)
        except OSError as error:
            log.error(
                "Cannot start an idle worker ({error}); trying again in {delay:.0f} s", error=error, delay=self._backoff
            )
            self._back_off()

    def startAWorker(self) -> None:
        """Start the wanted idle workers; ampoule also calls this after each job."""
        if self._refill is None:
            self._keep_warm()

    def _addProcess(self, child: WorkerLink, finished: defer.Deferred[str]) -> None:
        """Add a worker to the pool."""
        self.processes.add(child)
        self.ready.add(child)
        self._finishCallbacks[child] = finished
        self._lastUsage[child] = time.time()
        self._calls[child] = 0
        finished.addCallback(self._worker_finished, child)

    def _worker_finished(self, how: str, link: WorkerLink) -> str:
        unused = link in self.ready
        self._pruneProcess(link)
        if unused and not self.finished and self._refill is None:
            log.error("An idle worker {how}; starting another in {delay:.0f} s", how=how, delay=self._backoff)
            self._back_off()
        return how

    def _check(self, intervals: int) -> None:
        """Kill what does not answer, so that it is replaced before a new client has to wait for it.

        Args:
            intervals: How many intervals have passed; more than one if this process itself was stopped or busy.
        """
        if intervals > 1:
            return  # answers may have arrived that are not read yet
        self.starter.check()
        for link in list(self.ready):
            patience = ANSWER_TIMEOUT if link.responsive else self.starter.ready_timeout
            if link.ping(self._reactor.seconds()) > patience:
                log.error("An idle worker does not answer, and is replaced")
                self.ready.discard(link)
                link.kill_process()
                self.startAWorker()

    def _back_off(self) -> None:
        self._refill = self._reactor.callLater(self._backoff, self._refill_now)
        self._backoff = min(2 * self._backoff, _MAX_BACKOFF)

    def _refill_now(self) -> None:
        self._refill = None
        self._keep_warm()

    def renew(self) -> None:
        """Replace the idle workers: the fork server that would clean up after them has ended."""
        for link in list(self.ready):
            self.ready.discard(link)
            self.stopAWorker(link)
        self.startAWorker()

    def dumpStats(self) -> None:
        """Do nothing: ampoule would log a paragraph on each change of the pool's size."""
