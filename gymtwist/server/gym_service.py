"""The service: what is started and stopped, and in which order."""

from __future__ import annotations

import resource
import signal
from typing import Any

from twisted.application.service import Service
from twisted.internet import defer, endpoints, task
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from gymtwist.errors import WorkerStartError
from gymtwist.server.admission import Admission
from gymtwist.server.fork_server_starter import ForkServerStarter
from gymtwist.server.gym_protocol import GymProtocol
from gymtwist.server.server_log import log
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.startup_banner import log_startup
from gymtwist.server.watchdog import Watchdog
from gymtwist.server.worker_pool import WorkerPool
from gymtwist.server.worker_starter import SpawnStarter
from gymtwist.worker.access_policy import AllowList
from gymtwist.worker.worker_settings import WorkerSettings

#: Seconds that sessions have to end, and then children, when the server stops; what is left is killed.
_END_TIMEOUT = 5.0
#: Descriptors of the server for each session: its socket, its child's link and output, its vitals; and a relay's two.
_DESCRIPTORS_EACH = 6
_DESCRIPTORS_OTHER = 64


class CannotStart(SystemExit, Exception):
    """The server cannot start, for a reason that is the operator's to mend.

    In the foreground it ends ``twistd`` with its message and without a traceback, as ``SystemExit`` does; a daemon
    reports only what is an ``Exception`` to the ``twistd`` that waits for it.
    """


class GymService(Service):
    """Serves environments.

    Args:
        reactor: The reactor.
        options: What concerns the server.
        settings: What concerns the children.

    Attributes:
        reactor: The reactor.
        options: What concerns the server.
        connections: Every connection that is not closed yet.
        allowed: Which environments may be had.
        admission: How many sessions there may be.
        watch: How long they may take.
        pool: The children.
    """

    name = "gymsock"

    def __init__(self, reactor: Any, options: ServerOptions, settings: WorkerSettings) -> None:
        self.reactor = reactor
        self.options = options
        self.connections: set[GymProtocol] = set()
        self.allowed = AllowList(options.allow)
        self.admission = Admission(options.max_sessions, options.queue)
        self.watch = Watchdog(options.idle_timeout, options.step_timeout)
        starter = ForkServerStarter if options.start_method == "forkserver" else SpawnStarter
        self._starter = starter(reactor, settings)
        self.pool: WorkerPool
        self._ports: list[defer.Deferred[IListeningPort]] = []
        self._session_count = 0
        self._all_closed: defer.Deferred[None] | None = None

    def next_session_number(self) -> int:
        """Number the sessions, from 1."""
        self._session_count += 1
        return self._session_count

    def connection_closed(self, connection: GymProtocol) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections and self._all_closed is not None:
            all_closed, self._all_closed = self._all_closed, None
            all_closed.callback(None)

    # Start

    def privilegedStartService(self) -> None:
        """Open the ports, while the process may still open those below 1024."""
        super().privilegedStartService()
        workers = self.options.max_sessions + self.options.warm
        _allow_descriptors(_DESCRIPTORS_EACH * workers + self.options.queue + _DESCRIPTORS_OTHER)
        factory = Factory.forProtocol(lambda: GymProtocol(self))
        factory.noisy = False
        for description in self.options.endpoints:
            port = endpoints.serverFromString(self.reactor, description).listen(factory)
            failures: list[Failure] = []
            port.addErrback(failures.append)
            if failures:
                failures[0].trap(CannotListenError)
                raise CannotStart(f"gymsock cannot listen on {description}: {failures[0].getErrorMessage()}")
            self._ports.append(port)

    def startService(self) -> None:
        """Start the children; connections that come before are served when the reactor runs."""
        super().startService()
        try:
            self._starter.start()
        except WorkerStartError as error:
            raise CannotStart(f"gymsock cannot start: {error}") from error
        except KeyboardInterrupt:  # the reactor, which ends by Ctrl-C in order, does not run yet
            raise SystemExit(128 + signal.SIGINT) from None
        self.pool = WorkerPool(self.reactor, self._starter, self.options.warm)
        self._starter.on_lost = self.pool.renew
        self.pool.start()
        defer.gatherResults(self._ports).addCallback(self._log_startup)

    def _log_startup(self, ports: list[Any]) -> list[Any]:
        addresses = [port.getHost() for port in ports]
        log_startup(list(zip(self.options.endpoints, addresses, strict=True)), self._starter.readiness)
        return ports

    # Stop

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Close the ports, let sessions end, end those that do not, and reap the children: in this order."""
        super().stopService()
        for listening in self._ports:
            port = yield listening
            yield port.stopListening()
        self.admission.stop()
        yield self._drain()
        yield self._within(_END_TIMEOUT, self.pool.stop())
        self.pool.kill()
        yield self._starter.stop()

    @defer.inlineCallbacks
    def _drain(self) -> Any:
        if self.connections:
            log.info(
                "Stopping: {count} connections may go on for {drain:g} s",
                count=len(self.connections),
                drain=self.options.drain,
            )
            yield self._within(self.options.drain, self._when_all_closed())
        for connection in list(self.connections):
            connection.end("the server is shutting down")
        yield self._within(_END_TIMEOUT, self._when_all_closed())

    def _when_all_closed(self) -> defer.Deferred[None]:
        if not self.connections:
            return defer.succeed(None)
        self._all_closed = defer.Deferred()
        return self._all_closed

    @defer.inlineCallbacks
    def _within(self, seconds: float, awaited: defer.Deferred[Any]) -> Any:
        """Wait for something, but not for longer than that."""
        timeout: defer.Deferred[None] = task.deferLater(self.reactor, seconds)
        yield defer.DeferredList([awaited, timeout], fireOnOneCallback=True, consumeErrors=True)
        if not timeout.called:
            timeout.cancel()


def _allow_descriptors(wanted: int) -> None:
    """Raise the soft limit of open files as far as is wanted and the hard one permits; say so if that is too little."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    if limit < wanted:
        log.warn(
            "This process may have {limit} files open, and needs up to {wanted} with as many sessions as are allowed; "
            "raise the limit (ulimit -n, LimitNOFILE), or lower --max-sessions",
            limit=limit,
            wanted=wanted,
        )
